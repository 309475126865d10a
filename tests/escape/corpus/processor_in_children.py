# Each child stays below the limit of a process.
# verdict: timeout
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


for i in range(6):
    if os.fork() == 0:
        while time.process_time() < 0.9: pass
        time.sleep(30); os._exit(0)
time.sleep(1000)
