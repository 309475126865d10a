# A pipe in core_pattern runs as root on the host.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


import resource
resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30)); escaped()
