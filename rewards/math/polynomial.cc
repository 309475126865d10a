// Quotients of polynomials with rational coefficients, on FLINT's fmpq_mpoly. Lengths, degrees and
// coefficients are checked before each operation.
#include <algorithm>
#include <memory>
#include <optional>

#include "rewards/math/exact.h"

namespace r1::rewards::math {
namespace {

constexpr size_t kSymbolsMax = 8;
constexpr slong kTermsMax = 4096;  // of a product, before like terms are joined
constexpr slong kDegreeMax = 512;
constexpr slong kExponentMax = 128;
constexpr slong kCoefficientBitsMax = 4096;

class Ring {
 public:
  explicit Ring(std::vector<std::string> names) : names_(std::move(names)) {
    fmpq_mpoly_ctx_init(context_, static_cast<slong>(names_.size()), ORD_LEX);
  }
  ~Ring() { fmpq_mpoly_ctx_clear(context_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  const fmpq_mpoly_ctx_struct* get() const { return context_; }
  size_t size() const { return names_.size(); }
  // -1 when there is none.
  slong IndexOf(const std::string& name) const {
    const auto found = std::lower_bound(names_.begin(), names_.end(), name);
    return found != names_.end() && *found == name ? found - names_.begin() : -1;
  }
  const std::string& name(size_t index) const { return names_[index]; }

 private:
  std::vector<std::string> names_;
  fmpq_mpoly_ctx_t context_;
};

class Polynomial {
 public:
  explicit Polynomial(const Ring& ring) : ring_(&ring) { fmpq_mpoly_init(value_, ring.get()); }
  ~Polynomial() { fmpq_mpoly_clear(value_, ring_->get()); }
  Polynomial(const Polynomial& other) : Polynomial(*other.ring_) {
    fmpq_mpoly_set(value_, other.value_, ring_->get());
  }
  Polynomial& operator=(const Polynomial& other) {
    if (this != &other) fmpq_mpoly_set(value_, other.value_, ring_->get());
    return *this;
  }
  fmpq_mpoly_struct* get() { return value_; }
  const fmpq_mpoly_struct* get() const { return value_; }
  const fmpq_mpoly_ctx_struct* context() const { return ring_->get(); }
  slong length() const { return fmpq_mpoly_length(value_, ring_->get()); }
  slong degree() const { return std::max<slong>(0, fmpq_mpoly_total_degree_si(value_, context())); }
  bool IsZero() const { return fmpq_mpoly_is_zero(value_, ring_->get()) != 0; }
  bool IsConstant() const { return fmpq_mpoly_is_fmpq(value_, ring_->get()) != 0; }
  slong bits() const {
    return std::abs(fmpz_mpoly_max_bits(value_->zpoly)) +
           static_cast<slong>(fmpz_bits(fmpq_numref(value_->content)) +
                              fmpz_bits(fmpq_denref(value_->content)));
  }

 private:
  const Ring* ring_;
  fmpq_mpoly_t value_;
};

bool Multiply(const Polynomial& a, const Polynomial& b, Budget& budget, Polynomial& result) {
  const slong terms = a.length() * b.length();
  const slong bits = a.bits() + b.bits();
  if (terms > kTermsMax || bits > kCoefficientBitsMax) return false;
  if (a.degree() + b.degree() > kDegreeMax) return false;
  if (!budget.Spend(20 + terms * (4 + bits / 32))) return false;
  fmpq_mpoly_mul(result.get(), a.get(), b.get(), a.context());
  return true;
}

struct Fraction {
  Polynomial over;
  Polynomial under;  // not zero

  explicit Fraction(const Ring& ring) : over(ring), under(ring) { Set(Rational(0)); }
  void Set(const Rational& value) {
    fmpq_mpoly_set_fmpq(over.get(), value.get(), over.context());
    fmpq_mpoly_one(under.get(), under.context());
  }
};

class FractionEvaluator {
 public:
  FractionEvaluator(const Ring& ring, Budget& budget) : ring_(ring), budget_(budget) {}

  bool Evaluate(const Part& part, Fraction& result) {
    if (!budget_.Spend(20)) return false;
    if (!part.node().has_symbols) {
      Rational value;
      if (!EvaluateExactly(part, {}, budget_, value)) return false;
      if (value.bits() > kCoefficientBitsMax) return false;
      result.Set(value);
      return true;
    }
    switch (part.node().kind) {
      case Kind::kSymbol:
        result.Set(Rational(1));
        fmpq_mpoly_gen(result.over.get(), ring_.IndexOf(part.name()), ring_.get());
        return true;
      case Kind::kPlusMinus:
      case Kind::kNegate:
        if (!Evaluate(part.child(0), result)) return false;
        if (part.Is(Kind::kNegate) || part.IsMinus()) {
          fmpq_mpoly_neg(result.over.get(), result.over.get(), ring_.get());
        }
        return true;
      case Kind::kSum:
      case Kind::kProduct:
        return EvaluateMany(part, result);
      case Kind::kQuotient:
        return EvaluateQuotient(part, result);
      case Kind::kPower:
        return EvaluatePower(part, result);
      case Kind::kFunction:
        return static_cast<Function>(part.node().detail) == Function::kBinomial &&
               EvaluateBinomial(part, result);
      default:
        return false;
    }
  }

  bool Subtract(const Fraction& a, const Fraction& b, Fraction& result) {
    Fraction negated = b;
    fmpq_mpoly_neg(negated.over.get(), negated.over.get(), ring_.get());
    return Add(a, negated, result);
  }

 private:
  bool Add(const Fraction& a, const Fraction& b, Fraction& result) {
    if (fmpq_mpoly_equal(a.under.get(), b.under.get(), ring_.get())) {
      Fraction sum = a;
      fmpq_mpoly_add(sum.over.get(), a.over.get(), b.over.get(), ring_.get());
      result = sum;
      return sum.over.length() <= kTermsMax && sum.over.bits() <= kCoefficientBitsMax;
    }
    Polynomial left(ring_), right(ring_);
    Fraction sum(ring_);
    if (!Multiply(a.over, b.under, budget_, left)) return false;
    if (!Multiply(b.over, a.under, budget_, right)) return false;
    if (!Multiply(a.under, b.under, budget_, sum.under)) return false;
    fmpq_mpoly_add(sum.over.get(), left.get(), right.get(), ring_.get());
    result = sum;
    return sum.over.bits() <= kCoefficientBitsMax;
  }

  bool MultiplyBy(const Fraction& factor, Fraction& result) {
    Fraction product(ring_);
    if (!Multiply(result.over, factor.over, budget_, product.over)) return false;
    if (!Multiply(result.under, factor.under, budget_, product.under)) return false;
    result = product;
    return true;
  }

  bool EvaluateMany(const Part& part, Fraction& result) {
    const bool is_sum = part.Is(Kind::kSum);
    result.Set(Rational(is_sum ? 0 : 1));
    Fraction value(ring_);
    for (size_t i = 0; i < part.size(); ++i) {
      if (!Evaluate(part.child(i), value)) return false;
      if (is_sum ? !Add(result, value, result) : !MultiplyBy(value, result)) return false;
    }
    return true;
  }

  bool EvaluateQuotient(const Part& part, Fraction& result) {
    Fraction divisor(ring_);
    if (!Evaluate(part.child(0), result) || !Evaluate(part.child(1), divisor)) return false;
    if (divisor.over.IsZero()) return false;
    std::swap(*divisor.over.get(), *divisor.under.get());
    return MultiplyBy(divisor, result);
  }

  bool EvaluatePower(const Part& part, Fraction& result) {
    Rational exponent;
    if (!EvaluateExactly(part.child(1), {}, budget_, exponent) || !exponent.IsInteger()) {
      return false;
    }
    if (fmpz_cmpabs(exponent.numerator(), Limit()) > 0) return false;
    Fraction base(ring_);
    if (!Evaluate(part.child(0), base)) return false;
    slong n = fmpz_get_si(exponent.numerator());
    if (n < 0) {
      if (base.over.IsZero()) return false;
      std::swap(*base.over.get(), *base.under.get());
      n = -n;
    }
    if (n == 0 && base.over.IsZero()) return false;
    result.Set(Rational(1));
    for (; n > 0; --n) {
      if (!MultiplyBy(base, result)) return false;
    }
    return true;
  }

  const fmpz* Limit() {
    fmpz_set_si(limit_.get(), kExponentMax);
    return limit_.get();
  }

  // n (n-1) … (n-k+1) / k! for a number k.
  bool EvaluateBinomial(const Part& part, Fraction& result) {
    Rational lower;
    if (part.size() != 2 || !EvaluateExactly(part.child(1), {}, budget_, lower)) return false;
    if (!lower.IsInteger() || lower.sign() < 0 || fmpz_cmp_si(lower.numerator(), 16) > 0) {
      return false;
    }
    Fraction upper(ring_), step(ring_);
    if (!Evaluate(part.child(0), upper)) return false;
    result.Set(Rational(1));
    const slong k = fmpz_get_si(lower.numerator());
    for (slong i = 0; i < k; ++i) {
      step.Set(Rational(i));
      Fraction factor(ring_);
      if (!Subtract(upper, step, factor) || !MultiplyBy(factor, result)) return false;
      step.Set(Rational(i + 1));
      std::swap(*step.over.get(), *step.under.get());
      if (!MultiplyBy(step, result)) return false;
    }
    return true;
  }

  const Ring& ring_;
  Budget& budget_;
  Integer limit_;
};

std::optional<std::vector<std::string>> FewSymbols(std::initializer_list<Part> parts) {
  std::vector<std::string> names;
  for (const Part& part : parts) CollectSymbols(part, names);
  if (names.empty() || names.size() > kSymbolsMax) return std::nullopt;
  return names;
}

// The numerator of left - right, without the factors that it shares with the denominator.
bool ReducedDifference(const Ring& ring, const std::vector<Part>& sides, bool keep_sign,
                       Budget& budget, Polynomial& result) {
  FractionEvaluator evaluator(ring, budget);
  Fraction left(ring), right(ring), difference(ring);
  if (!evaluator.Evaluate(sides[0], left) || !evaluator.Evaluate(sides[1], right)) return false;
  if (!evaluator.Subtract(left, right, difference)) return false;
  result = difference.over;
  if (difference.under.IsConstant()) {
    Rational scale;
    fmpq_mpoly_get_fmpq(scale.get(), difference.under.get(), ring.get());
    fmpq_mpoly_scalar_div_fmpq(result.get(), result.get(), scale.get(), ring.get());
    return true;
  }
  if (keep_sign) return false;  // the denominator may be negative
  const slong length = std::max(result.length(), difference.under.length());
  if (length > 64 || result.degree() > 32 || !budget.Spend(20'000 * length)) return false;
  Polynomial common(ring);
  return fmpq_mpoly_gcd(common.get(), result.get(), difference.under.get(), ring.get()) != 0 &&
         fmpq_mpoly_divides(result.get(), result.get(), common.get(), ring.get()) != 0;
}

}  // namespace

Exact CompareRationalFunctions(const Part& a, const Part& b, Budget& budget) {
  const auto names = FewSymbols({a, b});
  if (!names) return Exact::kUnknown;
  const Ring ring(*names);
  FractionEvaluator evaluator(ring, budget);
  Fraction left(ring), right(ring);
  if (!evaluator.Evaluate(a, left) || !evaluator.Evaluate(b, right)) return Exact::kUnknown;
  Polynomial one(ring), other(ring);
  if (!Multiply(left.over, right.under, budget, one)) return Exact::kUnknown;
  if (!Multiply(right.over, left.under, budget, other)) return Exact::kUnknown;
  return fmpq_mpoly_equal(one.get(), other.get(), ring.get()) ? Exact::kEqual : Exact::kDifferent;
}

Exact CompareEquations(const std::vector<Part>& a, const std::vector<Part>& b, bool same_direction,
                       Budget& budget) {
  const auto names = FewSymbols({a[0], a[1], b[0], b[1]});
  if (!names) return Exact::kUnknown;
  const Ring ring(*names);
  Polynomial left(ring), right(ring);
  if (!ReducedDifference(ring, a, same_direction, budget, left)) return Exact::kUnknown;
  if (!ReducedDifference(ring, b, same_direction, budget, right)) return Exact::kUnknown;
  // 0 = 0 says nothing.
  if (left.IsZero() || right.IsZero()) return Exact::kDifferent;
  Rational left_lead, right_lead;
  fmpq_mpoly_get_term_coeff_fmpq(left_lead.get(), left.get(), 0, ring.get());
  fmpq_mpoly_get_term_coeff_fmpq(right_lead.get(), right.get(), 0, ring.get());
  if (same_direction && left_lead.sign() != right_lead.sign()) return Exact::kDifferent;
  fmpq_mpoly_make_monic(left.get(), left.get(), ring.get());
  fmpq_mpoly_make_monic(right.get(), right.get(), ring.get());
  return fmpq_mpoly_equal(left.get(), right.get(), ring.get()) ? Exact::kEqual : Exact::kDifferent;
}

bool SolveLinear(const Part& left, const Part& right, Budget& budget, std::string& symbol,
                 Rational& root, int& slope_sign) {
  const auto names = FewSymbols({left, right});
  if (!names || names->size() != 1) return false;
  const Ring ring(*names);
  FractionEvaluator evaluator(ring, budget);
  Fraction a(ring), b(ring), difference(ring);
  if (!evaluator.Evaluate(left, a) || !evaluator.Evaluate(right, b)) return false;
  if (!evaluator.Subtract(a, b, difference)) return false;
  if (!difference.under.IsConstant() || difference.over.degree() != 1) return false;
  Rational scale, slope, constant;
  const ulong first[1] = {1}, zeroth[1] = {0};
  fmpq_mpoly_get_fmpq(scale.get(), difference.under.get(), ring.get());
  fmpq_mpoly_get_coeff_fmpq_ui(slope.get(), difference.over.get(), first, ring.get());
  fmpq_mpoly_get_coeff_fmpq_ui(constant.get(), difference.over.get(), zeroth, ring.get());
  symbol = ring.name(0);
  slope_sign = slope.sign() * scale.sign();
  fmpq_div(root.get(), constant.get(), slope.get());
  fmpq_neg(root.get(), root.get());
  return true;
}

}  // namespace r1::rewards::math
