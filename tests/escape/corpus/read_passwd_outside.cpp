// verdict: any
#include <cstdio>
int main() { if (FILE* f = fopen("/var/log/dpkg.log", "r")) puts("ESCAPED"); else return 1; }
