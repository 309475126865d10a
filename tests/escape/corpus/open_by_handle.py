# The way out of containers that keep CAP_DAC_READ_SEARCH.
# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


libc.syscall(304, 3, 0, 0); escaped()
