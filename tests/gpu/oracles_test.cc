// The oracles of the GPU tests against the plain CPU operators: one truth for CPU and GPU.
#include "tests/gpu/oracles.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

constexpr int kHidden = 32;

// Packs a matrix and keeps its memory.
struct Packed {
  std::vector<float> plain;
  std::vector<float> panels;
  PackedMatrix view;

  Packed(Rng& rng, int n, int k) : plain(RandomFloats(rng, int64_t{n} * k, 0.3)) {
    panels.resize(PackedFloats(n, k));
    PackMatrix(plain.data(), k, n, k, panels.data());
    view = {.panels = panels.data(), .n = n, .k = k};
  }
};

double DotProduct(const float* a, const float* b, int size) {
  double sum = 0;
  for (int i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

TEST(OraclesTest, RelativeErrorSeesNumbersAndWhatIsNone) {
  EXPECT_EQ(RelativeError({3, 4}, {3, 4}), 0);
  EXPECT_DOUBLE_EQ(RelativeError({3, 5}, {3, 4}), 0.2);
  EXPECT_TRUE(std::isinf(RelativeError({3, NAN}, {3, 4})));
}

TEST(OraclesTest, RouterAgreesWithTheReference) {
  constexpr int kTokens = 50;
  constexpr int kExperts = 16;
  constexpr int kActive = 3;
  Rng rng = TestRng(1);
  const std::vector<float> x = RandomFloats(rng, kTokens * kHidden);
  const Packed router(rng, kExperts, kHidden);
  const std::vector<float> bias = RandomFloats(rng, kExperts, 0.5);
  std::vector<int32_t> experts(kTokens * kActive);
  std::vector<float> weights(kTokens * kActive);
  MoeRouterArgs args;
  args.x = x.data();
  args.x_stride = kHidden;
  args.router = router.view;
  args.bias = bias.data();
  args.token_count = kTokens;
  args.active = kActive;
  args.groups = 4;
  args.groups_kept = 2;
  args.scaling = 2.5f;
  args.experts = experts.data();
  args.weights = weights.data();
  MoeRouterReference(args);
  for (int t = 0; t < kTokens; ++t) {
    std::vector<double> logits;
    for (int e = 0; e < kExperts; ++e) {
      logits.push_back(DotProduct(&x[t * kHidden], &router.plain[e * kHidden], kHidden));
    }
    const RouterChoice choice = RouterOracle(
        logits, bias, {.active = kActive, .groups = 4, .groups_kept = 2, .scaling = 2.5});
    ASSERT_GT(choice.margin, 1e-5) << "an unlucky draw: choose another seed";
    for (int a = 0; a < kActive; ++a) {
      EXPECT_EQ(experts[t * kActive + a], choice.experts[a]) << "token " << t;
      EXPECT_NEAR(weights[t * kActive + a], choice.weights[a], 1e-5) << "token " << t;
    }
  }
}

TEST(OraclesTest, SoftmaxRouterWeighsByProbability) {
  const RouterChoice choice = RouterOracle({0, std::log(3.0), std::log(4.0)}, {},
                                           {.active = 2, .softmax = true, .normalize = false});
  EXPECT_THAT(choice.experts, testing::ElementsAre(1, 2));
  EXPECT_NEAR(choice.weights[0], 3.0 / 8, 1e-12);
  EXPECT_NEAR(choice.weights[1], 4.0 / 8, 1e-12);
  EXPECT_NEAR(choice.margin, 2.0 / 8, 1e-12);
}

TEST(OraclesTest, ExpertsAgreeWithTheReference) {
  constexpr int kTokens = 9;
  constexpr int kWidth = 24;
  constexpr int kExperts = 4;
  constexpr int kActive = 2;
  Rng rng = TestRng(2);
  const std::vector<float> x = RandomFloats(rng, kTokens * kHidden);
  std::vector<float> gate, up, down;
  std::vector<std::vector<float>> panels;
  std::vector<PackedGateUp> gate_up_views;
  std::vector<PackedMatrix> down_views;
  for (int e = 0; e < kExperts; ++e) {
    const std::vector<float> own_gate = RandomFloats(rng, kWidth * kHidden, 0.3);
    const std::vector<float> own_up = RandomFloats(rng, kWidth * kHidden, 0.3);
    const std::vector<float> own_down = RandomFloats(rng, kHidden * kWidth, 0.3);
    gate.insert(gate.end(), own_gate.begin(), own_gate.end());
    up.insert(up.end(), own_up.begin(), own_up.end());
    down.insert(down.end(), own_down.begin(), own_down.end());
    panels.emplace_back(PackedGateUpFloats(kWidth, kHidden));
    PackGateUp(own_gate.data(), own_up.data(), kWidth, kHidden, panels.back().data());
    panels.emplace_back(PackedFloats(kHidden, kWidth));
    PackMatrix(own_down.data(), kWidth, kHidden, kWidth, panels.back().data());
  }
  for (int e = 0; e < kExperts; ++e) {
    gate_up_views.push_back({.panels = panels[2 * e].data(), .intermediate = kWidth, .k = kHidden});
    down_views.push_back({.panels = panels[2 * e + 1].data(), .n = kHidden, .k = kWidth});
  }
  std::vector<int32_t> experts;
  for (int t = 0; t < kTokens; ++t) {
    experts.push_back(t % 3);
    experts.push_back(3);
  }
  const std::vector<float> weights = RandomFloats(rng, kTokens * kActive);
  ExpertLists lists;
  BuildExpertLists(experts.data(), kTokens, kActive, kExperts, &lists);
  std::vector<float> results(kTokens * kActive * kHidden);
  std::vector<float> hidden(kMoeRowBlock * kWidth);
  std::vector<float> y(kTokens * kHidden);
  MoeExpertsArgs args;
  args.x = x.data();
  args.x_stride = kHidden;
  args.offsets = lists.offsets.data();
  args.tokens = lists.tokens.data();
  args.expert_count = kExperts;
  args.place_end = kTokens * kActive;
  args.gate_up = gate_up_views.data();
  args.down = down_views.data();
  args.hidden = hidden.data();
  args.results = results.data();
  MoeExpertsReference(args);
  MoeCombineReference({.results = results.data(),
                       .places = lists.places.data(),
                       .weights = weights.data(),
                       .token_count = kTokens,
                       .active = kActive,
                       .columns = kHidden,
                       .y = y.data(),
                       .y_stride = kHidden});
  const std::vector<double> oracle = ExpertsOracle({.tokens = kTokens,
                                                    .hidden = kHidden,
                                                    .intermediate = kWidth,
                                                    .experts = kExperts,
                                                    .active = kActive},
                                                   x, gate, up, down, experts, weights);
  EXPECT_LT(RelativeError(y, oracle), 1e-6);
}

TEST(OraclesTest, SamplingAgreesWithTheReference) {
  constexpr int kVocab = 100;
  constexpr int kRows = 60;
  Rng rng = TestRng(3);
  const std::vector<float> x = RandomFloats(rng, kRows * kHidden);
  const Packed head(rng, kVocab, kHidden);
  std::vector<float> temperatures;
  std::vector<double> uniforms;
  for (int row = 0; row < kRows; ++row) {
    temperatures.push_back(row % 3 == 0 ? 0 : 0.5f * static_cast<float>(row % 3));
    uniforms.push_back(rng.NextUniform());
  }
  std::vector<int32_t> tokens(kRows);
  std::vector<float> logprobs(kRows);
  SampleHeadReference({.x = x.data(),
                       .x_stride = kHidden,
                       .head = head.view,
                       .m = kRows,
                       .temperatures = temperatures.data(),
                       .uniforms = uniforms.data(),
                       .tokens = tokens.data(),
                       .logprobs = logprobs.data()});
  for (int row = 0; row < kRows; ++row) {
    std::vector<double> logits;
    for (int v = 0; v < kVocab; ++v) {
      logits.push_back(DotProduct(&x[row * kHidden], &head.plain[v * kHidden], kHidden));
    }
    const SampleOracleResult result = SampleOracle(logits, temperatures[row], uniforms[row]);
    EXPECT_EQ(tokens[row], result.token) << "row " << row;
    EXPECT_NEAR(logprobs[row], result.logprob, 1e-5) << "row " << row;
    if (temperatures[row] == 0) continue;
    EXPECT_LE(result.before, uniforms[row]);
    EXPECT_GT(result.after, uniforms[row]);
  }
}

TEST(OraclesTest, LatentAttentionAgreesWithTheReference) {
  constexpr int kHeads = 2;
  constexpr int kLatent = 24;
  constexpr int kWidth = 32;
  constexpr int kContext = 37;
  constexpr int kBlockTokens = 8;
  constexpr int kBlocks = 5;
  Rng rng = TestRng(4);
  const std::vector<float> q = RandomFloats(rng, kHeads * kWidth);
  std::vector<float> blocks = RandomFloats(rng, kBlocks * kBlockTokens * kWidth);
  const std::vector<int32_t> table = {3, 0, 4, 1, 2};
  const int32_t* const table_row = table.data();
  const int32_t context = kContext;
  std::vector<float> out(kHeads * kLatent);
  MlaDecodeArgs args;
  args.q = q.data();
  args.cache.blocks = blocks.data();
  args.cache.block_stride = kBlockTokens * kWidth;
  args.cache.block_tokens = kBlockTokens;
  args.cache.width = kWidth;
  args.block_tables = &table_row;
  args.contexts = &context;
  args.row_count = 1;
  args.heads = kHeads;
  args.latent = kLatent;
  args.scale = 0.2f;
  args.out = out.data();
  MlaDecodeReference(args);
  std::vector<const float*> rows;
  for (int t = 0; t < kContext; ++t) {
    const int row = table[t / kBlockTokens] * kBlockTokens + t % kBlockTokens;
    rows.push_back(&blocks[row * kWidth]);
  }
  for (int head = 0; head < kHeads; ++head) {
    const std::vector<double> oracle = AttentionOracle({.q = &q[head * kWidth],
                                                        .keys = rows,
                                                        .key_width = kWidth,
                                                        .values = rows,
                                                        .value_width = kLatent,
                                                        .scale = args.scale});
    const auto begin = out.begin() + head * kLatent;
    EXPECT_LT(RelativeError({begin, begin + kLatent}, oracle), 1e-6) << "head " << head;
  }
}

TEST(OraclesTest, GroupedAttentionAgreesWithTheReference) {
  constexpr int kHeads = 6;
  constexpr int kKvHeads = 2;
  constexpr int kHeadDim = 16;
  constexpr int kContext = 21;
  constexpr int kBlockTokens = 8;
  constexpr int kWidth = kKvHeads * 2 * kHeadDim;
  Rng rng = TestRng(5);
  const std::vector<float> q = RandomFloats(rng, kHeads * kHeadDim);
  std::vector<float> blocks = RandomFloats(rng, 3 * kBlockTokens * kWidth);
  const std::vector<int32_t> table = {2, 0, 1};
  const int32_t* const table_row = table.data();
  const int32_t context = kContext;
  std::vector<float> out(kHeads * kHeadDim);
  GqaDecodeArgs args;
  args.q = q.data();
  args.cache.blocks = blocks.data();
  args.cache.block_stride = kBlockTokens * kWidth;
  args.cache.block_tokens = kBlockTokens;
  args.cache.width = kWidth;
  args.block_tables = &table_row;
  args.contexts = &context;
  args.row_count = 1;
  args.heads = kHeads;
  args.kv_heads = kKvHeads;
  args.head_dim = kHeadDim;
  args.scale = 0.25f;
  args.out = out.data();
  GqaDecodeReference(args);
  for (int head = 0; head < kHeads; ++head) {
    AttentionOracleArgs oracle_args = {.q = &q[head * kHeadDim],
                                       .key_width = kHeadDim,
                                       .value_width = kHeadDim,
                                       .scale = args.scale};
    for (int t = 0; t < kContext; ++t) {
      const int row = table[t / kBlockTokens] * kBlockTokens + t % kBlockTokens;
      oracle_args.keys.push_back(&blocks[row * kWidth + head / 3 * 2 * kHeadDim]);
      oracle_args.values.push_back(oracle_args.keys.back() + kHeadDim);
    }
    const auto begin = out.begin() + head * kHeadDim;
    EXPECT_LT(RelativeError({begin, begin + kHeadDim}, AttentionOracle(oracle_args)), 1e-6)
        << "head " << head;
  }
}

}  // namespace
}  // namespace r1::kernels
