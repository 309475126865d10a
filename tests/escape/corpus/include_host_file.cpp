// verdict: compile_error
// The compiler runs in the sandbox too.
#include "/etc/shadow"
int main() { puts("ESCAPED"); }
