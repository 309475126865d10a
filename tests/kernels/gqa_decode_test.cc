#include "kernels/gqa_decode.h"

#include <numeric>

#include "tests/kernels/paged_sequences.h"

namespace r1::kernels {
namespace {

struct Case {
  int heads, kv_heads, head_dim;
};
// Groups of 1 to 9 query heads; head widths around vectors and register tiles.
constexpr Case kCases[] = {{1, 1, 16}, {4, 4, 8},    {6, 2, 32},  {7, 1, 20},
                           {8, 2, 64}, {14, 2, 128}, {10, 2, 80}, {9, 1, 24}};

int CacheWidth(const Case& c) { return c.kv_heads * 2 * c.head_dim; }

std::vector<float> Attend(const KernelTable& kernels, PagedSequences& cache,
                          const std::vector<Query>& queries, const std::vector<float>& q,
                          const Case& c) {
  std::vector<const int32_t*> tables;
  std::vector<int32_t> contexts;
  for (const Query& query : queries) {
    tables.push_back(cache.table(query.sequence));
    contexts.push_back(query.context);
  }
  std::vector<float> out(queries.size() * c.heads * c.head_dim);
  kernels.gqa_decode({.q = q.data(),
                      .q_stride = c.heads * c.head_dim,
                      .cache = cache.view(),
                      .block_tables = tables.data(),
                      .contexts = contexts.data(),
                      .row_count = static_cast<int>(queries.size()),
                      .heads = c.heads,
                      .kv_heads = c.kv_heads,
                      .head_dim = c.head_dim,
                      .scale = 0.17f,
                      .out = out.data(),
                      .out_stride = c.heads * c.head_dim});
  return out;
}

// The tolerance is that of mla_decode_test.cc, for the same reason.
TEST(GqaDecodeTest, AgreesWithFloat64) {
  for (const Case& c : kCases) {
    Rng rng = TestRng(1);
    PagedSequences cache(rng, kSequenceLengths, CacheWidth(c), 32, 7);
    const std::vector<Query> queries = LastTokens();
    const std::vector<float> q = RandomFloats(rng, queries.size() * c.heads * c.head_dim);
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> out = Attend(*kernels, cache, queries, q, c);
      for (size_t i = 0; i < queries.size() * c.heads; ++i) {
        const Query query = queries[i / c.heads];
        const int kv_head = static_cast<int>(i % c.heads) * c.kv_heads / c.heads;
        const auto key = [&](int t) {
          return cache.token(query.sequence, t) + kv_head * 2 * c.head_dim;
        };
        std::vector<double> weights(query.context);
        for (int t = 0; t < query.context; ++t) {
          weights[t] = std::exp(0.17f * Dot(&q[i * c.head_dim], key(t), c.head_dim));
        }
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (int k = 0; k < c.head_dim; ++k) {
          double expected = 0;
          for (int t = 0; t < query.context; ++t) {
            expected += weights[t] / sum * key(t)[c.head_dim + k];
          }
          ASSERT_NEAR(out[i * c.head_dim + k], expected, 1e-5)
              << IsaText(kernels->isa) << " context " << query.context;
        }
      }
    }
  }
}

TEST(GqaDecodeTest, BitsDependNeitherOnBatchNorBlocksNorInstructionSet) {
  const std::vector<const KernelTable*> fast = FastKernels();
  if (fast.empty()) GTEST_SKIP() << "no fast instruction set on this machine";
  for (const Case& c : kCases) {
    std::vector<float> first;
    for (const int block_tokens : {1, 7, 16, 256}) {
      Rng rng = TestRng(2);
      PagedSequences cache(rng, kSequenceLengths, CacheWidth(c), block_tokens, block_tokens);
      const int width = c.heads * c.head_dim;
      const std::vector<Query> queries = LastTokens();
      const std::vector<float> q = RandomFloats(rng, queries.size() * width);
      for (const KernelTable* kernels : fast) {
        const std::vector<float> out = Attend(*kernels, cache, queries, q, c);
        if (first.empty()) first = out;
        EXPECT_TRUE(SameBits(out, first)) << IsaText(kernels->isa) << " block " << block_tokens;
        for (size_t i = 0; i < queries.size(); ++i) {
          const std::vector<float> row(q.begin() + i * width, q.begin() + (i + 1) * width);
          const std::vector<float> alone = Attend(*kernels, cache, {queries[i]}, row, c);
          EXPECT_EQ(0, std::memcmp(alone.data(), &first[i * width], alone.size() * sizeof(float)));
        }
      }
    }
  }
}

TEST(GqaDecodeTest, LaterTokensOfTheSequenceDoNotMatter) {
  constexpr Case kCase = {6, 2, 32};
  Rng rng = TestRng(3);
  const std::vector<float> q = RandomFloats(rng, kCase.heads * kCase.head_dim);
  for (const KernelTable* kernels : AllKernels()) {
    for (const int context : {1, 16, 40, 256, 300}) {
      Rng same = TestRng(4);
      PagedSequences cache(same, {context}, CacheWidth(kCase), 16, 1);
      Rng again = TestRng(4);
      PagedSequences longer(again, {context + 90}, CacheWidth(kCase), 16, 2);
      const std::vector<Query> query = {{0, context}};
      EXPECT_TRUE(SameBits(Attend(*kernels, cache, query, q, kCase),
                           Attend(*kernels, longer, query, q, kCase)))
          << IsaText(kernels->isa) << " context " << context;
    }
  }
}

}  // namespace
}  // namespace r1::kernels
