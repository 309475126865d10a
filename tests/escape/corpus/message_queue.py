# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


import ctypes
if libc.mq_open(b"/r1", 0o100 | 2, 0o600, None) >= 0: escaped()
