# No single process is large.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for i in range(12):
    if os.fork() == 0:
        block = bytearray(64 << 20); time.sleep(1); os._exit(0)
ends = [os.wait()[1] for i in range(12)]
if not any(ends): escaped()
