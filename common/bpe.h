// Byte-pair encoding of one piece of text: its bytes become tokens, then neighbours merge, the pair
// of lowest rank first and of equal rank the leftmost, until no pair has a rank.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace r1 {

struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t merged;
};

// Immutable; thread-safe.
class Bpe {
 public:
  // `tokens`: the bytes of each token of the model, by id; empty for ids that are not the model's.
  // `merges` in order of rank, each pair once. `ignore_merges`: a piece that is a token becomes it,
  // whether merges lead there or not.
  Bpe(std::vector<std::string> tokens, const std::vector<BpeMerge>& merges, bool ignore_merges);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  // Memory of one call after another; of one thread.
  class Scratch {
   private:
    friend class Bpe;
    struct Symbol {
      int32_t id;  // -1: merged into an earlier one
      int32_t previous;
      int32_t next;  // position, or -1
    };
    struct Candidate {
      int32_t rank;
      int32_t position;  // of the left one
      int32_t left;
      int32_t right;
      int32_t merged;
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Appends the ids of a piece below 2^31 bytes and returns its length; or appends nothing and
  // returns the position of its first byte that has no token. Time n log n.
  size_t Encode(absl::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t merged;
  };
  static uint64_t Pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }
  size_t EncodeByMerging(absl::string_view piece, Scratch& scratch,
                         std::vector<int32_t>& ids) const;
  // Adds the pair that begins at this position to the heap, if it has a rank.
  void PushCandidate(int32_t position, Scratch& scratch) const;

  const std::vector<std::string> tokens_;
  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Merge> merges_;
  // Pieces that become a single token, which in running text most do. Found once, here, so that
  // no cache is written to while threads encode.
  absl::flat_hash_map<absl::string_view, int32_t> whole_pieces_;
};

}  // namespace r1
