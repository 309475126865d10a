# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


import threading
threads = []
try:
    for i in range(5000):
        threads.append(threading.Thread(target=time.sleep, args=(0.5,))); threads[-1].start()
except RuntimeError: os._exit(1)
escaped()
