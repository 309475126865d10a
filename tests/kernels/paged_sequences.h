// Sequences in a paged cache, for the tests of the attention operators.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/paged_cache.h"
#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {

// Sequences of random tokens in a paged cache whose unused places are not numbers.
class PagedSequences {
 public:
  PagedSequences(Rng& rng, const std::vector<int>& lengths, int width, int block_tokens,
                 uint64_t shuffle_seed)
      : width_(width), block_tokens_(block_tokens) {
    int blocks = 3;
    for (const int length : lengths) blocks += (length + block_tokens - 1) / block_tokens;
    std::vector<int32_t> free_blocks(blocks);
    std::iota(free_blocks.begin(), free_blocks.end(), 0);
    Rng shuffle = TestRng(shuffle_seed);
    for (int i = blocks - 1; i > 0; --i)
      std::swap(free_blocks[i], free_blocks[shuffle.NextBelow(i + 1)]);
    memory_.assign(int64_t{blocks} * block_tokens * width_,
                   std::numeric_limits<float>::quiet_NaN());
    for (const int length : lengths) {
      tokens_.push_back(RandomFloats(rng, int64_t{length} * width_));
      tables_.emplace_back();
      for (int t = 0; t < length; ++t) {
        if (t % block_tokens == 0) {
          tables_.back().push_back(free_blocks.back());
          free_blocks.pop_back();
        }
        const int64_t place = int64_t{tables_.back().back()} * block_tokens + t % block_tokens;
        std::copy_n(&tokens_.back()[int64_t{t} * width_], width_, &memory_[place * width_]);
      }
    }
  }

  PagedCache view() {
    return {memory_.data(), int64_t{block_tokens_} * width_, block_tokens_, width_};
  }
  const int32_t* table(int sequence) const { return tables_[sequence].data(); }
  const float* token(int sequence, int t) const { return &tokens_[sequence][int64_t{t} * width_]; }

 private:
  int width_;
  int block_tokens_;
  std::vector<float> memory_;
  std::vector<std::vector<float>> tokens_;
  std::vector<std::vector<int32_t>> tables_;
};

// A row of queries: it attends the first `context` tokens of a sequence.
struct Query {
  int sequence;
  int context;
};

// Lengths around fours, blocks and segments of 256.
inline const std::vector<int> kSequenceLengths = {1,  2,  3,   4,   5,   15,  16,  17, 31,
                                                  48, 65, 255, 256, 257, 272, 513, 700};

// The last token of each of them.
inline std::vector<Query> LastTokens() {
  std::vector<Query> queries;
  for (size_t s = 0; s < kSequenceLengths.size(); ++s)
    queries.push_back({static_cast<int>(s), kSequenceLengths[s]});
  return queries;
}

}  // namespace r1::kernels
