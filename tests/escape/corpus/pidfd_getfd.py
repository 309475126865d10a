# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


libc.syscall(438, libc.syscall(434, 1, 0), 0, 0); escaped()
