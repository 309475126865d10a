# A variable that the grader has and its jobs must not.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


if "R1_ESCAPE_CANARY" in os.environ or libc.getenv(b"R1_ESCAPE_CANARY"): escaped()
