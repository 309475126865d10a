// A pseudo-random permutation of 0..size-1 that is evaluated one index at a time: no table, no
// state, so that "row i of epoch e" is a pure function of the seeds.
#pragma once

#include <cstdint>

#include "common/rng.h"
#include "common/status.h"

namespace r1 {

// Where `index` goes in permutation `epoch` of (run_seed, stage_index); size <= 2^62.
//
// A Feistel network with Philox as its round function permutes 0..4^k-1 for the least k >= 2 that
// covers the size; an image outside of 0..size-1 is mapped again until it falls inside (cycle
// walking; fewer than four times on average for a size above 4), which leaves a permutation of
// 0..size-1.
inline uint64_t PermutedIndex(uint64_t index, uint64_t size, uint64_t run_seed,
                              uint32_t stage_index, uint64_t epoch) {
  constexpr uint32_t kRounds = 8;
  R1_CHECK(index < size);
  R1_CHECK(size <= uint64_t{1} << 62);
  int half_bits = 2;
  while (uint64_t{1} << (2 * half_bits) < size) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits;
    uint64_t right = index & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      const Rng stream(run_seed, stage_index, RngPurpose::kShuffle, epoch, round);
      const uint64_t mixed = left ^ (stream.BlockAt(static_cast<uint32_t>(right))[0] & mask);
      left = right;
      right = mixed;
    }
    index = left << half_bits | right;
  } while (index >= size);
  return index;
}

}  // namespace r1
