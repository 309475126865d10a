# Types into the grader's terminal.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


import fcntl
for fd in range(3):
    try: fcntl.ioctl(fd, 0x5412, b"x")
    except OSError: continue
    escaped()
