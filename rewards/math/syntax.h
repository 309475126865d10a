// The syntax tree of one answer: nodes in one array, children before parents. Size and depth are
// bounded here, so that whatever walks a tree may recurse and may count on its length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rewards/math/flint_values.h"

namespace r1::rewards::math {

inline constexpr size_t kAnswerBytesMax = 4096;
inline constexpr int kDepthMax = 200;
inline constexpr size_t kNodesMax = 5000;

using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

enum class Kind : uint8_t {
  kNumber,     // rational, exact: 12, 0.5, 0.\overline{3}, 101_2
  kSymbol,     // x, a_1, \theta
  kConstant,   // pi, e, i, infinity
  kNegate,     // one child
  kSum,        // any number of children
  kProduct,    //
  kQuotient,   // two children
  kPower,      // two children
  kFunction,   // detail: Function
  kFactorial,  //
  kPlusMinus,  // one child, +child or -child
  kMatrix,     // rows one after another, `columns` in each
  kTuple,      // in brackets: a point, or an interval
  kList,       // items side by side, without brackets: any order
  kSet,        // in braces
  kUnion,      // of intervals or sets
  kRelation,   // sides; name: one operator character between each two of them
  kText,       // words
  kUnit,       // one child with a unit; name: "%", "deg", "$", "cm^2"
  kRatio,      // a:b or a:b:c
};

enum class Constant : uint8_t { kPi, kE, kI, kInfinity };

enum class Function : uint8_t {
  kSin,
  kCos,
  kTan,
  kCot,
  kSec,
  kCsc,
  kArcSin,
  kArcCos,
  kArcTan,
  kArcCot,
  kSinh,
  kCosh,
  kTanh,
  kExp,
  kLn,
  kLog,   // kLog: argument and perhaps base, else 10
  kRoot,  // argument and perhaps index, else 2
  kAbs,
  kFloor,
  kCeiling,
  kBinomial,
  kGcd,
  kLcm,
  kMax,
  kMin,
  kMod,
  kConjugate,
  kRe,
  kIm,
};

// Operators of kRelation, as characters.
namespace relation {
inline constexpr char kEqual = '=', kLess = '<', kGreater = '>', kLessEqual = 'l';
inline constexpr char kGreaterEqual = 'g', kUnequal = 'n', kElement = 'e', kAbout = '~';
}  // namespace relation

struct Node {
  Kind kind = Kind::kNumber;
  uint8_t detail = 0;  // Function or Constant
  bool in_parentheses = false;
  bool opens_wide = false;        // kTuple: "(" rather than "["
  bool closes_wide = false;       //         ")" rather than "]"
  bool is_negative_sign = false;  // kPlusMinus: \mp
  bool is_clock = false;          // kRatio: like 4:30
  bool has_symbols = false;       // itself or below
  uint16_t height = 1;
  uint16_t columns = 0;  // kMatrix
  uint8_t signs = 0;     // number of ± at or below
  int32_t value = -1;    // kNumber: index of its value; kPlusMinus: index of its sign
  int32_t name = -1;
  int32_t first = 0, count = 0;  // children
};

class Expression {
 public:
  // kNoNode when a limit is passed or a child is kNoNode.
  NodeId Add(Node node, absl::Span<const NodeId> children = {});
  NodeId AddNumber(Rational value);
  NodeId AddNamed(Kind kind, absl::string_view name, absl::Span<const NodeId> children = {});
  NodeId AddFunction(Function function, absl::Span<const NodeId> children);
  NodeId AddPlusMinus(NodeId child, bool is_negative_sign);

  Node& at(NodeId id) { return nodes_[static_cast<size_t>(id)]; }
  const Node& at(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  absl::Span<const NodeId> children(NodeId id) const {
    return absl::MakeConstSpan(children_).subspan(static_cast<size_t>(at(id).first),
                                                  static_cast<size_t>(at(id).count));
  }
  NodeId child(NodeId id, size_t index) const { return children(id)[index]; }
  const Rational& number(NodeId id) const { return numbers_[static_cast<size_t>(at(id).value)]; }
  const std::string& name(NodeId id) const { return names_[static_cast<size_t>(at(id).name)]; }

  NodeId root = kNoNode;
  bool signs_go_together = false;  // there is a \mp: all signs change at once

 private:
  std::vector<Node> nodes_;
  std::vector<NodeId> children_;
  std::vector<Rational> numbers_;
  std::vector<std::string> names_;
  int32_t signs_ = 0;
};

// Whether two trees are alike, node for node.
bool SameStructure(const Expression& a, NodeId a_id, const Expression& b, NodeId b_id);

}  // namespace r1::rewards::math
