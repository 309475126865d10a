# A tree that is hard to remove.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for i in range(3000): os.mkdir("d"); os.chdir("d")
