#include "rewards/math/syntax.h"

#include <algorithm>

namespace r1::rewards::math {

NodeId Expression::Add(Node node, absl::Span<const NodeId> children) {
  if (nodes_.size() >= kNodesMax) return kNoNode;
  node.has_symbols = node.kind == Kind::kSymbol;
  int signs = node.kind == Kind::kPlusMinus ? 1 : 0;
  for (const NodeId child : children) {
    if (child == kNoNode) return kNoNode;
    node.height = std::max<uint16_t>(node.height, static_cast<uint16_t>(at(child).height + 1));
    node.has_symbols = node.has_symbols || at(child).has_symbols;
    signs += at(child).signs;
  }
  if (node.height > kDepthMax) return kNoNode;
  node.signs = static_cast<uint8_t>(std::min(signs, 255));
  node.first = static_cast<int32_t>(children_.size());
  node.count = static_cast<int32_t>(children.size());
  children_.insert(children_.end(), children.begin(), children.end());
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Expression::AddNumber(Rational value) {
  numbers_.push_back(std::move(value));
  return Add({.kind = Kind::kNumber, .value = static_cast<int32_t>(numbers_.size() - 1)});
}

NodeId Expression::AddNamed(Kind kind, absl::string_view name, absl::Span<const NodeId> children) {
  names_.emplace_back(name);
  return Add({.kind = kind, .name = static_cast<int32_t>(names_.size() - 1)}, children);
}

NodeId Expression::AddFunction(Function function, absl::Span<const NodeId> children) {
  return Add({.kind = Kind::kFunction, .detail = static_cast<uint8_t>(function)}, children);
}

NodeId Expression::AddPlusMinus(NodeId child, bool is_negative_sign) {
  signs_go_together = signs_go_together || is_negative_sign;
  return Add({.kind = Kind::kPlusMinus, .is_negative_sign = is_negative_sign, .value = signs_++},
             {child});
}

bool SameStructure(const Expression& a, NodeId a_id, const Expression& b, NodeId b_id) {
  const Node& x = a.at(a_id);
  const Node& y = b.at(b_id);
  if (x.kind != y.kind || x.detail != y.detail || x.count != y.count) return false;
  if (x.opens_wide != y.opens_wide || x.closes_wide != y.closes_wide) return false;
  if (x.is_negative_sign != y.is_negative_sign || x.columns != y.columns) return false;
  if (x.kind == Kind::kNumber && !(a.number(a_id) == b.number(b_id))) return false;
  if (x.name >= 0 && a.name(a_id) != b.name(b_id)) return false;
  for (size_t i = 0; i < static_cast<size_t>(x.count); ++i) {
    if (!SameStructure(a, a.child(a_id, i), b, b.child(b_id, i))) return false;
  }
  return true;
}

}  // namespace r1::rewards::math
