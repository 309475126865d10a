// The exact layer: rational numbers, and polynomials and quotients of them over the rationals. What
// it says is proved; what it cannot hold within its limits it leaves to the ball layer.
//
// Nothing is expanded before its size is known, and every operation is paid for from a Budget, so
// that the time of a comparison is bounded by counting, the same on every machine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "rewards/math/syntax.h"

namespace r1::rewards::math {

// Units of about 10 ns. One comparison may spend 60 ms.
class Budget {
 public:
  explicit Budget(int64_t units = 6'000'000) : left_(units) {}
  bool Spend(int64_t units) {
    left_ -= units;
    return left_ >= 0;
  }
  bool exhausted() const { return left_ < 0; }

 private:
  int64_t left_;
};

// A node with a choice of sign for each ± below it.
struct Part {
  Expression* expression = nullptr;
  NodeId id = kNoNode;
  uint32_t signs = 0;      // bit k: the k-th ± is a minus
  bool has_signs = false;  // `signs` was chosen

  const Node& node() const { return expression->at(id); }
  Part child(size_t index) const { return {expression, expression->child(id, index), signs}; }
  size_t size() const { return static_cast<size_t>(node().count); }
  const std::string& name() const { return expression->name(id); }
  bool Is(Kind kind) const { return node().kind == kind; }
  // Whether this ± stands for minus.
  bool IsMinus() const;
};

using Values = std::map<std::string, Rational>;

// The rational that `part` is, with the symbols set to `values`. False when it is none, is
// undefined, or would be too long.
[[nodiscard]] bool EvaluateExactly(const Part& part, const Values& values, Budget& budget,
                                   Rational& result);

enum class Exact { kEqual, kDifferent, kUnknown };

// Of two quotients of polynomials.
Exact CompareRationalFunctions(const Part& a, const Part& b, Budget& budget);

// Of two equations a[0] = a[1] and b[0] = b[1]: equal when their differences are the same up to a
// factor that is a number; with `same_direction`, up to a positive one (for inequalities).
Exact CompareEquations(const std::vector<Part>& a, const std::vector<Part>& b, bool same_direction,
                       Budget& budget);

// left - right is slope · symbol + constant with a slope other than 0.
[[nodiscard]] bool SolveLinear(const Part& left, const Part& right, Budget& budget,
                               std::string& symbol, Rational& root, int& slope_sign);

// The names of the symbols below a node.
void CollectSymbols(const Part& part, std::vector<std::string>& sorted_names);

}  // namespace r1::rewards::math
