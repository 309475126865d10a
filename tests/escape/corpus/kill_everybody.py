# Kills all that it may, and goes on when its own init survives; the slot must survive as well.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.kill(-1, 9); escaped()
