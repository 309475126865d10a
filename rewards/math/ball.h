// The ball layer: complex interval arithmetic (Arb) for what has radicals, functions or constants.
// Every result encloses the true value, so disjoint balls prove two values unequal. Balls that
// overlap at high relative accuracy are taken to be equal; never is there an absolute tolerance.
#pragma once

#include "rewards/math/exact.h"

namespace r1::rewards::math {

// Exponents of two are cut at this size.
inline constexpr slong kExponentMax = slong{1} << 40;

class BallEvaluator {
 public:
  BallEvaluator(const Values& values, slong precision, Budget& budget)
      : values_(values), precision_(precision), budget_(budget) {}

  // False when the value is undefined here, is not supported, leaves the real branch of a root or
  // logarithm of symbols, or costs too much.
  [[nodiscard]] bool Evaluate(const Part& part, Ball& result);

  // A part of the value was too small to show at this precision: equal balls prove nothing yet.
  bool absorbed() const { return absorbed_; }
  // Exponent of two of the largest term of any sum.
  slong largest_exponent() const { return largest_exponent_; }

 private:
  bool EvaluateNode(const Part& part, Ball& result);
  bool Sum(const Part& part, Ball& result);
  bool Product(const Part& part, Ball& result);
  bool Quotient(const Part& part, Ball& result);
  bool Power(const Part& part, Ball& result);
  bool RealPower(const Part& part, const Ball& base, Ball& result);
  bool Root(const Part& part, Ball& result);
  bool Factorial(const Part& part, Ball& result);
  bool Binomial(const Part& part, Ball& result);
  bool Call(const Part& part, Ball& result);
  bool Logarithm(const Part& part, const Ball& argument, Ball& result);
  bool CallReal(Function function, const Part& part, Ball& argument, Ball& result);
  bool Transcendental(Function function, const Ball& argument, Ball& result);
  bool SetRational(const Rational& value, Ball& result);
  bool Spend(slong weight);

  const Values& values_;
  slong precision_;
  Budget& budget_;
  bool absorbed_ = false;
  slong largest_exponent_ = -kExponentMax;
};

}  // namespace r1::rewards::math
