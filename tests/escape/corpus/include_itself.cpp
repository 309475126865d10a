// verdict: compile_error
// An endless input for the compiler.
#include "/dev/zero"
int main() {}
