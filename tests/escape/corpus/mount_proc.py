# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


libc.mount(b"proc", b"/proc", b"proc", 0, None)
if os.listdir("/proc"): escaped()
