# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.link("/usr/bin/true", "/box/w/true")
os.chmod("/box/w/true", 0o4755); escaped()
