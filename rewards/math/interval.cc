#include "rewards/math/interval.h"

namespace r1::rewards::math {
namespace {

// \mathbb{R}, as the lexer names it: up to the end of the group.
constexpr absl::string_view kRealLine = "mathbb{R";

bool IsLess(char c) { return c == relation::kLess || c == relation::kLessEqual; }
bool IsGreater(char c) { return c == relation::kGreater || c == relation::kGreaterEqual; }
bool IsStrict(char c) { return c == relation::kLess || c == relation::kGreater; }

Part Infinity(const Part& part, bool is_negative) {
  Part end = part;
  end.id = part.expression->Add(
      {.kind = Kind::kConstant, .detail = static_cast<uint8_t>(Constant::kInfinity)});
  if (is_negative) end.id = part.expression->Add({.kind = Kind::kNegate}, {end.id});
  return end;
}

// A half line that ends at `bound`.
bool HalfLine(const Part& part, const Part& bound, bool is_below, bool is_strict,
              const std::string& symbol, Interval& interval) {
  const Part end = Infinity(part, /*is_negative=*/is_below);
  if (bound.id == kNoNode || end.id == kNoNode) return false;
  interval.low = is_below ? end : bound;
  interval.high = is_below ? bound : end;
  interval.opens_wide = is_below || is_strict;
  interval.closes_wide = !is_below || is_strict;
  interval.symbol = symbol;
  return true;
}

bool FromInequality(const Part& part, Budget& budget, Interval& interval) {
  const char c = part.name()[0];
  const Part left = part.child(0), right = part.child(1);
  if (!IsLess(c) && !IsGreater(c)) return false;
  if (left.Is(Kind::kSymbol) && !right.node().has_symbols) {
    return HalfLine(part, right, IsLess(c), IsStrict(c), left.name(), interval);
  }
  if (right.Is(Kind::kSymbol) && !left.node().has_symbols) {
    return HalfLine(part, left, IsGreater(c), IsStrict(c), right.name(), interval);
  }
  std::string symbol;
  Rational root;
  int slope_sign = 0;
  if (!SolveLinear(left, right, budget, symbol, root, slope_sign)) return false;
  Part bound = part;
  bound.id = part.expression->AddNumber(std::move(root));
  return HalfLine(part, bound, IsLess(c) == (slope_sign > 0), IsStrict(c), symbol, interval);
}

bool FromChain(const Part& part, Interval& interval) {
  const char first = part.name()[0], second = part.name()[1];
  const bool rises = IsLess(first) && IsLess(second);
  const bool falls = IsGreater(first) && IsGreater(second);
  const bool is_plain = part.child(1).Is(Kind::kSymbol) && !part.child(0).node().has_symbols &&
                        !part.child(2).node().has_symbols;
  if ((!rises && !falls) || !is_plain) return false;
  interval.low = part.child(rises ? 0 : 2);
  interval.high = part.child(rises ? 2 : 0);
  interval.opens_wide = IsStrict(rises ? first : second);
  interval.closes_wide = IsStrict(rises ? second : first);
  interval.symbol = part.child(1).name();
  return true;
}

}  // namespace

bool ToInterval(const Part& part, Budget& budget, Interval& interval) {
  if (part.Is(Kind::kTuple) && part.size() == 2) {
    interval.low = part.child(0);
    interval.high = part.child(1);
    interval.opens_wide = part.node().opens_wide;
    interval.closes_wide = part.node().closes_wide;
    return true;
  }
  if (part.Is(Kind::kSymbol) && part.name() == kRealLine) {
    interval.low = Infinity(part, /*is_negative=*/true);
    interval.high = Infinity(part, /*is_negative=*/false);
    return interval.low.id != kNoNode && interval.high.id != kNoNode;
  }
  if (!part.Is(Kind::kRelation)) return false;
  if (part.size() == 2) return FromInequality(part, budget, interval);
  return part.size() == 3 && FromChain(part, interval);
}

}  // namespace r1::rewards::math
