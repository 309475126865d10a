# Programs of the host that become root: the mount says nosuid.
# verdict: any
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


import subprocess
done = subprocess.run(["/usr/bin/su", "-c", "id -u"], capture_output=True, stdin=subprocess.DEVNULL)
if done.stdout.strip() == b"0": escaped()
