// Part of a program under judgement, in front of its code: calls the entry point with arguments
// from JSON at descriptor 3 and writes the result as JSON to 4. What a parameter or result may be:
// numbers, bool, char, std::string, and the standard containers of these. A function that returns
// nothing is judged by its first argument after the call.
#pragma once

namespace r1_call {
struct Reader {
  std::string text;
  size_t at = 0;
  [[noreturn]] void Fail() { _Exit(97); }
  void Space() {
    while (at < text.size() && isspace((unsigned char)text[at])) ++at;
  }
  bool Take(char c) {
    Space();
    if (at < text.size() && text[at] == c) {
      ++at;
      return true;
    }
    return false;
  }
  void Need(char c) {
    if (!Take(c)) Fail();
  }
  std::string Word() {
    Space();
    size_t b = at;
    while (at < text.size() && (isalnum((unsigned char)text[at]) || strchr("+-.", text[at]))) ++at;
    return text.substr(b, at - b);
  }
  void Utf8(std::string& s, unsigned c) {
    if (c < 0x80)
      s += (char)c;
    else if (c < 0x800) {
      s += (char)(0xC0 | c >> 6);
      s += (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
      s += (char)(0xE0 | c >> 12);
      s += (char)(0x80 | (c >> 6 & 63));
      s += (char)(0x80 | (c & 63));
    } else {
      s += (char)(0xF0 | c >> 18);
      s += (char)(0x80 | (c >> 12 & 63));
      s += (char)(0x80 | (c >> 6 & 63));
      s += (char)(0x80 | (c & 63));
    }
  }
  unsigned Hex() {
    unsigned v = (unsigned)strtoul(text.substr(at, 4).c_str(), nullptr, 16);
    at += 4;
    return v;
  }
  void Get(std::string& s) {
    Need('"');
    while (at < text.size() && text[at] != '"') {
      if (text[at] != '\\') {
        s += text[at++];
        continue;
      }
      char c = text[++at];
      ++at;
      if (c == 'u') {
        unsigned v = Hex();
        if (v >= 0xD800 && v < 0xDC00 && text.compare(at, 2, "\\u") == 0) {
          at += 2;
          v = 0x10000 + ((v - 0xD800) << 10) + (Hex() - 0xDC00);
        }
        Utf8(s, v);
      } else
        s += c == 'n'   ? '\n'
             : c == 't' ? '\t'
             : c == 'r' ? '\r'
             : c == 'b' ? '\b'
             : c == 'f' ? '\f'
                        : c;
    }
    Need('"');
  }
  void Get(bool& b) { b = Word() == "true"; }
  void Get(char& c) {
    std::string s;
    Get(s);
    if (s.size() != 1) Fail();
    c = s[0];
  }
  template <class T>
  std::enable_if_t<std::is_arithmetic_v<T>> Get(T& v) {
    std::string w = Word();
    char* end = nullptr;
    if (w.empty()) Fail();
    if constexpr (std::is_floating_point_v<T>)
      v = (T)strtold(w.c_str(), &end);
    else if constexpr (std::is_unsigned_v<T>)
      v = (T)strtoull(w.c_str(), &end, 10);
    else
      v = (T)strtoll(w.c_str(), &end, 10);
    if (*end) Fail();
  }
  template <class T>
  void Get(std::vector<T>& v) {
    List([&] {
      T x{};
      Get(x);
      v.push_back(std::move(x));
    });
  }
  void Get(std::vector<bool>& v) {
    List([&] {
      bool x;
      Get(x);
      v.push_back(x);
    });
  }
  template <class T>
  void Get(std::set<T>& v) {
    List([&] {
      T x{};
      Get(x);
      v.insert(std::move(x));
    });
  }
  template <class T>
  void Get(std::unordered_set<T>& v) {
    List([&] {
      T x{};
      Get(x);
      v.insert(std::move(x));
    });
  }
  template <class T, size_t n>
  void Get(std::array<T, n>& v) {
    size_t i = 0;
    List([&] {
      if (i == n) Fail();
      Get(v[i++]);
    });
  }
  template <class A, class B>
  void Get(std::pair<A, B>& v) {
    Need('[');
    Get(v.first);
    Need(',');
    Get(v.second);
    Need(']');
  }
  template <class... T>
  void Get(std::tuple<T...>& v) {
    Need('[');
    std::apply(
        [&](auto&... x) {
          bool first = true;
          ((first ? (void)(first = false) : Need(','), Get(x)), ...);
        },
        v);
    Need(']');
  }
  template <class T>
  void Get(std::optional<T>& v) {
    Space();
    if (text.compare(at, 4, "null") == 0) {
      at += 4;
      return;
    }
    v.emplace();
    Get(*v);
  }
  template <class M>
  void Map(M& m) {
    Need('{');
    if (Take('}')) return;
    do {
      std::string key;
      Get(key);
      typename M::key_type k{};
      if constexpr (std::is_same_v<decltype(k), std::string>)
        k = key;
      else {
        Reader r{key};
        r.Get(k);
      }
      Need(':');
      Get(m[k]);
    } while (Take(','));
    Need('}');
  }
  template <class K, class V>
  void Get(std::map<K, V>& m) {
    Map(m);
  }
  template <class K, class V>
  void Get(std::unordered_map<K, V>& m) {
    Map(m);
  }
  template <class F>
  void List(F f) {
    Need('[');
    if (Take(']')) return;
    do f();
    while (Take(','));
    Need(']');
  }
};
struct Writer {
  std::string text;
  void Put(const std::string& s) {
    text += '"';
    for (unsigned char c : s) {
      char u[8];
      if (c == '"' || c == '\\') {
        text += '\\';
        text += (char)c;
      } else if (c < 32) {
        snprintf(u, sizeof(u), "\\u%04x", c);
        text += u;
      } else
        text += (char)c;
    }
    text += '"';
  }
  void Put(const char* s) { Put(std::string(s)); }
  void Put(bool b) { text += b ? "true" : "false"; }
  void Put(char c) { Put(std::string(1, c)); }
  template <class T>
  std::enable_if_t<std::is_arithmetic_v<T>> Put(T v) {
    if constexpr (std::is_floating_point_v<T>) {
      char u[64];
      snprintf(u, sizeof(u), "%.17g", (double)v);
      text += std::isnan(v)      ? "NaN"
              : std::isinf(v)    ? (v < 0 ? "-Infinity" : "Infinity")
              : strpbrk(u, ".e") ? u
                                 : std::string(u) + ".0";
    } else
      text += std::to_string(v);
  }
  template <class C>
  void Items(const C& c) {
    text += '[';
    bool first = true;
    for (const auto& x : c) {
      if (!first) text += ',';
      first = false;
      Put(x);
    }
    text += ']';
  }
  void Put(const std::vector<bool>& v) {
    text += '[';
    for (size_t i = 0; i < v.size(); ++i) {
      if (i) text += ',';
      Put((bool)v[i]);
    }
    text += ']';
  }
  template <class T>
  void Put(const std::vector<T>& v) {
    Items(v);
  }
  template <class T>
  void Put(const std::deque<T>& v) {
    Items(v);
  }
  template <class T>
  void Put(const std::list<T>& v) {
    Items(v);
  }
  template <class T>
  void Put(const std::set<T>& v) {
    Items(v);
  }
  template <class T>
  void Put(const std::multiset<T>& v) {
    Items(v);
  }
  template <class T, size_t n>
  void Put(const std::array<T, n>& v) {
    Items(v);
  }
  template <class A, class B>
  void Put(const std::pair<A, B>& v) {
    text += '[';
    Put(v.first);
    text += ',';
    Put(v.second);
    text += ']';
  }
  template <class... T>
  void Put(const std::tuple<T...>& v) {
    text += '[';
    std::apply(
        [&](const auto&... x) {
          bool first = true;
          ((first ? (void)(first = false) : (void)(text += ','), Put(x)), ...);
        },
        v);
    text += ']';
  }
  template <class T>
  void Put(const std::optional<T>& v) {
    if (v)
      Put(*v);
    else
      text += "null";
  }
  template <class M>
  void Members(const M& m) {
    text += '{';
    bool first = true;
    for (const auto& [k, v] : m) {
      if (!first) text += ',';
      first = false;
      if constexpr (std::is_same_v<std::decay_t<decltype(k)>, std::string>)
        Put(k);
      else {
        Writer w;
        w.Put(k);
        Put(w.text);
      }
      text += ':';
      Put(v);
    }
    text += '}';
  }
  template <class K, class V>
  void Put(const std::map<K, V>& m) {
    Members(m);
  }
  template <class K, class V>
  void Put(const std::unordered_map<K, V>& m) {
    Members(m);
  }
};
inline std::string ReadAll(int fd) {
  std::string s;
  char b[4096];
  ssize_t n;
  while ((n = read(fd, b, sizeof(b))) > 0) s.append(b, (size_t)n);
  return s;
}
inline void WriteAll(int fd, const std::string& s) {
  size_t at = 0;
  while (at < s.size()) {
    ssize_t n = write(fd, s.data() + at, s.size() - at);
    if (n <= 0) _Exit(98);
    at += (size_t)n;
  }
}
template <class R, class... A, class F>
void CallAs(F f) {
  std::tuple<std::decay_t<A>...> arguments;
  Reader reader{ReadAll(3)};
  if constexpr (sizeof...(A) == 0) {
    reader.Need('[');
    reader.Need(']');
  } else
    reader.Get(arguments);
  Writer writer;
  writer.text = "{\"value\":";
  std::apply(
      [&](auto&... x) {
        if constexpr (std::is_void_v<R>) {
          f(static_cast<A>(x)...);
          if constexpr (sizeof...(A) > 0)
            writer.Put(std::get<0>(arguments));
          else
            writer.text += "null";
        } else
          writer.Put(f(static_cast<A>(x)...));
      },
      arguments);
  writer.text += "}\n";
  WriteAll(4, writer.text);
}
template <class R, class... A>
void Call(R (*f)(A...)) {
  CallAs<R, A...>(f);
}
template <class R, class C, class... A>
void Call(R (C::*f)(A...)) {
  C c;
  CallAs<R, A...>([&](auto&&... x) -> R { return (c.*f)(static_cast<A>(x)...); });
}
template <class R, class C, class... A>
void Call(R (C::*f)(A...) const) {
  C c;
  CallAs<R, A...>([&](auto&&... x) -> R { return (c.*f)(static_cast<A>(x)...); });
}
}  // namespace r1_call
