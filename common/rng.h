// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A number is a pure function
// of (run_seed, stage_index, purpose, group_id, sample_index, counter): the same sample drawn
// again, by another worker, in another batch, is the same sample.
#pragma once

#include <array>
#include <cstdint>

namespace r1 {

// What a stream of random numbers is for. Values are part of a run's bits: never renumber.
enum class RngPurpose : uint32_t {
  kTrainSample = 1,  // tokens of a training sample
  kEvalSample = 2,   // tokens of an evaluation sample
  kInit = 3,         // initial weights
  kPrompt = 4,       // prompts of a generated task
  kDocument = 5,     // pre-training documents and demonstrations
  kShuffle = 6,      // order of data and of mini-batches
  kReward = 7,       // rewards that are random by design (coin_flip)
  kBootstrap = 8,    // resamples behind an interval
  kChoices = 9,      // order of the choices of an evaluation question
  kTest = 1000,
};

// SplitMix64's finaliser: a bijection that spreads every bit.
constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// Ten rounds of Philox4x32 on one counter block.
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// A stream of random numbers. A value type; copying it copies its position. Two streams never
// overlap as long as each draws fewer than 2^32 numbers.
class Rng {
 public:
  Rng(uint64_t run_seed, uint32_t stage_index, RngPurpose purpose, uint64_t group_id,
      uint32_t sample_index)
      : group_id_(group_id), sample_index_(sample_index) {
    const uint64_t key =
        MixBits(MixBits(run_seed) ^ (uint64_t{stage_index} << 32 | static_cast<uint32_t>(purpose)));
    key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  }

  // The 128 bits at a position of the stream, without moving it.
  constexpr std::array<uint32_t, 4> BlockAt(uint32_t position) const {
    return Philox4x32({static_cast<uint32_t>(group_id_), static_cast<uint32_t>(group_id_ >> 32),
                       sample_index_, position},
                      key_);
  }

  // Uniform in [0, 1) with 53 bits, at a position of the stream; used for the token of that
  // position.
  constexpr double UniformAt(uint32_t position) const { return ToUniform(BlockAt(position)); }

  // The next number of the stream.
  uint64_t Next64() {
    const auto block = BlockAt(position_++);
    return uint64_t{block[1]} << 32 | block[0];
  }
  double NextUniform() { return ToUniform(BlockAt(position_++)); }

  // Uniform in [0, bound) without bias; bound > 0.
  uint64_t NextBelow(uint64_t bound) {
    const uint64_t reject_below = -bound % bound;  // 2^64 mod bound
    for (;;) {
      const uint64_t bits = Next64();
      if (bits >= reject_below) return bits % bound;
    }
  }

 private:
  static constexpr double ToUniform(const std::array<uint32_t, 4>& block) {
    return static_cast<double>((uint64_t{block[1]} << 32 | block[0]) >> 11) * 0x1.0p-53;
  }

  std::array<uint32_t, 2> key_;
  uint64_t group_id_;
  uint32_t sample_index_;
  uint32_t position_ = 0;
};

}  // namespace r1
