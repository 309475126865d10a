# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


data = open("/usr/bin/true", "rb").read()
open("/box/w/own", "wb").write(data); os.chmod("/box/w/own", 0o755)
if os.spawnv(os.P_WAIT, "/box/w/own", ["own"]) == 0: escaped()
