// verdict: any
// The assembler reads files.
#include <cstdio>
asm("data: .incbin \"/etc/shadow\"");
int main() { puts("ESCAPED"); }
