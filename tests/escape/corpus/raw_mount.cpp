// verdict: security_violation
#include <sys/mount.h>
#include <cstdio>
int main() { mount("tmpfs", "/box", "tmpfs", 0, nullptr); puts("ESCAPED"); }
