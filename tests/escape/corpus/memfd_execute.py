# A program from anonymous memory is not under Landlock.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


if libc.syscall(319, b"x", 0) >= 0: escaped()
