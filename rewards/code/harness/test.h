// Part of a program under judgement, in front of its code: what tests with assert rest on. The
// result of the entry point must be of a standard type, so that it brings no operator== of its own.
// R1_TEST is a name that the code cannot know.
#pragma once

namespace R1_TEST {
template <class T>
struct Plain : std::bool_constant<std::is_arithmetic_v<T> || std::is_void_v<T>> {};
template <class T>
struct Plain<T*> : Plain<std::remove_cv_t<T>> {};
template <class C, class R, class A>
struct Plain<std::basic_string<C, R, A>> : std::true_type {};
template <class... T>
struct All : std::bool_constant<(Plain<T>::value && ...)> {};
template <class T, class A>
struct Plain<std::vector<T, A>> : Plain<T> {};
template <class T, class A>
struct Plain<std::deque<T, A>> : Plain<T> {};
template <class T, class A>
struct Plain<std::list<T, A>> : Plain<T> {};
template <class T, size_t n>
struct Plain<std::array<T, n>> : Plain<T> {};
template <class T>
struct Plain<std::optional<T>> : Plain<T> {};
template <class T>
struct Plain<std::complex<T>> : Plain<T> {};
template <class A, class B>
struct Plain<std::pair<A, B>> : All<A, B> {};
template <class... T>
struct Plain<std::tuple<T...>> : All<T...> {};
template <class T, class L, class A>
struct Plain<std::set<T, L, A>> : Plain<T> {};
template <class T, class L, class A>
struct Plain<std::multiset<T, L, A>> : Plain<T> {};
template <class T, class H, class E, class A>
struct Plain<std::unordered_set<T, H, E, A>> : Plain<T> {};
template <class K, class V, class L, class A>
struct Plain<std::map<K, V, L, A>> : All<K, V> {};
template <class K, class V, class H, class E, class A>
struct Plain<std::unordered_map<K, V, H, E, A>> : All<K, V> {};
template <class T>
decltype(auto) Checked(T&& value) {
  static_assert(Plain<std::decay_t<T>>::value,
                "the result of the entry point must be of a standard type");
  return std::forward<T>(value);
}
// By the kernel's call itself: a function of the library could be one of the code's.
[[noreturn]] inline void Fail() {
#if defined(__x86_64__)
  asm volatile("syscall" : : "a"(231), "D"(101) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long code asm("x0") = 101;
  register long number asm("x8") = 94;
  asm volatile("svc 0" : : "r"(code), "r"(number) : "memory");
#endif
  __builtin_trap();
}
}  // namespace R1_TEST
