// verdict: compile_error
template <int n> struct Bomb { using A = typename Bomb<n - 1>::A; using B = typename Bomb<n + 1>::B; };
int main() { Bomb<1000>::A a; }
