# A process that is stopped does not notice that it should end.
# verdict: timeout
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.kill(os.getpid(), 19); escaped()
