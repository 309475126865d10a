# The grader must not take the end of output for the end of the job.
# verdict: timeout
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.close(1); os.close(2); time.sleep(1000)
