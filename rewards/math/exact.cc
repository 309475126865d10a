// Rational numbers. Polynomials are in polynomial.cc.
#include "rewards/math/exact.h"

#include <algorithm>

namespace r1::rewards::math {
namespace {

// Long enough for 7^2022 and 2000!, short enough for a gcd in a few milliseconds.
constexpr slong kBitsMax = 1 << 18;
constexpr slong kFactorialMax = 20'000;

class RationalEvaluator {
 public:
  RationalEvaluator(const Part& part, const Values& values, Budget& budget)
      : part_(part), values_(values), budget_(budget) {}

  bool Evaluate(NodeId id, Rational& result) {
    const Node& node = expression().at(id);
    if (!budget_.Spend(4)) return false;
    switch (node.kind) {
      case Kind::kNumber:
        result = expression().number(id);
        return true;
      case Kind::kSymbol: {
        const auto found = values_.find(expression().name(id));
        if (found == values_.end()) return false;
        result = found->second;
        return true;
      }
      case Kind::kNegate:
        if (!Evaluate(expression().child(id, 0), result)) return false;
        fmpq_neg(result.get(), result.get());
        return true;
      case Kind::kPlusMinus:
        if (!Evaluate(expression().child(id, 0), result)) return false;
        if (Part{part_.expression, id, part_.signs}.IsMinus()) fmpq_neg(result.get(), result.get());
        return true;
      case Kind::kSum:
      case Kind::kProduct:
        return EvaluateMany(id, node.kind == Kind::kSum, result);
      case Kind::kQuotient:
      case Kind::kRatio:
        return node.count == 2 && EvaluateQuotient(id, result);
      case Kind::kPower:
        return EvaluatePower(id, result);
      case Kind::kFactorial:
        return EvaluateFactorial(id, result);
      case Kind::kFunction:
        return EvaluateFunction(id, result);
      case Kind::kUnit:
        if (expression().name(id) == "deg" || !Evaluate(expression().child(id, 0), result)) {
          return false;
        }
        if (expression().name(id) == "%") fmpq_div_fmpz(result.get(), result.get(), hundred());
        return true;
      default:
        return false;
    }
  }

 private:
  Expression& expression() { return *part_.expression; }

  const fmpz* hundred() {
    fmpz_set_ui(hundred_.get(), 100);
    return hundred_.get();
  }

  bool Fits(slong bits) {
    if (bits > kBitsMax) return false;
    return budget_.Spend(bits > 4096 ? 4 * bits : bits / 16);
  }

  bool EvaluateMany(NodeId id, bool is_sum, Rational& result) {
    result = Rational(is_sum ? 0 : 1);
    for (const NodeId child : expression().children(id)) {
      Rational value;
      if (!Evaluate(child, value) || !Fits(result.bits() + value.bits())) return false;
      if (is_sum) {
        fmpq_add(result.get(), result.get(), value.get());
      } else {
        fmpq_mul(result.get(), result.get(), value.get());
      }
    }
    return true;
  }

  bool EvaluateQuotient(NodeId id, Rational& result) {
    Rational divisor;
    if (!Evaluate(expression().child(id, 0), result)) return false;
    if (!Evaluate(expression().child(id, 1), divisor) || divisor.IsZero()) return false;
    if (!Fits(result.bits() + divisor.bits())) return false;
    fmpq_div(result.get(), result.get(), divisor.get());
    return true;
  }

  bool EvaluatePower(NodeId id, Rational& result) {
    Rational exponent;
    if (!Evaluate(expression().child(id, 0), result)) return false;
    if (!Evaluate(expression().child(id, 1), exponent)) return false;
    if (!exponent.IsInteger()) {
      // 8^{2/3}: a root that is exact, of a number that is not negative.
      if (result.sign() < 0 || !TakeRoot(exponent.denominator(), result)) return false;
    }
    const fmpz* power = exponent.numerator();
    if (result.IsZero()) return fmpz_sgn(power) > 0;
    const bool is_unit = fmpz_is_pm1(result.numerator()) && result.IsInteger();
    if (is_unit) {  // of any exponent
      if (fmpz_is_even(power)) result = Rational(1);
      return true;
    }
    if (!fmpz_fits_si(power) || fmpz_cmpabs(power, Limit()) > 0) return false;
    const slong n = fmpz_get_si(power);
    if (!Fits(result.bits() * std::abs(n))) return false;
    fmpq_pow_si(result.get(), result.get(), n);
    return true;
  }

  const fmpz* Limit() {
    fmpz_set_si(limit_.get(), kBitsMax);
    return limit_.get();
  }

  // The root of index `index` when it is rational; of a number that is not negative.
  bool TakeRoot(const fmpz* index, Rational& value) {
    if (!fmpz_fits_si(index) || fmpz_cmpabs(index, Limit()) > 0) return false;
    const slong n = fmpz_get_si(index);
    Integer over, under;
    if (n <= 0 || !Fits(value.bits() + 16)) return false;
    if (!fmpz_root(over.get(), value.numerator(), n)) return false;
    if (!fmpz_root(under.get(), value.denominator(), n)) return false;
    fmpq_set_fmpz_frac(value.get(), over.get(), under.get());
    return true;
  }

  bool EvaluateFactorial(NodeId id, Rational& result) {
    if (!Evaluate(expression().child(id, 0), result)) return false;
    if (!result.IsInteger() || result.sign() < 0) return false;
    if (!fmpz_fits_si(result.numerator())) return false;
    const slong n = fmpz_get_si(result.numerator());
    if (n > kFactorialMax || !Fits(n * 16)) return false;
    fmpz_fac_ui(fmpq_numref(result.get()), static_cast<ulong>(n));
    return true;
  }

  bool EvaluateFunction(NodeId id, Rational& result) {
    std::vector<Rational> arguments;
    for (const NodeId child : expression().children(id)) {
      arguments.emplace_back();
      if (!Evaluate(child, arguments.back())) return false;
    }
    if (arguments.empty()) return false;
    const auto function = static_cast<Function>(expression().at(id).detail);
    result = arguments[0];
    switch (function) {
      case Function::kAbs:
        fmpq_abs(result.get(), result.get());
        return arguments.size() == 1;
      case Function::kFloor:
      case Function::kCeiling: {
        Integer whole;
        const auto divide = function == Function::kFloor ? fmpz_fdiv_q : fmpz_cdiv_q;
        divide(whole.get(), result.numerator(), result.denominator());
        fmpq_set_fmpz(result.get(), whole.get());
        return arguments.size() == 1;
      }
      case Function::kConjugate:
      case Function::kRe:
        return arguments.size() == 1;
      case Function::kRoot:
        return EvaluateRoot(arguments, result);
      case Function::kBinomial:
        return EvaluateBinomial(arguments, result);
      case Function::kGcd:
      case Function::kLcm:
      case Function::kMax:
      case Function::kMin:
        return Fold(function, arguments, result);
      default:
        return false;
    }
  }

  bool EvaluateRoot(const std::vector<Rational>& arguments, Rational& result) {
    const Rational index = arguments.size() == 2 ? arguments[1] : Rational(2);
    if (arguments.size() > 2 || !index.IsInteger() || index.sign() <= 0) return false;
    const bool is_negative = result.sign() < 0;
    if (is_negative && fmpz_is_even(index.numerator())) return false;
    fmpq_abs(result.get(), result.get());
    if (!TakeRoot(index.numerator(), result)) return false;
    if (is_negative) fmpq_neg(result.get(), result.get());
    return true;
  }

  bool EvaluateBinomial(const std::vector<Rational>& arguments, Rational& result) {
    if (arguments.size() != 2) return false;
    for (const Rational& argument : arguments) {
      if (!argument.IsInteger() || argument.sign() < 0) return false;
      if (fmpz_cmp_si(argument.numerator(), kFactorialMax) > 0) return false;
    }
    const slong n = fmpz_get_si(arguments[0].numerator());
    const slong k = fmpz_get_si(arguments[1].numerator());
    if (!Fits(n)) return false;
    fmpz_bin_uiui(fmpq_numref(result.get()), static_cast<ulong>(n), static_cast<ulong>(k));
    return true;
  }

  bool Fold(Function function, const std::vector<Rational>& arguments, Rational& result) {
    const bool is_integral = function == Function::kGcd || function == Function::kLcm;
    if (is_integral && !result.IsInteger()) return false;
    for (size_t i = 1; i < arguments.size(); ++i) {
      const Rational& next = arguments[i];
      if (is_integral && !next.IsInteger()) return false;
      if (!Fits(result.bits() + next.bits())) return false;
      fmpz* total = fmpq_numref(result.get());
      if (function == Function::kGcd) fmpz_gcd(total, total, next.numerator());
      if (function == Function::kLcm) fmpz_lcm(total, total, next.numerator());
      const int order = fmpq_cmp(next.get(), result.get());
      const bool is_better = function == Function::kMax ? order > 0 : order < 0;
      if (!is_integral && is_better) result = next;
    }
    return true;
  }

  const Part part_;
  const Values& values_;
  Budget& budget_;
  Integer hundred_, limit_;
};

}  // namespace

bool Part::IsMinus() const {
  const Node& sign = node();
  const int bit = expression->signs_go_together ? 0 : sign.value;
  return ((signs >> bit & 1U) != 0) != sign.is_negative_sign;
}

bool EvaluateExactly(const Part& part, const Values& values, Budget& budget, Rational& result) {
  if (part.node().has_symbols && values.empty()) return false;
  return RationalEvaluator(part, values, budget).Evaluate(part.id, result);
}

void CollectSymbols(const Part& part, std::vector<std::string>& sorted_names) {
  if (!part.node().has_symbols) return;
  if (part.Is(Kind::kSymbol)) {
    const auto at = std::lower_bound(sorted_names.begin(), sorted_names.end(), part.name());
    if (at == sorted_names.end() || *at != part.name()) sorted_names.insert(at, part.name());
  }
  for (size_t i = 0; i < part.size(); ++i) CollectSymbols(part.child(i), sorted_names);
}

}  // namespace r1::rewards::math
