# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.kill(1, 9); time.sleep(0.1)
try: os.kill(1, 0)
except OSError: escaped()
