# The grader's environment, by way of /proc.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for pid in ("self", "1", str(host["pid"])):
    if open("/proc/%s/environ" % pid, "rb").read(): escaped()
