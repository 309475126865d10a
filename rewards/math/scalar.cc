#include "rewards/math/scalar.h"

#include <algorithm>
#include <array>

#include "rewards/math/ball.h"

namespace r1::rewards::math {
namespace {

enum class Overlap { kDisjoint, kAgree, kTooCoarse };

// log2 of the radius; very small for an exact ball.
slong RadiusExponent(const Ball& ball) {
  mag_t radius;
  mag_init(radius);
  mag_max(radius, arb_radref(acb_realref(ball.get())), arb_radref(acb_imagref(ball.get())));
  slong exponent = -kExponentMax;
  if (!mag_is_zero(radius) && fmpz_fits_si(MAG_EXPREF(radius))) {
    exponent = std::max(-kExponentMax, fmpz_get_si(MAG_EXPREF(radius)));
  }
  mag_clear(radius);
  return exponent;
}

// Balls agree when they overlap and `bits` leading bits of both are known. Where both may be zero,
// the bits count from the largest term that was cancelled.
Overlap CompareBalls(const Ball& a, const Ball& b, slong largest_exponent, slong bits) {
  if (!acb_overlaps(a.get(), b.get())) return Overlap::kDisjoint;
  const bool a_zero = acb_contains_zero(a.get()) != 0, b_zero = acb_contains_zero(b.get()) != 0;
  if (a_zero != b_zero) return Overlap::kTooCoarse;
  const slong radius = std::max(RadiusExponent(a), RadiusExponent(b));
  if (radius == -kExponentMax) return Overlap::kAgree;
  if (a_zero) return radius <= largest_exponent - bits ? Overlap::kAgree : Overlap::kTooCoarse;
  const slong known = std::min(acb_rel_accuracy_bits(a.get()), acb_rel_accuracy_bits(b.get()));
  return known >= bits ? Overlap::kAgree : Overlap::kTooCoarse;
}

// Two values at one point, at growing precision.
struct Step {
  slong precision;
  slong bits;  // that must agree
};
constexpr slong kNever = kExponentMax;
constexpr std::array<Step, 4> kConstantSteps = {
    {{128, kNever}, {1024, 512}, {4096, 512}, {8192, 512}}};
constexpr std::array<Step, 3> kPointSteps = {{{192, 100}, {768, 100}, {3072, 100}}};

// `undefined`: neither side decides anything at this point.
Verdict CompareAt(const Part& a, const Part& b, const Values& values, absl::Span<const Step> steps,
                  Budget& budget, bool& undefined) {
  undefined = false;
  for (const Step& step : steps) {
    BallEvaluator evaluator(values, step.precision, budget);
    Ball left, right;
    if (!evaluator.Evaluate(a, left) || !evaluator.Evaluate(b, right)) {
      undefined = true;
      return Verdict::kUndecided;
    }
    const Overlap overlap = CompareBalls(left, right, evaluator.largest_exponent(), step.bits);
    if (overlap == Overlap::kDisjoint) return Verdict::kDifferent;
    if (overlap == Overlap::kAgree && !evaluator.absorbed()) return Verdict::kEqual;
  }
  return Verdict::kUndecided;
}

// Points
// -------------------------------------------------------------------------------------------

constexpr int kPointsWanted = 3;  // of each of the kinds below
constexpr int kPointTriesMax = 10;

enum class PointKind { kPositive, kAnySign, kWhole };

uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// The same point for the same symbols, whichever side they come from.
Values PointOf(const std::vector<std::string>& symbols, PointKind kind, int attempt) {
  constexpr std::array<slong, 3> kScales = {3, 1, 20};
  Values values;
  for (const std::string& symbol : symbols) {
    uint64_t hash = static_cast<uint64_t>(attempt) * 8 + static_cast<uint64_t>(kind);
    for (const char c : symbol) hash = Mix(hash ^ static_cast<unsigned char>(c));
    Rational value;
    if (kind == PointKind::kWhole) {
      value = Rational(static_cast<slong>(2 + hash % 24));
    } else {
      const slong scale = kScales[static_cast<size_t>(attempt) % kScales.size()];
      fmpz_set_si(fmpq_numref(value.get()),
                  scale * static_cast<slong>(1 + (hash >> 8 & 0xFFFFFFF)));
      fmpz_set_si(fmpq_denref(value.get()), 0x10000001);
      fmpq_canonicalise(value.get());
      if (kind == PointKind::kAnySign && (hash & 1) != 0) fmpq_neg(value.get(), value.get());
    }
    values.emplace(symbol, std::move(value));
  }
  return values;
}

// Calls `compare` (Verdict(const Values&, bool& undefined)) at points of every kind.
template <typename Compare>
Verdict Probe(const std::vector<std::string>& symbols, const Budget& budget,
              const Compare& compare) {
  int agreed = 0;
  for (const PointKind kind : {PointKind::kPositive, PointKind::kAnySign, PointKind::kWhole}) {
    int agreed_here = 0;
    // Whole numbers only stand in for points that are undefined elsewhere, as in (-1)^n.
    if (kind == PointKind::kWhole && agreed >= kPointsWanted) break;
    for (int attempt = 0; attempt < kPointTriesMax && agreed_here < kPointsWanted; ++attempt) {
      bool undefined = false;
      const Verdict verdict = compare(PointOf(symbols, kind, attempt), undefined);
      if (verdict == Verdict::kDifferent || budget.exhausted()) return verdict;
      if (undefined) continue;
      if (verdict == Verdict::kUndecided) return verdict;
      ++agreed_here;
    }
    agreed += agreed_here;
  }
  return agreed >= kPointsWanted ? Verdict::kEqual : Verdict::kUndecided;
}

int InfinitySign(const Part& part) {
  if (part.Is(Kind::kConstant)) {
    return static_cast<Constant>(part.node().detail) == Constant::kInfinity ? 1 : 0;
  }
  if (part.Is(Kind::kNegate)) return -InfinitySign(part.child(0));
  if (part.Is(Kind::kPlusMinus)) return InfinitySign(part.child(0)) * (part.IsMinus() ? -1 : 1);
  return 0;
}

bool Difference(BallEvaluator& evaluator, const std::vector<Part>& sides, slong precision,
                Ball& result) {
  Ball right;
  if (!evaluator.Evaluate(sides[0], result) || !evaluator.Evaluate(sides[1], right)) return false;
  acb_sub(result.get(), result.get(), right.get(), precision);
  return !acb_contains_zero(result.get());
}

}  // namespace

Verdict CompareScalars(const Part& a, const Part& b, Budget& budget) {
  const int a_infinity = InfinitySign(a), b_infinity = InfinitySign(b);
  if (a_infinity != 0 || b_infinity != 0) {
    return a_infinity == b_infinity ? Verdict::kEqual : Verdict::kDifferent;
  }
  Rational left, right;
  if (EvaluateExactly(a, {}, budget, left) && EvaluateExactly(b, {}, budget, right)) {
    return left == right ? Verdict::kEqual : Verdict::kDifferent;
  }
  const Exact exact = CompareRationalFunctions(a, b, budget);
  if (exact == Exact::kEqual) return Verdict::kEqual;
  if (exact == Exact::kDifferent) return Verdict::kDifferent;
  std::vector<std::string> symbols;
  CollectSymbols(a, symbols);
  CollectSymbols(b, symbols);
  bool undefined = false;
  if (symbols.empty()) return CompareAt(a, b, {}, kConstantSteps, budget, undefined);
  return Probe(symbols, budget, [&](const Values& values, bool& is_undefined) {
    return CompareAt(a, b, values, kPointSteps, budget, is_undefined);
  });
}

Verdict CompareDifferences(const std::vector<Part>& a, const std::vector<Part>& b,
                           bool same_direction, Budget& budget) {
  const Exact exact = CompareEquations(a, b, same_direction, budget);
  if (exact == Exact::kEqual) return Verdict::kEqual;
  if (exact == Exact::kDifferent) return Verdict::kDifferent;
  std::vector<std::string> symbols;
  for (const std::vector<Part>* sides : {&a, &b}) {
    for (const Part& side : *sides) CollectSymbols(side, symbols);
  }
  if (symbols.empty()) return Verdict::kUndecided;
  constexpr slong kPrecision = 512;
  bool has_first = false;
  Ball first;
  return Probe(symbols, budget, [&](const Values& values, bool& undefined) {
    BallEvaluator evaluator(values, kPrecision, budget);
    Ball left, right;
    undefined =
        !Difference(evaluator, a, kPrecision, left) || !Difference(evaluator, b, kPrecision, right);
    if (undefined || evaluator.absorbed()) return Verdict::kUndecided;
    acb_div(left.get(), left.get(), right.get(), kPrecision);
    if (same_direction && !arb_is_positive(left.real())) return Verdict::kDifferent;
    if (!has_first) first = left;
    has_first = true;
    const Overlap overlap = CompareBalls(left, first, 0, 100);
    if (overlap == Overlap::kDisjoint) return Verdict::kDifferent;
    return overlap == Overlap::kAgree ? Verdict::kEqual : Verdict::kUndecided;
  });
}

}  // namespace r1::rewards::math
