#include "rewards/math/ball.h"

#include <algorithm>
#include <cmath>

namespace r1::rewards::math {
namespace {

// Larger exponents and arguments cost precision that no budget counts: Arb raises it by itself.
constexpr slong kExponentBitsMax = 64;
constexpr slong kArgumentBitsMax = 1024;

bool IsReal(const Ball& ball) { return arb_is_zero(acb_imagref(ball.get())) != 0; }
bool IsNegative(const Ball& ball) {
  return IsReal(ball) && arb_is_nonpositive(acb_realref(ball.get())) != 0 &&
         !acb_contains_zero(ball.get());
}

// An upper bound of log2 |ball|, and whether it is above zero.
slong ExponentOf(const Ball& ball) {
  mag_t size;
  mag_init(size);
  acb_get_mag(size, ball.get());
  slong exponent = -kExponentMax;
  if (mag_is_finite(size) && !mag_is_zero(size)) {
    exponent = fmpz_fits_si(MAG_EXPREF(size)) ? fmpz_get_si(MAG_EXPREF(size)) : kExponentMax;
    exponent = std::clamp<slong>(exponent, -kExponentMax, kExponentMax);
  }
  mag_clear(size);
  return exponent;
}

}  // namespace

// Costs grow with the precision: words^1.6 for a product.
bool BallEvaluator::Spend(slong weight) {
  const double words = static_cast<double>(precision_) / 64;
  return budget_.Spend(weight * static_cast<slong>(8 + std::pow(words, 1.6)));
}

bool BallEvaluator::SetRational(const Rational& value, Ball& result) {
  if (value.bits() > precision_) absorbed_ = true;
  if (!budget_.Spend(value.bits() / 16)) return false;
  acb_set_fmpq(result.get(), value.get(), precision_);
  return true;
}

bool BallEvaluator::Evaluate(const Part& part, Ball& result) {
  return Spend(1) && EvaluateNode(part, result) && acb_is_finite(result.get());
}

bool BallEvaluator::EvaluateNode(const Part& part, Ball& result) {
  switch (part.node().kind) {
    case Kind::kNumber:
      return SetRational(part.expression->number(part.id), result);
    case Kind::kSymbol: {
      const auto found = values_.find(part.name());
      return found != values_.end() && SetRational(found->second, result);
    }
    case Kind::kConstant:
      switch (static_cast<Constant>(part.node().detail)) {
        case Constant::kPi:
          acb_const_pi(result.get(), precision_);
          return true;
        case Constant::kE:
          arb_const_e(result.real(), precision_);
          arb_zero(result.imaginary());
          return true;
        case Constant::kI:
          acb_onei(result.get());
          return true;
        default:
          return false;
      }
    case Kind::kPlusMinus:
    case Kind::kNegate:
      if (!Evaluate(part.child(0), result)) return false;
      if (part.Is(Kind::kNegate) || part.IsMinus()) acb_neg(result.get(), result.get());
      return true;
    case Kind::kSum:
      return Sum(part, result);
    case Kind::kProduct:
      return Product(part, result);
    case Kind::kRatio:
    case Kind::kQuotient:
      return part.size() == 2 && Quotient(part, result);
    case Kind::kPower:
      return Power(part, result);
    case Kind::kFactorial:
      return Factorial(part, result);
    case Kind::kFunction:
      return Call(part, result);
    case Kind::kUnit:
      if (!Evaluate(part.child(0), result)) return false;
      if (part.name() == "%") acb_div_ui(result.get(), result.get(), 100, precision_);
      if (part.name() == "deg") {
        Ball pi;
        acb_const_pi(pi.get(), precision_);
        acb_mul(result.get(), result.get(), pi.get(), precision_);
        acb_div_ui(result.get(), result.get(), 180, precision_);
      }
      return true;
    default:
      return false;
  }
}

bool BallEvaluator::Sum(const Part& part, Ball& result) {
  Ball total, term;
  slong largest = -kExponentMax, smallest = kExponentMax;
  for (size_t i = 0; i < part.size(); ++i) {
    if (!Evaluate(part.child(i), term)) return false;
    const slong exponent = ExponentOf(term);
    largest = std::max(largest, exponent);
    if (!acb_contains_zero(term.get())) smallest = std::min(smallest, exponent);
    acb_add(total.get(), total.get(), term.get(), precision_);
  }
  if (smallest < largest - precision_ / 2) absorbed_ = true;
  largest_exponent_ = std::max(largest_exponent_, largest);
  result = std::move(total);
  return true;
}

bool BallEvaluator::Product(const Part& part, Ball& result) {
  Ball total, factor;
  acb_one(total.get());
  for (size_t i = 0; i < part.size(); ++i) {
    if (!Evaluate(part.child(i), factor)) return false;
    acb_mul(total.get(), total.get(), factor.get(), precision_);
  }
  result = std::move(total);
  return true;
}

bool BallEvaluator::Quotient(const Part& part, Ball& result) {
  Ball divisor;
  if (!Evaluate(part.child(0), result) || !Evaluate(part.child(1), divisor)) return false;
  if (acb_contains_zero(divisor.get())) return false;
  acb_div(result.get(), result.get(), divisor.get(), precision_);
  return true;
}

bool BallEvaluator::Power(const Part& part, Ball& result) {
  const Part base_part = part.child(0), exponent_part = part.child(1);
  const bool is_exponential = base_part.Is(Kind::kConstant) &&
                              static_cast<Constant>(base_part.node().detail) == Constant::kE;
  if (is_exponential) {
    Ball exponent;
    return Evaluate(exponent_part, exponent) && Transcendental(Function::kExp, exponent, result);
  }
  Ball base;
  if (!Evaluate(base_part, base)) return false;
  Rational exponent;
  const bool is_rational = EvaluateExactly(exponent_part, values_, budget_, exponent);
  if (is_rational && exponent.IsInteger()) {
    if (exponent.sign() <= 0 && acb_contains_zero(base.get())) return false;
    // Arb adds the bits of the exponent to the precision.
    const auto bits = static_cast<slong>(fmpz_bits(exponent.numerator()));
    if (bits > kExponentBitsMax || !Spend(2 + bits)) return false;
    acb_pow_fmpz(result.get(), base.get(), exponent.numerator(), precision_);
    return true;
  }
  if (is_rational && IsNegative(base)) {
    // The real root where there is one, as in (-8)^{1/3}.
    if (part.node().has_symbols || fmpz_is_even(exponent.denominator())) return false;
    acb_neg(base.get(), base.get());
    if (!RealPower(exponent_part, base, result)) return false;
    if (!fmpz_is_even(exponent.numerator())) acb_neg(result.get(), result.get());
    return true;
  }
  return RealPower(exponent_part, base, result);
}

// The principal power; of symbols only where the base is not negative.
bool BallEvaluator::RealPower(const Part& exponent_part, const Ball& base, Ball& result) {
  Ball exponent;
  if (!Evaluate(exponent_part, exponent) || !Spend(40)) return false;
  if (ExponentOf(exponent) > kExponentBitsMax) return false;
  if (IsReal(base) && arb_contains_zero(acb_realref(base.get()))) return false;
  if (IsNegative(base)) return false;
  acb_pow(result.get(), base.get(), exponent.get(), precision_);
  return true;
}

bool BallEvaluator::Root(const Part& part, Ball& result) {
  Rational index(2);
  if (part.size() > 1 && !EvaluateExactly(part.child(1), values_, budget_, index)) return false;
  if (!index.IsInteger() || index.sign() <= 0 || fmpz_cmp_si(index.numerator(), 1000) > 0) {
    return false;
  }
  const ulong n = fmpz_get_ui(index.numerator());
  Ball radicand;
  if (!Evaluate(part.child(0), radicand) || !Spend(10)) return false;
  const bool is_negative = IsNegative(radicand);
  if (is_negative && n % 2 == 1) {
    acb_neg(radicand.get(), radicand.get());
    acb_root_ui(result.get(), radicand.get(), n, precision_);
    acb_neg(result.get(), result.get());
    return true;
  }
  if (is_negative && part.node().has_symbols) return false;
  acb_root_ui(result.get(), radicand.get(), n, precision_);
  return true;
}

bool BallEvaluator::Factorial(const Part& part, Ball& result) {
  Rational exact;
  if (!part.node().has_symbols && EvaluateExactly(part, values_, budget_, exact)) {
    return SetRational(exact, result);
  }
  // Stirling's series at high precision needs many Bernoulli numbers.
  if (precision_ > 1024 || !Spend(2000) || !Evaluate(part.child(0), result)) return false;
  if (!IsReal(result) || !arb_is_positive(result.real())) return false;
  if (ExponentOf(result) > kExponentBitsMax) return false;
  acb_add_ui(result.get(), result.get(), 1, precision_);
  acb_gamma(result.get(), result.get(), precision_);
  return true;
}

// n! / (k! (n-k)!).
bool BallEvaluator::Binomial(const Part& part, Ball& result) {
  if (part.size() != 2) return false;
  Rational exact;
  if (EvaluateExactly(part, values_, budget_, exact)) return SetRational(exact, result);
  if (precision_ > 1024 || !Spend(6000)) return false;
  Ball upper, lower, rest;
  if (!Evaluate(part.child(0), upper) || !Evaluate(part.child(1), lower)) return false;
  acb_sub(rest.get(), upper.get(), lower.get(), precision_);
  for (Ball* ball : {&upper, &lower, &rest}) {
    acb_add_ui(ball->get(), ball->get(), 1, precision_);
    if (!IsReal(*ball) || !arb_is_positive(ball->real())) return false;
    if (ExponentOf(*ball) > kExponentBitsMax) return false;
    acb_gamma(ball->get(), ball->get(), precision_);
  }
  acb_div(result.get(), upper.get(), lower.get(), precision_);
  acb_div(result.get(), result.get(), rest.get(), precision_);
  return true;
}

bool BallEvaluator::Call(const Part& part, Ball& result) {
  const auto function = static_cast<Function>(part.node().detail);
  if (function == Function::kRoot) return part.size() <= 2 && Root(part, result);
  if (function == Function::kBinomial) return Binomial(part, result);
  Ball argument;
  if (!Evaluate(part.child(0), argument)) return false;
  if (function == Function::kLn || function == Function::kLog) {
    return Logarithm(part, argument, result);
  }
  if (part.size() != 1) return false;
  switch (function) {
    case Function::kAbs:
      arb_zero(result.imaginary());
      acb_abs(result.real(), argument.get(), precision_);
      return true;
    case Function::kConjugate:
      acb_conj(result.get(), argument.get());
      return true;
    case Function::kRe:
    case Function::kIm:
      acb_set_arb(result.get(), function == Function::kRe ? argument.real() : argument.imaginary());
      return true;
    case Function::kFloor:
    case Function::kCeiling:
    case Function::kArcSin:
    case Function::kArcCos:
      return CallReal(function, part, argument, result);
    default:
      return Transcendental(function, argument, result);
  }
}

bool BallEvaluator::Logarithm(const Part& part, const Ball& argument, Ball& result) {
  if (acb_contains_zero(argument.get()) || !Spend(40)) return false;
  if (part.node().has_symbols && IsNegative(argument)) return false;
  acb_log(result.get(), argument.get(), precision_);
  if (static_cast<Function>(part.node().detail) == Function::kLn) return part.size() == 1;
  Ball base;
  if (part.size() > 2) return false;
  if (part.size() == 2 && !Evaluate(part.child(1), base)) return false;
  if (part.size() == 1) acb_set_ui(base.get(), 10);
  if (acb_contains_zero(base.get()) || IsNegative(base)) return false;
  acb_log(base.get(), base.get(), precision_);
  if (acb_contains_zero(base.get())) return false;
  acb_div(result.get(), result.get(), base.get(), precision_);
  return true;
}

// Functions that we take on the real line only.
bool BallEvaluator::CallReal(Function function, const Part& part, Ball& argument, Ball& result) {
  if (!IsReal(argument) || !Spend(60)) return false;
  arb_zero(result.imaginary());
  if (function == Function::kArcSin) arb_asin(result.real(), argument.real(), precision_);
  if (function == Function::kArcCos) arb_acos(result.real(), argument.real(), precision_);
  if (function == Function::kArcSin || function == Function::kArcCos) return true;
  Rational exact;
  if (EvaluateExactly(part, values_, budget_, exact)) return SetRational(exact, result);
  const auto round = function == Function::kFloor ? arb_floor : arb_ceil;
  round(result.real(), argument.real(), precision_);
  return arb_is_exact(result.real()) != 0;
}

bool BallEvaluator::Transcendental(Function function, const Ball& argument, Ball& result) {
  if (ExponentOf(argument) > kArgumentBitsMax || !Spend(60)) return false;
  // exp and cos of something tiny are 1 at this precision.
  if (!acb_contains_zero(argument.get()) && ExponentOf(argument) < -precision_ / 4) {
    absorbed_ = true;
  }
  const auto apply = [&](void (*f)(acb_t, const acb_t, slong)) {
    f(result.get(), argument.get(), precision_);
    return true;
  };
  switch (function) {
    case Function::kSin:
      return apply(acb_sin);
    case Function::kCos:
      return apply(acb_cos);
    case Function::kTan:
      return apply(acb_tan);
    case Function::kCot:
      return apply(acb_cot);
    case Function::kSec:
      return apply(acb_sec);
    case Function::kCsc:
      return apply(acb_csc);
    case Function::kArcTan:
      return apply(acb_atan);
    case Function::kArcCot: {
      Ball half_pi;
      acb_const_pi(half_pi.get(), precision_);
      acb_mul_2exp_si(half_pi.get(), half_pi.get(), -1);
      acb_atan(result.get(), argument.get(), precision_);
      acb_sub(result.get(), half_pi.get(), result.get(), precision_);
      return true;
    }
    case Function::kSinh:
      return apply(acb_sinh);
    case Function::kCosh:
      return apply(acb_cosh);
    case Function::kTanh:
      return apply(acb_tanh);
    case Function::kExp:
      return apply(acb_exp);
    default:
      return false;
  }
}

}  // namespace r1::rewards::math
