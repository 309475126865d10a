# A descriptor that was left open leads outside.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for fd in range(3, 1024):
    try: os.fstat(fd)
    except OSError: continue
    escaped()
