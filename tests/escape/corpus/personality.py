# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


if libc.personality(0x0040000) == 0: escaped()
