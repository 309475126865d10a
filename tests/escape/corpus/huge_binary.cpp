// verdict: any
// A program too large to be taken out of the compiler's sandbox.
char block[1 << 30] = {1};
int main() {}
