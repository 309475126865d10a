#include "common/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "common/jinja/python_text.h"

namespace r1::jinja {
namespace {

constexpr size_t kIndexedEntriesMin = 9;

absl::StatusOr<int> CheckedDepth(int depth) {
  if (depth <= kValueDepthMax) return depth;
  return absl::InvalidArgumentError(
      absl::StrCat("lists and dicts are nested deeper than ", kValueDepthMax, " levels"));
}

bool IsHashable(const Value& value) {
  switch (value.kind()) {
    case Kind::kDict:
      return false;
    case Kind::kList:
      return value.list().type != List::Type::kList &&
             std::all_of(value.list().elements.begin(), value.list().elements.end(), IsHashable);
    default:
      return true;
  }
}

// A float against an integer exactly, as in Python: no rounding of the integer.
int CompareNumbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
  }
  const auto exactly = [](const Value& value) {  // an int64 fits a long double's mantissa
    return value.is_integer() ? static_cast<long double>(value.integer())
                              : static_cast<long double>(value.number());
  };
  const long double left = exactly(a), right = exactly(b);
  return left < right ? -1 : left > right ? 1 : 0;
}

bool IsNan(const Value& value) { return value.is(Kind::kFloat) && std::isnan(value.number()); }

absl::StatusOr<bool> EqualDicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    bool found = false;
    for (const auto& [other_key, other_value] : b.entries) {
      R1_ASSIGN_OR_RETURN(const bool same_key, Equal(key, other_key, budget));
      if (!same_key) continue;
      R1_ASSIGN_OR_RETURN(found, Equal(value, other_value, budget));
      break;
    }
    if (!found) return false;
  }
  return true;
}

absl::StatusOr<bool> EqualLists(const List& a, const List& b, Budget& budget) {
  if (a.type != b.type || a.type == List::Type::kGenerator) return &a == &b;
  if (a.elements.size() != b.elements.size()) return false;
  for (size_t i = 0; i < a.elements.size(); ++i) {
    R1_ASSIGN_OR_RETURN(const bool same, Equal(a.elements[i], b.elements[i], budget));
    if (!same) return false;
  }
  return true;
}

}  // namespace

Value Value::Undefined(std::string why) {
  return Value(Data(UndefinedData{std::make_shared<const std::string>(std::move(why))}));
}

Value Value::BigInteger(std::string digits) {
  return Value(Data(BigIntegerData{std::make_shared<const std::string>(std::move(digits))}));
}

Value Value::String(Text text) {
  return Value(Data(std::make_shared<const Text>(std::move(text))));
}

int64_t Value::integer() const {
  return is(Kind::kBool) ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::number() const {
  return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(integer());
}

bool Value::Truth() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInteger:
      return integer() != 0;
    case Kind::kFloat:
      return number() != 0;
    case Kind::kString:
      return text().size() > 0;
    case Kind::kList:
      return list().type == List::Type::kGenerator || !list().elements.empty();
    case Kind::kDict:
      return !dict().entries.empty();
    case Kind::kBigInteger:
    case Kind::kObject:
      return true;
  }
  CheckFailed(__FILE__, __LINE__, "kind is a Kind");
}

absl::string_view Value::TypeName() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInteger:
    case Kind::kBigInteger:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return list().type == List::Type::kList    ? "list"
             : list().type == List::Type::kTuple ? "tuple"
                                                 : "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return object().type == Object::Type::kNamespace ? "Namespace"
             : object().type == Object::Type::kLoop    ? "LoopContext"
             : object().type == Object::Type::kMacro   ? "Macro"
                                                       : "function";
  }
  CheckFailed(__FILE__, __LINE__, "kind is a Kind");
}

int Value::depth() const {
  return is(Kind::kList) ? list().depth : is(Kind::kDict) ? dict().depth : 0;
}

absl::StatusOr<Value> MakeList(std::vector<Value> elements, List::Type type) {
  auto list = std::make_shared<List>();
  list->type = type;
  for (const Value& element : elements) list->depth = std::max(list->depth, element.depth() + 1);
  R1_ASSIGN_OR_RETURN(list->depth, CheckedDepth(list->depth));
  list->elements = std::move(elements);
  return Value(std::shared_ptr<const List>(std::move(list)));
}

const Value* Dict::FindOrNull(absl::string_view key) const {
  if (!index.empty()) {
    const auto found = index.find(key);
    return found == index.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [candidate, value] : entries) {
    if (candidate.is(Kind::kString) && candidate.text().bytes() == key) return &value;
  }
  return nullptr;
}

absl::StatusOr<Value> MakeDict(std::vector<std::pair<Value, Value>> entries, Budget& budget) {
  auto dict = std::make_shared<Dict>();
  absl::flat_hash_map<std::string, size_t> index;
  for (auto& [key, value] : entries) {
    if (!IsHashable(key)) {
      return absl::InvalidArgumentError(absl::StrCat("unhashable type: '", key.TypeName(), "'"));
    }
    size_t place = dict->entries.size();
    if (key.is(Kind::kString)) {
      place = index.emplace(key.text().bytes(), place).first->second;
    } else {
      for (size_t i = 0; i < dict->entries.size() && place == dict->entries.size(); ++i) {
        R1_ASSIGN_OR_RETURN(const bool same, Equal(dict->entries[i].first, key, budget));
        if (same) place = i;
      }
    }
    dict->depth = std::max({dict->depth, value.depth() + 1, key.depth() + 1});
    if (place < dict->entries.size()) {
      dict->entries[place].second = std::move(value);
    } else {
      dict->entries.emplace_back(std::move(key), std::move(value));
    }
  }
  R1_ASSIGN_OR_RETURN(dict->depth, CheckedDepth(dict->depth));
  if (index.size() >= kIndexedEntriesMin) dict->index = std::move(index);
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget) {
  R1_RETURN_IF_ERROR(budget.Spend(1));
  if (a.is_number() && b.is_number()) {
    return !IsNan(a) && !IsNan(b) && CompareNumbers(a, b) == 0;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kBigInteger:
      return a.digits() == b.digits();
    case Kind::kString:
      R1_RETURN_IF_ERROR(budget.Spend(std::min(a.text().size(), b.text().size())));
      return a.text().bytes() == b.text().bytes();
    case Kind::kList:
      return EqualLists(a.list(), b.list(), budget);
    case Kind::kDict:
      return EqualDicts(a.dict(), b.dict(), budget);
    case Kind::kObject:
      return &a.object() == &b.object();
    default:  // undefined and none; numbers were compared above
      return true;
  }
}

absl::StatusOr<bool> Less(const Value& a, const Value& b, Budget& budget) {
  R1_RETURN_IF_ERROR(budget.Spend(1));
  R1_RETURN_IF_ERROR(CheckDefined(a));
  R1_RETURN_IF_ERROR(CheckDefined(b));
  if (a.is_number() && b.is_number()) {
    return !IsNan(a) && !IsNan(b) && CompareNumbers(a, b) < 0;
  }
  if (a.is(Kind::kString) && b.is(Kind::kString)) {
    R1_RETURN_IF_ERROR(budget.Spend(std::min(a.text().size(), b.text().size())));
    return a.text().bytes() < b.text().bytes();  // the order of code points is that of UTF-8
  }
  if (a.is(Kind::kList) && b.is(Kind::kList) && a.list().type == b.list().type &&
      a.list().type != List::Type::kGenerator) {
    const std::vector<Value>&left = a.list().elements, &right = b.list().elements;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      R1_ASSIGN_OR_RETURN(const bool same, Equal(left[i], right[i], budget));
      if (!same) return Less(left[i], right[i], budget);
    }
    return left.size() < right.size();
  }
  return absl::InvalidArgumentError(absl::StrCat("'<' not supported between instances of '",
                                                 a.TypeName(), "' and '", b.TypeName(), "'"));
}

absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Budget& budget) {
  std::vector<Value> elements;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kString: {
      const Text& text = value.text();
      R1_RETURN_IF_ERROR(budget.Spend(sizeof(Value) * text.size()));
      for (size_t at = 0; at < text.size();) {
        const size_t next = NextCharacter(text.bytes(), at);
        elements.push_back(Value::String(text.Slice(at, next)));
        at = next;
      }
      break;
    }
    case Kind::kList: {
      const List& list = value.list();
      R1_RETURN_IF_ERROR(budget.Spend(sizeof(Value) * list.elements.size()));
      if (list.type != List::Type::kGenerator) return list.elements;
      elements.assign(list.elements.begin() + static_cast<ptrdiff_t>(list.consumed),
                      list.elements.end());
      list.consumed = list.elements.size();
      break;
    }
    case Kind::kDict:
      R1_RETURN_IF_ERROR(budget.Spend(sizeof(Value) * value.dict().entries.size()));
      for (const auto& [key, item] : value.dict().entries) elements.push_back(key);
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("'", value.TypeName(), "' object is not iterable"));
  }
  return elements;
}

absl::Status CheckDefined(const Value& value) {
  if (!value.is(Kind::kUndefined)) return absl::OkStatus();
  return absl::InvalidArgumentError(value.why_undefined());
}

}  // namespace r1::jinja
