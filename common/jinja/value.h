// Values of the template language: Python's none, bool, int, float, str, list, tuple, dict and
// generator, as far as templates can see them, Jinja's undefined, and the objects of a rendering.
// Values are immutable, but for generators, which are used up; they form no cycles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/jinja/budget.h"
#include "common/jinja/text.h"
#include "common/status.h"

namespace r1::jinja {

// Lists and dicts inside each other; deeper ones are refused, which bounds every recursion.
inline constexpr int kValueDepthMax = 128;

class Value;
struct List;
struct Dict;
struct Object;

enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInteger,
  kFloat,
  kBigInteger,  // beyond int64: can be printed and compared, not computed with
  kString,
  kList,  // list, tuple or generator
  kDict,
  kObject,
};

class Value {
 public:
  // Undefined; `why` is what using it as if it were a value reports: "'x' is undefined".
  static Value Undefined(std::string why);
  static Value None() { return Value(NoneData{}); }
  static Value Bool(bool value) { return Value(value); }
  static Value Integer(int64_t value) { return Value(value); }
  static Value Float(double value) { return Value(value); }
  // `digits` as JSON writes them, perhaps with a sign.
  static Value BigInteger(std::string digits);
  static Value String(Text text);
  static Value String(absl::string_view bytes, bool from_content) {
    return String(Text(bytes, from_content));
  }
  // Borrowed: the rendering owns it.
  static Value Of(Object* object) { return Value(object); }
  Value() : Value(NoneData{}) {}
  explicit Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  explicit Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInteger) || is(Kind::kFloat); }
  bool is_integer() const { return is(Kind::kBool) || is(Kind::kInteger); }  // as in Python

  const std::string& why_undefined() const { return *std::get<UndefinedData>(data_).why; }
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const;  // of a bool too
  double number() const;    // of a bool or an integer too
  const std::string& digits() const { return *std::get<BigIntegerData>(data_).digits; }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& object() const { return *std::get<Object*>(data_); }

  // Python's bool(value).
  bool Truth() const;
  // Python's name of the type: "str", "dict"; "Undefined".
  absl::string_view TypeName() const;
  // Of lists and dicts inside each other; 0 for anything else.
  int depth() const;

 private:
  struct UndefinedData {
    std::shared_ptr<const std::string> why;
  };
  struct NoneData {};
  struct BigIntegerData {
    std::shared_ptr<const std::string> digits;
  };
  // In the order of Kind.
  using Data = std::variant<UndefinedData, NoneData, bool, int64_t, double, BigIntegerData,
                            std::shared_ptr<const Text>, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, Object*>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

struct List {
  enum class Type { kList, kTuple, kGenerator };
  Type type = Type::kList;
  std::vector<Value> elements;
  int depth = 1;
  // A generator gives each element once, whoever asks; others ignore this.
  mutable size_t consumed = 0;
};

// InvalidArgument when nested too deeply.
[[nodiscard]] absl::StatusOr<Value> MakeList(std::vector<Value> elements,
                                             List::Type type = List::Type::kList);

// In the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  absl::flat_hash_map<std::string, size_t> index;  // of string keys, when there are many
  int depth = 1;

  const Value* FindOrNull(absl::string_view key) const;
};

// The last of equal keys wins, at the place of the first. InvalidArgument: nested too deeply, or a
// key that Python could not hash.
[[nodiscard]] absl::StatusOr<Value> MakeDict(std::vector<std::pair<Value, Value>> entries,
                                             Budget& budget);

// What a rendering makes beside values: namespaces, loops, macros and functions. They are owned by
// it and compared by identity.
struct Object {
  enum class Type { kNamespace, kLoop, kMacro, kFunction };
  explicit Object(Type type) : type(type) {}
  virtual ~Object() = default;
  const Type type;
};

// Python's ==, and < with its TypeError as InvalidArgument.
[[nodiscard]] absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget);
[[nodiscard]] absl::StatusOr<bool> Less(const Value& a, const Value& b, Budget& budget);

// What iterating gives: characters of a string, keys of a dict, elements; nothing for undefined.
// Uses up a generator. InvalidArgument for what Python cannot iterate.
[[nodiscard]] absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Budget& budget);

// InvalidArgument with the reason of an undefined value, for what needs a defined one.
[[nodiscard]] absl::Status CheckDefined(const Value& value);

}  // namespace r1::jinja
