#include "common/added_tokens.h"

#include "common/status.h"

namespace r1 {

bool AddedTokens::Add(absl::string_view text, int32_t id) {
  R1_CHECK(!text.empty());
  can_begin_[static_cast<unsigned char>(text[0])] = true;
  int32_t node = 0;
  for (const char byte : text) {
    const auto [edge, is_new] =
        children_.emplace(Edge(node, byte), static_cast<int32_t>(ids_.size()));
    if (is_new) ids_.push_back(-1);
    node = edge->second;
  }
  if (ids_[static_cast<size_t>(node)] >= 0) return false;
  ids_[static_cast<size_t>(node)] = id;
  return true;
}

AddedTokens::Part AddedTokens::FirstToken(absl::string_view text) const {
  Part longest;
  int32_t node = 0;
  for (size_t length = 1; length <= text.size(); ++length) {
    const auto edge = children_.find(Edge(node, text[length - 1]));
    if (edge == children_.end()) break;
    node = edge->second;
    const int32_t id = ids_[static_cast<size_t>(node)];
    if (id >= 0) longest = {text.substr(0, length), id};
  }
  return longest;
}

std::vector<AddedTokens::Part> AddedTokens::Cut(absl::string_view text) const {
  std::vector<Part> parts;
  size_t begin = 0;  // of the text since the last token
  for (size_t at = 0; at < text.size();) {
    const bool can_begin = can_begin_[static_cast<unsigned char>(text[at])];
    const Part token = can_begin ? FirstToken(text.substr(at)) : Part();
    if (token.id < 0) {
      ++at;
      continue;
    }
    if (at > begin) parts.push_back({text.substr(begin, at - begin), -1});
    parts.push_back(token);
    at += token.text.size();
    begin = at;
  }
  if (begin < text.size()) parts.push_back({text.substr(begin), -1});
  return parts;
}

}  // namespace r1
