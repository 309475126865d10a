# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


libc.syscall(248, b"user", b"a", b"b", 1, -3); escaped()
