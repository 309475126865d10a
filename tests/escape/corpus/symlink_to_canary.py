# Reads through a link of its own making.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.symlink(host["canary"], "/box/w/link")
if open("/box/w/link").read(): escaped()
