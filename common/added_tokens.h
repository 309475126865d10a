// Finds the added tokens of a tokenizer ("<think>", "<|im_start|>") in a text: the leftmost one,
// and of those that begin there the longest.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace r1 {

// Immutable once filled; thread-safe then.
class AddedTokens {
 public:
  // False when the text is there already. `text` is not empty.
  [[nodiscard]] bool Add(absl::string_view text, int32_t id);

  struct Part {
    absl::string_view text;  // of the text that was cut; never empty
    int32_t id = -1;         // of the added token that it is, or -1
  };
  // The parts of the text, in order. Time: its length times that of the longest token.
  std::vector<Part> Cut(absl::string_view text) const;

  bool empty() const { return ids_.size() == 1; }

 private:
  static uint64_t Edge(int32_t node, char byte) {
    return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }
  // The longest token that the text begins with; id -1 when there is none.
  Part FirstToken(absl::string_view text) const;

  // A trie. Node 0 is the root.
  absl::flat_hash_map<uint64_t, int32_t> children_;
  std::vector<int32_t> ids_ = {-1};       // by node: of the token that ends there, or -1
  std::array<bool, 256> can_begin_ = {};  // by byte
};

}  // namespace r1
