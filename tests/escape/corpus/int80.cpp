// verdict: any
// 32-bit system calls have numbers of their own: 26 is ptrace there.
#include <cstdio>
int main() {
  long result = 26;
  asm volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
  if (result == 0) puts("ESCAPED");
}
