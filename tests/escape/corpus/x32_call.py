# The numbers of the x32 interface pass filters that only know the others.
# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


libc.syscall(0x40000000 + 39); escaped()
