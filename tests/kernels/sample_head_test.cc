#include "kernels/sample_head.h"

#include <algorithm>
#include <limits>

#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

struct Draws {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

Draws Draw(const KernelTable& kernels, const std::vector<float>& x, const TestMatrix& head,
           const std::vector<float>& temperatures, const std::vector<double>& uniforms) {
  Draws draws;
  draws.tokens.resize(uniforms.size());
  draws.logprobs.resize(uniforms.size());
  kernels.sample_head({.x = x.data(),
                       .x_stride = head.k,
                       .head = head.view(),
                       .m = static_cast<int>(uniforms.size()),
                       .temperatures = temperatures.data(),
                       .uniforms = uniforms.data(),
                       .tokens = draws.tokens.data(),
                       .logprobs = draws.logprobs.data()});
  return draws;
}

// Exact log-probabilities of a row at a temperature.
std::vector<double> NaiveLogprobs(const float* x, const TestMatrix& head, double temperature) {
  std::vector<double> logits(head.n);
  for (int v = 0; v < head.n; ++v)
    logits[v] = Dot(x, &head.plain[int64_t{v} * head.k], head.k) / temperature;
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - maximum);
  for (double& logit : logits) logit -= maximum + std::log(sum);
  return logits;
}

constexpr int kVocabs[] = {1, 5, 32, 100, 512, 513, 1500};  // 512 is a chunk

// A logit is within k * 2^-24 * Σ|x w|, below 5e-6 here; the cumulative sum inherits it.
TEST(SampleHeadTest, TokenAndLogprobAgreeWithFloat64) {
  for (const int vocab : kVocabs) {
    Rng rng = TestRng(vocab);
    constexpr int kRows = 60;
    constexpr int kHidden = 24;
    const std::vector<float> x = RandomFloats(rng, kRows * kHidden);
    const TestMatrix head(rng, vocab, kHidden, 0.6);
    std::vector<float> temperatures(kRows);
    std::vector<double> uniforms(kRows);
    for (int m = 0; m < kRows; ++m) {
      temperatures[m] = m % 3 == 0 ? 1.0f : static_cast<float>(0.3 + rng.NextUniform());
      uniforms[m] = m == 0 ? 0.0 : m == 1 ? 1.0 - 0x1p-53 : rng.NextUniform();
    }
    for (const KernelTable* kernels : AllKernels()) {
      const Draws draws = Draw(*kernels, x, head, temperatures, uniforms);
      for (int m = 0; m < kRows; ++m) {
        const std::vector<double> logprobs = NaiveLogprobs(&x[m * kHidden], head, temperatures[m]);
        const int token = draws.tokens[m];
        ASSERT_GE(token, 0);
        ASSERT_LT(token, vocab);
        ASSERT_NEAR(draws.logprobs[m], logprobs[token], 1e-5) << IsaText(kernels->isa);
        double below = 0;
        for (int v = 0; v < token; ++v) below += std::exp(logprobs[v]);
        ASSERT_LE(below, uniforms[m] + 1e-5) << IsaText(kernels->isa) << " vocab " << vocab;
        ASSERT_GE(below + std::exp(logprobs[token]), uniforms[m] - 1e-5);
      }
    }
  }
}

TEST(SampleHeadTest, TwoStepsHaveTheBitsOfOne) {
  for (const int vocab : kVocabs) {
    Rng rng = TestRng(vocab + 1);
    constexpr int kRows = 19;
    constexpr int kHidden = 24;
    const std::vector<float> x = RandomFloats(rng, kRows * kHidden);
    const TestMatrix head(rng, vocab, kHidden, 0.6);
    std::vector<float> temperatures(kRows, 1.0f);
    std::vector<double> uniforms(kRows);
    for (int m = 0; m < kRows; ++m) {
      if (m % 4 == 0) temperatures[m] = m == 8 ? 0.0f : 0.6f;
      uniforms[m] = rng.NextUniform();
    }
    for (const KernelTable* kernels : AllKernels()) {
      const Draws expected = Draw(*kernels, x, head, temperatures, uniforms);
      Draws draws{std::vector<int32_t>(kRows), std::vector<float>(kRows)};
      const int chunk_count = VocabChunks(vocab);
      std::vector<VocabChunk> chunks(kRows * chunk_count);
      const SampleHeadArgs args = {.x = x.data(),
                                   .x_stride = kHidden,
                                   .head = head.view(),
                                   .m = kRows,
                                   .temperatures = temperatures.data(),
                                   .uniforms = uniforms.data(),
                                   .tokens = draws.tokens.data(),
                                   .logprobs = draws.logprobs.data(),
                                   .chunks = chunks.data()};
      const int middle = static_cast<int>(rng.NextBelow(chunk_count + 1));
      kernels->scan_vocab(args, middle, chunk_count);
      kernels->scan_vocab(args, 0, middle);
      kernels->draw_tokens(args);
      EXPECT_TRUE(SameBits(draws.tokens, expected.tokens)) << IsaText(kernels->isa);
      EXPECT_TRUE(SameBits(draws.logprobs, expected.logprobs)) << IsaText(kernels->isa);
    }
  }
}

TEST(SampleHeadTest, GreedyTakesTheLowestIdOfTheHighestLogit) {
  constexpr int kHidden = 8;
  for (const int vocab : kVocabs) {
    Rng rng = TestRng(1);
    const std::vector<float> x = RandomFloats(rng, 20 * kHidden);
    TestMatrix head(rng, vocab, kHidden, 1.0);
    // Every row of weights occurs twice, so that every maximum is a tie.
    for (int v = 1; v < vocab; v += 2)
      std::copy_n(&head.plain[(v - 1) * kHidden], kHidden, &head.plain[v * kHidden]);
    PackMatrix(head.plain.data(), kHidden, vocab, kHidden, head.packed.data());
    for (const KernelTable* kernels : AllKernels()) {
      const Draws draws =
          Draw(*kernels, x, head, std::vector<float>(20, 0.0f), std::vector<double>(20, 0.7));
      for (int m = 0; m < 20; ++m) {
        const std::vector<double> logprobs = NaiveLogprobs(&x[m * kHidden], head, 1.0);
        const auto best = std::max_element(logprobs.begin(), logprobs.end());
        EXPECT_EQ(draws.tokens[m], best - logprobs.begin())
            << IsaText(kernels->isa) << " vocab " << vocab;
        EXPECT_NEAR(draws.logprobs[m], *best, 1e-5);
      }
    }
  }
}

// Pearson's statistic over 32 tokens with 31 degrees of freedom: above 61.1 with probability 1e-3
// when the distribution is right. The numbers are fixed, so the test is not flaky.
TEST(SampleHeadTest, FrequenciesPassAChiSquareTest) {
  constexpr int kVocab = 32;
  constexpr int kHidden = 16;
  constexpr int kDraws = 200'000;
  Rng rng = TestRng(2);
  const std::vector<float> row = RandomFloats(rng, kHidden);
  const TestMatrix head(rng, kVocab, kHidden, 0.25);
  for (const float temperature : {1.0f, 0.7f}) {
    std::vector<double> probabilities = NaiveLogprobs(row.data(), head, temperature);
    for (double& p : probabilities) p = std::exp(p);
    for (const KernelTable* kernels : AllKernels()) {
      std::vector<int> counts(kVocab);
      std::vector<float> x;
      for (int i = 0; i < 100; ++i) x.insert(x.end(), row.begin(), row.end());
      for (int done = 0; done < kDraws; done += 100) {
        std::vector<double> uniforms(100);
        for (double& uniform : uniforms) uniform = rng.NextUniform();
        for (const int32_t token :
             Draw(*kernels, x, head, std::vector<float>(100, temperature), uniforms).tokens) {
          ++counts[token];
        }
      }
      double chi_square = 0;
      for (int v = 0; v < kVocab; ++v) {
        const double expected = kDraws * probabilities[v];
        chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
      }
      EXPECT_LT(chi_square, 61.1) << IsaText(kernels->isa);
      RecordProperty("chi_square", std::to_string(chi_square));
    }
  }
}

TEST(SampleHeadTest, BitsDependNeitherOnTheBatchNorOnTheInstructionSet) {
  constexpr int kHidden = 24;
  constexpr int kRows = 100;
  const std::vector<const KernelTable*> fast = FastKernels();
  for (const int vocab : {32, 1100}) {
    Rng rng = TestRng(3);
    const std::vector<float> x = RandomFloats(rng, kRows * kHidden);
    const TestMatrix head(rng, vocab, kHidden, 0.5);
    std::vector<double> uniforms(kRows);
    for (double& uniform : uniforms) uniform = rng.NextUniform();
    std::vector<float> temperatures(kRows, 1.0f);
    temperatures[7] = 0.0f;
    for (const KernelTable* kernels : fast) {
      const Draws whole = Draw(*kernels, x, head, temperatures, uniforms);
      const Draws other = Draw(*fast[0], x, head, temperatures, uniforms);
      EXPECT_EQ(whole.tokens, other.tokens);
      EXPECT_TRUE(SameBits(whole.logprobs, other.logprobs));
      for (int m = 0; m < kRows; ++m) {
        const std::vector<float> row(x.begin() + m * kHidden, x.begin() + (m + 1) * kHidden);
        const Draws alone = Draw(*kernels, row, head, {temperatures[m]}, {uniforms[m]});
        EXPECT_EQ(alone.tokens[0], whole.tokens[m]);
        EXPECT_EQ(0, std::memcmp(alone.logprobs.data(), &whole.logprobs[m], sizeof(float)));
      }
    }
  }
}

TEST(SampleHeadTest, NonFiniteLogitsGiveATokenInRangeAndALogprobThatIsNoNumber) {
  constexpr int kHidden = 4;
  for (const int vocab : {32, 1100}) {
    Rng rng = TestRng(4);
    const TestMatrix head(rng, vocab, kHidden, 0.5);
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const std::vector<float> x = {poison, 1, 1, 1};
      for (const KernelTable* kernels : AllKernels()) {
        for (const float temperature : {0.0f, 1.0f}) {
          const Draws draws = Draw(*kernels, x, head, {temperature}, {0.5});
          EXPECT_TRUE(std::isnan(draws.logprobs[0])) << IsaText(kernels->isa);
          EXPECT_GE(draws.tokens[0], 0);
          EXPECT_LT(draws.tokens[0], vocab);
        }
      }
    }
  }
}

}  // namespace
}  // namespace r1::kernels
