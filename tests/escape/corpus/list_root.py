# Sees the host's folders.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


if set(os.listdir("/")) & {"root", "home", "var", "boot", "sys", "run"}: escaped()
