#include "kernels/mla_decode.h"

#include <numeric>

#include "tests/kernels/paged_sequences.h"

namespace r1::kernels {
namespace {

std::vector<float> Attend(const KernelTable& kernels, PagedSequences& cache,
                          const std::vector<Query>& queries, const std::vector<float>& q, int heads,
                          int latent) {
  std::vector<const int32_t*> tables;
  std::vector<int32_t> contexts;
  for (const Query& query : queries) {
    tables.push_back(cache.table(query.sequence));
    contexts.push_back(query.context);
  }
  std::vector<float> out(queries.size() * heads * latent);
  kernels.mla_decode({.q = q.data(),
                      .q_stride = heads * cache.view().width,
                      .cache = cache.view(),
                      .block_tables = tables.data(),
                      .contexts = contexts.data(),
                      .row_count = static_cast<int>(queries.size()),
                      .heads = heads,
                      .latent = latent,
                      .scale = 0.17f,
                      .out = out.data(),
                      .out_stride = heads * latent});
  return out;
}

struct Case {
  int heads, latent, rotary;
};
constexpr Case kCases[] = {{4, 32, 16}, {1, 5, 2},   {3, 20, 8},
                           {6, 8, 64},  {8, 64, 32}, {5, 112, 24}};
// Scores carry width * 2^-24 * Σ|q k|, some 1e-5 here, into the exponent; outputs are averages of
// values near 1.
TEST(MlaDecodeTest, AgreesWithFloat64) {
  for (const Case c : kCases) {
    Rng rng = TestRng(1);
    PagedSequences cache(rng, kSequenceLengths, c.latent + c.rotary, 32, 7);
    const int width = c.latent + c.rotary;
    const std::vector<Query> queries = LastTokens();
    const std::vector<float> q = RandomFloats(rng, queries.size() * c.heads * width);
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> out = Attend(*kernels, cache, queries, q, c.heads, c.latent);
      for (size_t i = 0; i < queries.size() * c.heads; ++i) {
        const Query query = queries[i / c.heads];
        std::vector<double> weights(query.context);
        for (int t = 0; t < query.context; ++t) {
          weights[t] = std::exp(0.17f * Dot(&q[i * width], cache.token(query.sequence, t), width));
        }
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (int l = 0; l < c.latent; ++l) {
          double expected = 0;
          for (int t = 0; t < query.context; ++t) {
            expected += weights[t] / sum * cache.token(query.sequence, t)[l];
          }
          ASSERT_NEAR(out[i * c.latent + l], expected, 1e-5)
              << IsaText(kernels->isa) << " context " << query.context;
        }
      }
    }
  }
}

TEST(MlaDecodeTest, BitsDependNeitherOnBatchNorBlocksNorInstructionSet) {
  const std::vector<const KernelTable*> fast = FastKernels();
  if (fast.empty()) GTEST_SKIP() << "no fast instruction set on this machine";
  for (const Case c : kCases) {
    std::vector<float> first;
    for (const int block_tokens : {1, 7, 16, 48, 256}) {
      Rng rng = TestRng(2);
      PagedSequences cache(rng, kSequenceLengths, c.latent + c.rotary, block_tokens, block_tokens);
      const int width = c.heads * (c.latent + c.rotary);
      const std::vector<Query> queries = LastTokens();
      const std::vector<float> q = RandomFloats(rng, queries.size() * width);
      for (const KernelTable* kernels : fast) {
        const std::vector<float> out = Attend(*kernels, cache, queries, q, c.heads, c.latent);
        if (first.empty()) first = out;
        EXPECT_TRUE(SameBits(out, first)) << IsaText(kernels->isa) << " block " << block_tokens;
        for (size_t i = 0; i < queries.size(); ++i) {
          const std::vector<float> row(q.begin() + i * width, q.begin() + (i + 1) * width);
          const std::vector<float> alone =
              Attend(*kernels, cache, {queries[i]}, row, c.heads, c.latent);
          EXPECT_EQ(0, std::memcmp(alone.data(), &first[i * c.heads * c.latent],
                                   alone.size() * sizeof(float)));
        }
      }
    }
  }
}

TEST(MlaDecodeTest, LaterTokensOfTheSequenceDoNotMatter) {
  Rng rng = TestRng(3);
  const std::vector<float> q = RandomFloats(rng, 4 * 48);
  for (const KernelTable* kernels : AllKernels()) {
    for (const int context : {1, 16, 40, 256, 300}) {
      Rng same = TestRng(4);
      PagedSequences cache(same, {context}, 48, 16, 1);
      Rng again = TestRng(4);
      PagedSequences longer(again, {context + 90}, 48, 16, 2);
      const std::vector<Query> query = {{0, context}};
      EXPECT_TRUE(SameBits(Attend(*kernels, cache, query, q, 4, 32),
                           Attend(*kernels, longer, query, q, 4, 32)))
          << IsaText(kernels->isa) << " context " << context;
    }
  }
}

}  // namespace
}  // namespace r1::kernels
