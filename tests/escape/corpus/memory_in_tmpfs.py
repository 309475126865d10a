# Files in memory count as well.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for i in range(64): open("/dev/shm/%d" % i, "wb").write(bytes(16 << 20))
escaped()
