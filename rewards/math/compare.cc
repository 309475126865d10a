#include "rewards/math/compare.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "rewards/math/interval.h"
#include "rewards/math/lexer.h"
#include "rewards/math/parser.h"

namespace r1::rewards::math {
namespace {

constexpr size_t kItemsMax = 256;
constexpr int kSignsMax = 4;

// FLINT keeps caches for each thread; they go with the thread.
struct ThreadCaches {
  ~ThreadCaches() { flint_cleanup(); }
};

bool IsCollection(const Part& part) {
  return part.Is(Kind::kList) || part.Is(Kind::kSet) || part.Is(Kind::kUnion) ||
         (part.node().signs > 0 && !part.has_signs);
}

bool IsEquality(const Part& relation) {
  return std::all_of(relation.name().begin(), relation.name().end(),
                     [](char c) { return c == relation::kEqual || c == relation::kAbout; });
}

// dy/dx.
bool IsDerivative(const Part& part) {
  const auto is_differential = [](const Part& side) {
    return side.Is(Kind::kProduct) && side.size() == 2 && side.child(0).Is(Kind::kSymbol) &&
           side.child(0).name() == "d" && side.child(1).Is(Kind::kSymbol);
  };
  return part.Is(Kind::kQuotient) && is_differential(part.child(0)) &&
         is_differential(part.child(1));
}

// What stands for a value on the left of "=": x, \text{Area}, f(x), f^{-1}(x), dy/dx,
// AB, (x, y).
bool IsName(const Part& part) {
  if (part.Is(Kind::kSymbol) || part.Is(Kind::kText)) return true;
  const auto is_symbol = [&](size_t i) { return part.child(i).Is(Kind::kSymbol); };
  if (part.Is(Kind::kTuple) || part.Is(Kind::kList)) {
    for (size_t i = 0; i < part.size(); ++i) {
      if (!is_symbol(i)) return false;
    }
    return true;
  }
  if (IsDerivative(part)) return true;
  if (!part.Is(Kind::kProduct)) return false;
  const bool is_inverse =
      part.child(0).Is(Kind::kPower) && part.child(0).child(0).Is(Kind::kSymbol);
  if (!is_symbol(0) && !is_inverse) return false;
  // A name of a segment or an angle; P(A), f(2), f(x, y).
  const bool is_call =
      part.size() == 2 && (part.child(1).node().in_parentheses || part.child(1).Is(Kind::kTuple));
  if (is_call) return !part.child(1).Is(Kind::kSum);
  for (size_t i = 0; i < part.size(); ++i) {
    if (!is_symbol(i) ||
        !absl::ascii_isupper(static_cast<unsigned char>(part.child(i).name()[0]))) {
      return false;
    }
  }
  return part.size() <= 4;
}

// The indices of the ± below a part.
uint32_t SignMask(const Part& part) {
  uint32_t mask = 0;
  if (part.node().signs == 0) return 0;
  if (part.Is(Kind::kPlusMinus)) {
    mask |= 1U << std::min(31, part.expression->signs_go_together ? 0 : part.node().value);
  }
  for (size_t i = 0; i < part.size(); ++i) mask |= SignMask(part.child(i));
  return mask;
}

class Comparer {
 public:
  Verdict Compare(Part a, Part b) {
    if (!budget_.Spend(20)) return Verdict::kUndecided;
    if (a.signs == b.signs && a.has_signs == b.has_signs &&
        SameStructure(*a.expression, a.id, *b.expression, b.id)) {
      return Verdict::kEqual;
    }
    a = WithUnitOutside(a);
    b = WithUnitOutside(b);
    if (a.Is(Kind::kUnit) || b.Is(Kind::kUnit)) return CompareMeasures(a, b);
    if (a.Is(Kind::kRelation) && b.Is(Kind::kRelation)) return CompareRelations(a, b);
    if (a.Is(Kind::kRelation)) return CompareRelationToValue(a, b);
    if (b.Is(Kind::kRelation)) return CompareRelationToValue(b, a);
    if (a.Is(Kind::kTuple) || b.Is(Kind::kTuple)) return CompareTuples(a, b);
    if (IsCollection(a) || IsCollection(b)) return CompareCollections(a, b);
    if (a.Is(Kind::kText) || b.Is(Kind::kText)) return CompareTexts(a, b);
    if (a.Is(Kind::kMatrix) || b.Is(Kind::kMatrix)) return CompareMatrices(a, b);
    if (a.Is(Kind::kRatio) && b.Is(Kind::kRatio)) return CompareRatios(a, b);
    return CompareScalars(a, b, budget_);
  }

  bool exhausted() const { return budget_.exhausted(); }

 private:
  static Verdict All(Verdict a, Verdict b) {
    if (a == Verdict::kDifferent || b == Verdict::kDifferent) return Verdict::kDifferent;
    return a == Verdict::kEqual ? b : a;
  }

  // -(5%) is (-5)%.
  static Part WithUnitOutside(const Part& part) {
    if (!part.Is(Kind::kNegate) || !part.child(0).Is(Kind::kUnit)) return part;
    Expression& expression = *part.expression;
    const std::string unit = part.child(0).name();
    const NodeId inner = expression.Add({.kind = Kind::kNegate}, {part.child(0).child(0).id});
    Part outside = part;
    outside.id = expression.AddNamed(Kind::kUnit, unit, {inner});
    return outside.id == kNoNode ? part : outside;
  }

  // 50% is 50 without its unit, and 0.5; 60° is 60, and pi/3. Other units only say that another
  // one is wrong.
  Verdict CompareMeasures(const Part& a, const Part& b) {
    const auto unit = [](const Part& part) {
      return part.Is(Kind::kUnit) ? part.name() : std::string();
    };
    const auto value = [](const Part& part) { return part.Is(Kind::kUnit) ? part.child(0) : part; };
    const std::string left = unit(a), right = unit(b);
    if (!left.empty() && !right.empty() && left != right) return Verdict::kDifferent;
    const Verdict verdict = Compare(value(a), value(b));
    const bool has_scale = left == "%" || left == "deg" || right == "%" || right == "deg";
    if (verdict == Verdict::kEqual || !has_scale || left == right) return verdict;
    const Part& measure = left.empty() ? b : a;
    const Part& number = left.empty() ? a : b;
    if (IsCollection(measure.child(0)) || IsCollection(value(number))) return verdict;
    const Verdict scaled = CompareScalars(measure, value(number), budget_);
    return scaled == Verdict::kDifferent ? verdict : scaled;
  }

  // Relations -------------------------------------------------------------------------------------

  static Part LastSide(const Part& relation) { return relation.child(relation.size() - 1); }

  // Whether a chain such as 2 + 3 = 5 holds.
  Verdict Holds(const Part& chain) {
    Verdict verdict = Verdict::kEqual;
    for (size_t i = 0; i + 1 < chain.size() && verdict == Verdict::kEqual; ++i) {
      verdict = Compare(chain.child(i), chain.child(i + 1));
    }
    return verdict;
  }

  Verdict CompareRelationToValue(const Part& relation, const Part& value) {
    if (relation.name() == std::string(1, relation::kElement)) {
      return Compare(relation.child(1), value);
    }
    if (IsEquality(relation)) {
      const Part last = LastSide(relation);
      if (IsName(relation.child(0))) return Compare(last, value);
      if (relation.size() == 2 && last.Is(Kind::kSymbol)) return Compare(relation.child(0), value);
      const Verdict holds = Holds(relation);
      return holds == Verdict::kEqual ? Compare(last, value) : holds;
    }
    return CompareIntervals(relation, value);
  }

  Verdict CompareRelations(const Part& a, const Part& b) {
    if (IsEquality(a) && IsEquality(b)) return CompareEqualities(a, b);
    if (a.name() != b.name() && (IsEquality(a) || IsEquality(b))) return Verdict::kDifferent;
    const std::string element(1, relation::kElement);
    if (a.name() == element || b.name() == element) {
      const Part left = a.name() == element ? a.child(1) : a;
      const Part right = b.name() == element ? b.child(1) : b;
      return Compare(left, right);
    }
    const Verdict verdict = CompareIntervals(a, b);
    if (verdict == Verdict::kEqual || a.size() != 2 || b.size() != 2) return verdict;
    return CompareInequalities(a, b);
  }

  Verdict CompareEqualities(const Part& a, const Part& b) {
    const bool both_names = IsName(a.child(0)) && IsName(b.child(0));
    if (both_names) {
      const bool same = SameStructure(*a.expression, a.child(0).id, *b.expression, b.child(0).id);
      const bool is_call = a.child(0).Is(Kind::kProduct) || b.child(0).Is(Kind::kProduct);
      const bool is_text = a.child(0).Is(Kind::kText) || b.child(0).Is(Kind::kText);
      if (same || is_call || is_text) return Compare(LastSide(a), LastSide(b));
    }
    if (a.size() != 2 || b.size() != 2) return Verdict::kUndecided;
    const auto has_signs = [](const Part& part) { return part.node().signs > 0; };
    if (has_signs(a) || has_signs(b)) return Verdict::kUndecided;
    return CompareDifferences({a.child(0), a.child(1)}, {b.child(0), b.child(1)},
                              /*same_direction=*/false, budget_);
  }

  // a < b as b > a, so that both point one way.
  Verdict CompareInequalities(const Part& a, const Part& b) {
    const auto is_less = [](char c) { return c == relation::kLess || c == relation::kLessEqual; };
    const auto is_strict = [](char c) { return c == relation::kLess || c == relation::kGreater; };
    const char left = a.name()[0], right = b.name()[0];
    const bool unequal = left == relation::kUnequal || right == relation::kUnequal;
    if (unequal && left != right) return Verdict::kDifferent;
    if (!unequal && is_strict(left) != is_strict(right)) return Verdict::kDifferent;
    const auto sides = [&](const Part& part, char c) {
      return is_less(c) ? std::vector<Part>{part.child(1), part.child(0)}
                        : std::vector<Part>{part.child(0), part.child(1)};
    };
    return CompareDifferences(sides(a, left), sides(b, right), /*same_direction=*/!unequal,
                              budget_);
  }

  Verdict CompareIntervals(const Part& a, const Part& b) {
    Interval left, right;
    if (!ToInterval(a, budget_, left) || !ToInterval(b, budget_, right)) {
      return Verdict::kDifferent;
    }
    if (left.opens_wide != right.opens_wide || left.closes_wide != right.closes_wide) {
      return Verdict::kDifferent;
    }
    const bool other_symbol =
        !left.symbol.empty() && !right.symbol.empty() && left.symbol != right.symbol;
    if (other_symbol) return Verdict::kDifferent;
    return All(CompareScalars(left.low, right.low, budget_),
               CompareScalars(left.high, right.high, budget_));
  }

  // Collections -----------------------------------------------------------------------------------

  // Lists and sets flattened, and a part for each choice of signs. False when there are too many.
  bool AppendItems(const Part& part, std::vector<Part>& items) {
    if (items.size() >= kItemsMax) return false;
    if (part.Is(Kind::kList) || part.Is(Kind::kSet) || part.Is(Kind::kUnion)) {
      const size_t begin = items.size();
      for (size_t i = 0; i < part.size(); ++i) {
        if (!AppendItems(part.child(i), items)) return false;
      }
      if (part.Is(Kind::kSet)) DropRepeats(begin, items);
      return true;
    }
    if (part.node().signs == 0 || part.has_signs) {
      items.push_back(part);
      return true;
    }
    if (part.node().signs > kSignsMax && !part.expression->signs_go_together) return false;
    const uint32_t mask = SignMask(part);
    uint32_t signs = 0;
    do {  // every subset of the mask
      Part chosen = part;
      chosen.signs = signs;
      chosen.has_signs = true;
      items.push_back(chosen);
      signs = (signs - mask) & mask;
    } while (signs != 0);
    return true;
  }

  // {1, 1, 2} is {1, 2}; a list keeps what it says twice.
  void DropRepeats(size_t begin, std::vector<Part>& items) {
    for (size_t i = begin + 1; i < items.size();) {
      const auto first = items.begin() + static_cast<int64_t>(begin);
      const auto last = items.begin() + static_cast<int64_t>(i);
      const bool repeats = std::any_of(first, last, [&](const Part& earlier) {
        return Compare(earlier, items[i]) == Verdict::kEqual;
      });
      if (repeats) {
        items.erase(last);
      } else {
        ++i;
      }
    }
  }

  Verdict CompareCollections(const Part& a, const Part& b) {
    if (!IsCollection(a) || !IsCollection(b)) return Verdict::kDifferent;
    std::vector<Part> left, right;
    if (!AppendItems(a, left) || !AppendItems(b, right)) return Verdict::kUndecided;
    if (left.size() != right.size()) return Verdict::kDifferent;
    // Equality is transitive, so the first partner that is left is as good as any. What finds none
    // may still have one among those that are undecided; this holds for both sides alike.
    std::vector<bool> may_match(right.size(), false), is_taken(right.size(), false);
    bool all_matched = true, left_may_match = true;
    for (const Part& item : left) {
      std::vector<size_t> undecided;
      bool found = false;
      for (size_t i = 0; i < right.size() && !found; ++i) {
        if (is_taken[i]) continue;
        const Verdict verdict = Compare(item, right[i]);
        found = verdict == Verdict::kEqual;
        if (found) is_taken[i] = true;
        if (verdict == Verdict::kUndecided) undecided.push_back(i);
      }
      if (found) continue;
      all_matched = false;
      left_may_match = left_may_match && !undecided.empty();
      for (const size_t i : undecided) may_match[i] = true;
    }
    if (all_matched) return Verdict::kEqual;
    for (size_t i = 0; i < right.size(); ++i) {
      if (!is_taken[i] && !may_match[i]) return Verdict::kDifferent;
    }
    return left_may_match ? Verdict::kUndecided : Verdict::kDifferent;
  }

  Verdict CompareInOrder(const Part& a, const Part& b) {
    if (a.size() != b.size()) return Verdict::kDifferent;
    Verdict verdict = Verdict::kEqual;
    for (size_t i = 0; i < a.size() && verdict != Verdict::kDifferent; ++i) {
      verdict = All(verdict, Compare(a.child(i), b.child(i)));
    }
    return verdict;
  }

  Verdict CompareTuples(const Part& a, const Part& b) {
    // (1, 2) and the list 1, 2, which a model may write without brackets.
    const bool either_list = a.Is(Kind::kList) || b.Is(Kind::kList);
    if (either_list) return CompareInOrder(a, b);
    const bool has_open_signs = IsCollection(a) || IsCollection(b);
    if (has_open_signs) return CompareCollections(a, b);
    if (!a.Is(Kind::kTuple) || !b.Is(Kind::kTuple)) return CompareIntervals(a, b);
    const bool same_brackets =
        a.node().opens_wide == b.node().opens_wide && a.node().closes_wide == b.node().closes_wide;
    if (a.size() == 2 && !same_brackets) return Verdict::kDifferent;
    return CompareInOrder(a, b);
  }

  Verdict CompareMatrices(const Part& a, const Part& b) {
    if (!a.Is(Kind::kMatrix) || !b.Is(Kind::kMatrix)) return Verdict::kDifferent;
    if (a.node().columns != b.node().columns) return Verdict::kDifferent;
    return CompareInOrder(a, b);
  }

  Verdict CompareTexts(const Part& a, const Part& b) {
    const auto words = [](const Part& part) {
      const bool has_words = part.Is(Kind::kText) || part.Is(Kind::kSymbol);
      return has_words ? absl::AsciiStrToLower(part.name()) : std::string();
    };
    const std::string left = words(a), right = words(b);
    return !left.empty() && left == right ? Verdict::kEqual : Verdict::kDifferent;
  }

  // 1:2 is 2:4; 1:00 is not 2:00. Three and more parts are in proportion.
  Verdict CompareRatios(const Part& a, const Part& b) {
    if (a.size() != b.size()) return Verdict::kDifferent;
    if (a.node().is_clock && b.node().is_clock) return CompareInOrder(a, b);
    if (a.size() == 2) return CompareScalars(a, b, budget_);
    std::vector<Rational> left(a.size()), right(b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      if (!EvaluateExactly(a.child(i), {}, budget_, left[i])) return Verdict::kUndecided;
      if (!EvaluateExactly(b.child(i), {}, budget_, right[i])) return Verdict::kUndecided;
    }
    for (size_t i = 1; i < a.size(); ++i) {
      Rational one, other;
      fmpq_mul(one.get(), left[i].get(), right[0].get());
      fmpq_mul(other.get(), right[i].get(), left[0].get());
      if (!(one == other)) return Verdict::kDifferent;
    }
    return left[0].IsZero() || right[0].IsZero() ? Verdict::kUndecided : Verdict::kEqual;
  }

  Budget budget_;
};

// The letter of a choice such as "B", "(B)", "\text{(B)}" or "(B) 5"; 0 when there is none.
char ChoiceLetter(absl::string_view text) {
  for (const absl::string_view wrapper : {"\\text{", "\\textbf{", "\\mathrm{", "{", "("}) {
    text = absl::StripLeadingAsciiWhitespace(text);
    absl::ConsumePrefix(&text, wrapper);
  }
  if (text.empty() || !absl::ascii_isupper(static_cast<unsigned char>(text[0]))) return 0;
  if (text.size() == 1) return text[0];
  if (!absl::StrContains(").:}", text.substr(1, 1))) return 0;
  // C_2 and (A)+(B) are no choices; "(A) or (B)" is two of them.
  const bool goes_on = text.size() > 2 && absl::StrContains("_^=+-*/,", text.substr(2, 1));
  const auto is_letter = [text](size_t i) {
    return i < text.size() && absl::ascii_isalpha(static_cast<unsigned char>(text[i]));
  };
  for (size_t i = 2; i < text.size(); ++i) {
    if (text[i] >= 'A' && text[i] <= 'J' && !is_letter(i - 1) && !is_letter(i + 1)) return 0;
  }
  return goes_on ? '\0' : text[0];
}

bool IsOneLetter(absl::string_view text) { return PlainText(text).size() == 1; }

// 4:30, with or without words behind it.
bool IsTimeOfDay(const Part& part) {
  const Part value = part.Is(Kind::kUnit) ? part.child(0) : part;
  return value.Is(Kind::kRatio) && value.node().is_clock;
}

Verdict CompareWhole(absl::string_view gold, Expression& gold_tree, absl::string_view answer,
                     Expression& answer_tree, bool& exhausted) {
  const char gold_choice = ChoiceLetter(gold), answer_choice = ChoiceLetter(answer);
  const bool is_choice =
      gold_choice != 0 && answer_choice != 0 && (IsOneLetter(gold) || IsOneLetter(answer));
  if (is_choice) return gold_choice == answer_choice ? Verdict::kEqual : Verdict::kDifferent;
  const Part left{&gold_tree, gold_tree.root}, right{&answer_tree, answer_tree.root};
  const bool has_text = left.Is(Kind::kText) || right.Is(Kind::kText);
  // Words are words and a ratio is a ratio: \text{4:30 p.m.} is not 4:30\text{ p.m.}, as the
  // graders have it whose labels tests/fixtures/math_outputs.jsonl carries.
  if (has_text && !IsTimeOfDay(left) && !IsTimeOfDay(right)) {
    const std::string plain = PlainText(gold);
    if (!plain.empty() && plain == PlainText(answer)) return Verdict::kEqual;
  }
  Comparer comparer;
  const Verdict verdict = comparer.Compare(left, right);
  exhausted = comparer.exhausted();
  return exhausted && verdict != Verdict::kEqual ? Verdict::kUndecided : verdict;
}

}  // namespace

Comparison CompareAnswers(absl::string_view gold, absl::string_view answer) {
  static thread_local const ThreadCaches caches;
  (void)&caches;
  Expression gold_tree, answer_tree;
  const char* reason = "";
  if (!ParseAnswer(gold, gold_tree, reason)) {
    return {.reason = "unparseable_gold", .gold_is_readable = false};
  }
  if (!ParseAnswer(answer, answer_tree, reason)) {
    return {.verdict = Verdict::kDifferent, .reason = "unparseable_answer"};
  }
  bool exhausted = false;
  const Verdict verdict = CompareWhole(gold, gold_tree, answer, answer_tree, exhausted);
  if (verdict == Verdict::kEqual) return {.verdict = verdict, .reason = "equal"};
  if (verdict == Verdict::kDifferent) return {.verdict = verdict, .reason = "different"};
  return {.verdict = verdict, .reason = exhausted ? "work_limit" : "undecided"};
}

}  // namespace r1::rewards::math
