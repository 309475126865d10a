#include "kernels/mla_decode.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

// Sequences of random latents in a paged cache whose unused places are not numbers.
class PagedCache {
 public:
  PagedCache(Rng& rng, const std::vector<int>& lengths, int latent, int rotary, int block_tokens,
             uint64_t shuffle_seed)
      : width_(latent + rotary), block_tokens_(block_tokens) {
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

  LatentCache view() {
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

struct Query {
  int sequence;
  int context;
};

std::vector<float> Attend(const KernelTable& kernels, PagedCache& cache,
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
// Around fours, blocks and segments of 256.
const std::vector<int> kLengths = {1,  2,  3,   4,   5,   15,  16,  17, 31,
                                   48, 65, 255, 256, 257, 272, 513, 700};

std::vector<Query> LastTokens() {
  std::vector<Query> queries;
  for (size_t s = 0; s < kLengths.size(); ++s)
    queries.push_back({static_cast<int>(s), kLengths[s]});
  return queries;
}

// Scores carry width * 2^-24 * Σ|q k|, some 1e-5 here, into the exponent; outputs are averages of
// values near 1.
TEST(MlaDecodeTest, AgreesWithFloat64) {
  for (const Case c : kCases) {
    Rng rng = TestRng(1);
    PagedCache cache(rng, kLengths, c.latent, c.rotary, 32, 7);
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
      PagedCache cache(rng, kLengths, c.latent, c.rotary, block_tokens, block_tokens);
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
      PagedCache cache(same, {context}, 32, 16, 16, 1);
      Rng again = TestRng(4);
      PagedCache longer(again, {context + 90}, 32, 16, 16, 2);
      const std::vector<Query> query = {{0, context}};
      EXPECT_TRUE(SameBits(Attend(*kernels, cache, query, q, 4, 32),
                           Attend(*kernels, longer, query, q, 4, 32)))
          << IsaText(kernels->isa) << " context " << context;
    }
  }
}

}  // namespace
}  // namespace r1::kernels
