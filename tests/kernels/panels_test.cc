// Products with bf16 panels have the bits of products with fp32 panels of the rounded weights.

#include <cmath>
#include <limits>

#include "kernels/aligned_buffer.h"
#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

// The same panels twice: bf16, and their values as fp32, in the order of fp32 panels.
struct Twins {
  explicit Twins(const std::vector<float>& panels)
      : bf16(static_cast<int64_t>(panels.size())), fp32(bf16.size()) {
    RoundPanels(panels.data(), bf16.size(), bf16.data());
    const Panels view(bf16.data());
    for (int64_t i = 0; i < bf16.size(); ++i) {
      fp32[i] = view.At(i / kPanelColumns, i % kPanelColumns);
    }
  }
  AlignedBuffer<Bf16> bf16;
  AlignedBuffer<float> fp32;
};

TEST(PanelsTest, RoundsToTheNearestEven) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> given = {1.0f, 1.00390625f, 1.01171875f, -1.00390625f, 1.004f,  0.0f,
                              inf,  -inf,        3.4e38f,     1e-40f,       65280.0f};
  const std::vector<float> expected = {1.0f, 1.0f, 1.015625f, -1.0f,        1.0078125f, 0.0f,
                                       inf,  -inf, inf,       9.18355e-41f, 65280.0f};
  given.resize(2 * kPanelColumns, NAN);
  const Twins twins(given);
  for (size_t i = 0; i < given.size(); ++i) {
    const float rounded = twins.fp32[static_cast<int64_t>(i)];
    EXPECT_TRUE(i < expected.size() ? rounded == expected[i] : std::isnan(rounded)) << given[i];
  }
}

TEST(PanelsTest, MatmulHasTheBitsOfTheRoundedWeights) {
  Rng rng = TestRng(21);
  for (const int m : {1, 2, 7, 8, 13, 24}) {
    for (const int n : {1, 16, 31, 48, 100}) {
      const int k = 2 + 2 * static_cast<int>(rng.NextBelow(35));
      const std::vector<float> x = RandomFloats(rng, m * k);
      const std::vector<float> bias = RandomFloats(rng, n);
      const std::vector<float> w = RandomFloats(rng, n * k);
      std::vector<float> panels(PackedFloats(n, k));
      PackMatrix(w.data(), k, n, k, panels.data());
      const Twins twins(panels);
      for (const KernelTable* kernels : AllKernels()) {
        const auto multiply = [&](Panels weights) {
          std::vector<float> y(m * n);
          kernels->matmul({.x = x.data(),
                           .x_stride = k,
                           .w = {weights, n, k},
                           .bias = bias.data(),
                           .y = y.data(),
                           .y_stride = n,
                           .m = m});
          return y;
        };
        EXPECT_TRUE(SameBits(multiply(twins.bf16.data()), multiply(twins.fp32.data())))
            << IsaText(kernels->isa) << " m " << m << " n " << n << " k " << k;
      }
    }
  }
}

TEST(PanelsTest, ExpertsHaveTheBitsOfTheRoundedWeights) {
  constexpr int kTokens = 9, kExperts = 3, kHidden = 40, kWidth = 26;
  Rng rng = TestRng(22);
  const std::vector<float> x = RandomFloats(rng, kTokens * kHidden);
  std::vector<int32_t> experts(kTokens);
  for (int32_t& expert : experts) expert = static_cast<int32_t>(rng.NextBelow(kExperts));
  ExpertLists lists;
  BuildExpertLists(experts.data(), kTokens, 1, kExperts, &lists);
  std::vector<Twins> gate_up, down;
  for (int e = 0; e < kExperts; ++e) {
    const std::vector<float> gate = RandomFloats(rng, kWidth * kHidden);
    const std::vector<float> up = RandomFloats(rng, kWidth * kHidden);
    std::vector<float> panels(PackedGateUpFloats(kWidth, kHidden));
    PackGateUp(gate.data(), up.data(), kWidth, kHidden, panels.data());
    gate_up.emplace_back(panels);
    const std::vector<float> plain = RandomFloats(rng, kHidden * kWidth);
    panels.resize(PackedFloats(kHidden, kWidth));
    PackMatrix(plain.data(), kWidth, kHidden, kWidth, panels.data());
    down.emplace_back(panels);
  }
  for (const KernelTable* kernels : AllKernels()) {
    const auto compute = [&](bool is_bf16) {
      std::vector<PackedGateUp> first;
      std::vector<PackedMatrix> second;
      for (int e = 0; e < kExperts; ++e) {
        first.push_back(
            {is_bf16 ? Panels(gate_up[e].bf16.data()) : gate_up[e].fp32.data(), kWidth, kHidden});
        second.push_back(
            {is_bf16 ? Panels(down[e].bf16.data()) : down[e].fp32.data(), kHidden, kWidth});
      }
      std::vector<float> hidden(kMoeRowBlock * kWidth);
      std::vector<float> results(kTokens * kHidden);
      kernels->moe_experts({.x = x.data(),
                            .x_stride = kHidden,
                            .offsets = lists.offsets.data(),
                            .tokens = lists.tokens.data(),
                            .expert_count = kExperts,
                            .place_begin = 0,
                            .place_end = kTokens,
                            .gate_up = first.data(),
                            .down = second.data(),
                            .hidden = hidden.data(),
                            .results = results.data()});
      return results;
    };
    EXPECT_TRUE(SameBits(compute(true), compute(false))) << IsaText(kernels->isa);
  }
}

// A vocabulary of several chunks: the drawn one's logits are computed twice.
TEST(PanelsTest, SampledTokensAreThoseOfTheRoundedWeights) {
  constexpr int kRows = 10, kVocab = 2 * kVocabChunk + 77, kHidden = 24;
  Rng rng = TestRng(23);
  const std::vector<float> x = RandomFloats(rng, kRows * kHidden);
  const std::vector<float> w = RandomFloats(rng, kVocab * kHidden, 0.3);
  std::vector<float> panels(PackedFloats(kVocab, kHidden));
  PackMatrix(w.data(), kHidden, kVocab, kHidden, panels.data());
  const Twins twins(panels);
  std::vector<float> temperatures(kRows, 0.7f);
  temperatures[3] = 0;
  std::vector<double> uniforms(kRows);
  for (double& uniform : uniforms) uniform = rng.NextUniform();
  for (const KernelTable* kernels : AllKernels()) {
    const auto sample = [&](Panels weights) {
      std::vector<int32_t> tokens(kRows);
      std::vector<float> logprobs(kRows);
      kernels->sample_head({.x = x.data(),
                            .x_stride = kHidden,
                            .head = {weights, kVocab, kHidden},
                            .m = kRows,
                            .temperatures = temperatures.data(),
                            .uniforms = uniforms.data(),
                            .tokens = tokens.data(),
                            .logprobs = logprobs.data()});
      logprobs.insert(logprobs.end(), tokens.begin(), tokens.end());
      return logprobs;
    };
    EXPECT_TRUE(SameBits(sample(twins.bf16.data()), sample(twins.fp32.data())))
        << IsaText(kernels->isa);
  }
}

}  // namespace
}  // namespace r1::kernels
