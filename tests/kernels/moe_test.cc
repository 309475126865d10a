#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

struct Routing {
  int experts, active, groups, kept;
};
constexpr Routing kRoutings[] = {{8, 2, 1, 1}, {8, 3, 4, 2},   {32, 4, 8, 3},
                                 {5, 5, 1, 1}, {20, 1, 20, 7}, {256, 8, 8, 4}};

// The published procedures, on float64 choices: ids in ascending order.
std::vector<int32_t> NaiveChoice(const std::vector<double>& choice, const Routing& routing,
                                 RouterGate gate) {
  const int size = routing.experts / routing.groups;
  std::vector<std::pair<double, int>> groups;
  for (int g = 0; g < routing.groups; ++g) {
    std::vector<double> members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    const bool two = gate == RouterGate::kSigmoidBias && size > 1;
    groups.emplace_back(-(members[0] + (two ? members[1] : 0)), g);
  }
  std::sort(groups.begin(), groups.end());
  std::set<int> kept;
  for (int i = 0; i < routing.kept; ++i) kept.insert(groups[i].second);
  std::vector<std::pair<double, int>> order;
  for (int e = 0; e < routing.experts; ++e) {
    if (kept.count(e / size)) order.emplace_back(-choice[e], e);
  }
  std::sort(order.begin(), order.end());
  std::vector<int32_t> ids;
  for (int a = 0; a < routing.active; ++a) ids.push_back(order[a].second);
  std::sort(ids.begin(), ids.end());
  return ids;
}

// Scores of a token's logits.
std::vector<double> NaiveScores(std::vector<double> logits, RouterGate gate) {
  double sum = 0;
  for (double& logit : logits) {
    logit = gate == RouterGate::kSoftmax ? std::exp(logit) : 1 / (1 + std::exp(-logit));
    sum += logit;
  }
  if (gate == RouterGate::kSigmoidBias) return logits;
  for (double& score : logits) score /= sum;
  return logits;
}

MoeRouterArgs RouterArgs(const Routing& routing, const float* bias) {
  MoeRouterArgs args;
  args.router.n = routing.experts;
  args.bias = bias;
  args.active = routing.active;
  args.groups = routing.groups;
  args.groups_kept = routing.kept;
  args.scaling = 2.5f;
  return args;
}

constexpr int kRoutedTokens = 40;
constexpr int kRoutedHidden = 32;

// Checks one routing of random tokens under a gate. Weights: a score of a logit that is within
// 32 * 2^-24 * Σ|x w|, about 1e-5, times at most 2.5.
void ExpectRoutesAsFloat64(const Routing& routing, RouterGate gate, bool normalize) {
  Rng rng = TestRng(1);
  const std::vector<float> x = RandomFloats(rng, kRoutedTokens * kRoutedHidden);
  const TestMatrix router(rng, routing.experts, kRoutedHidden, 0.3);
  const std::vector<float> bias =
      RandomFloats(rng, routing.experts, 0.5);  // some choices become negative
  std::vector<float> first_weights;
  for (const KernelTable* kernels : AllKernels()) {
    std::vector<int32_t> experts(kRoutedTokens * routing.active);
    std::vector<float> weights(kRoutedTokens * routing.active);
    MoeRouterArgs args =
        RouterArgs(routing, gate == RouterGate::kSigmoidBias ? bias.data() : nullptr);
    args.gate = gate;
    args.normalize = normalize;
    args.x = x.data();
    args.x_stride = kRoutedHidden;
    args.router = router.view();
    args.token_count = kRoutedTokens;
    args.experts = experts.data();
    args.weights = weights.data();
    kernels->moe_router(args);
    for (int t = 0; t < kRoutedTokens; ++t) {
      std::vector<double> logits;
      for (int e = 0; e < routing.experts; ++e) {
        logits.push_back(
            Dot(&x[t * kRoutedHidden], &router.plain[e * kRoutedHidden], kRoutedHidden));
      }
      const std::vector<double> scores = NaiveScores(logits, gate);
      std::vector<double> choices = scores;
      for (int e = 0; args.bias != nullptr && e < routing.experts; ++e) choices[e] += bias[e];
      const std::vector<int32_t> expected = NaiveChoice(choices, routing, gate);
      double sum = 0;
      for (const int32_t e : expected) sum += scores[e];
      for (int a = 0; a < routing.active; ++a) {
        ASSERT_EQ(experts[t * routing.active + a], expected[a])
            << IsaText(kernels->isa) << " token " << t;
        ASSERT_NEAR(weights[t * routing.active + a],
                    2.5 * scores[expected[a]] / (normalize ? sum : 1), 1e-5);
      }
    }
    if (first_weights.empty()) first_weights = weights;
    EXPECT_TRUE(kernels->isa == IsaName::kReference || SameBits(weights, first_weights));
  }
}

TEST(MoeRouterTest, SigmoidGateAgreesWithFloat64) {
  for (const Routing& routing : kRoutings) {
    for (const bool normalize : {true, false}) {
      ExpectRoutesAsFloat64(routing, RouterGate::kSigmoidBias, normalize);
    }
  }
}

TEST(MoeRouterTest, SoftmaxGateAgreesWithFloat64) {
  for (const Routing& routing : kRoutings) {
    for (const bool normalize : {true, false}) {
      ExpectRoutesAsFloat64(routing, RouterGate::kSoftmax, normalize);
    }
  }
}

TEST(MoeRouterTest, UnderSoftmaxTheBestChoiceOfAGroupCounts) {
  const std::vector<float> scores = {0.3f, 0.3f, 0.4f, 0.0f};  // the sums would keep group 0
  MoeRouterArgs args = RouterArgs({4, 1, 2, 1}, nullptr);
  args.gate = RouterGate::kSoftmax;
  int32_t expert = -1;
  float weight = 0;
  ChooseExperts(args, scores.data(), &expert, &weight);
  EXPECT_EQ(expert, 2);
  EXPECT_FLOAT_EQ(weight, 2.5f);
}

TEST(MoeRouterTest, TiesGoToTheLowestId) {
  const std::vector<float> scores(8, 0.5f);
  const std::vector<float> bias = {0, 0, 0, 0, 0, 0, 0, 0.25f};
  std::vector<int32_t> experts(4);
  std::vector<float> weights(4);
  ChooseExperts(RouterArgs({8, 4, 1, 1}, bias.data()), scores.data(), experts.data(),
                weights.data());
  EXPECT_THAT(experts, testing::ElementsAre(0, 1, 2, 7));
  // Groups 0, 1 and 2 tie behind group 3: group 0 is kept with it, so 2 to 5 are out.
  ChooseExperts(RouterArgs({8, 4, 4, 2}, bias.data()), scores.data(), experts.data(),
                weights.data());
  EXPECT_THAT(experts, testing::ElementsAre(0, 1, 6, 7));
}

TEST(MoeRouterTest, DroppedGroupsLoseEvenAgainstNegativeChoices) {
  const std::vector<float> scores = {0.1f, 0.2f, 0.9f, 0.1f};
  const std::vector<float> bias = {
      -1, -1, -5, -5};  // all choices are negative; zero-masking would take group 1
  std::vector<int32_t> experts(2);
  std::vector<float> weights(2);
  ChooseExperts(RouterArgs({4, 2, 2, 1}, bias.data()), scores.data(), experts.data(),
                weights.data());
  EXPECT_THAT(experts, testing::ElementsAre(0, 1));
  EXPECT_FLOAT_EQ(weights[0], 2.5f * 0.1f / 0.3f);
}

TEST(MoeRouterTest, WeightsAreScaledAlsoWithoutNormalisation) {
  const std::vector<float> scores = {0.1f, 0.2f};
  const std::vector<float> bias = {0, 0};
  MoeRouterArgs args = RouterArgs({2, 1, 1, 1}, bias.data());
  args.normalize = false;
  int32_t expert = -1;
  float weight = 0;
  ChooseExperts(args, scores.data(), &expert, &weight);
  EXPECT_EQ(expert, 1);
  EXPECT_FLOAT_EQ(weight, 0.5f);
}

TEST(MoeRouterTest, ScoresThatAreNoNumbersStillGiveExpertsInRange) {
  const std::vector<float> scores(8, std::nanf(""));
  const std::vector<float> bias(8, 0.0f);
  std::vector<int32_t> experts(3, -1);
  std::vector<float> weights(3);
  ChooseExperts(RouterArgs({8, 3, 4, 2}, bias.data()), scores.data(), experts.data(),
                weights.data());
  EXPECT_THAT(experts, testing::Each(testing::AllOf(testing::Ge(0), testing::Lt(8))));
}

TEST(ExpertListsTest, ListsEverySlotOnceSortedByExpertThenToken) {
  Rng rng = TestRng(2);
  ExpertLists lists;
  for (const int tokens : {300, 0, 1, 17}) {  // the memory is reused
    constexpr int kActive = 3;
    constexpr int kExperts = 7;
    std::vector<int32_t> experts(tokens * kActive);
    for (int32_t& expert : experts)
      expert = static_cast<int32_t>(rng.NextBelow(kExperts - 1));  // the last is idle
    BuildExpertLists(experts.data(), tokens, kActive, kExperts, &lists);
    ASSERT_EQ(lists.offsets.size(), kExperts + 1u);
    EXPECT_EQ(lists.offsets.front(), 0);
    EXPECT_EQ(lists.offsets.back(), tokens * kActive);
    std::set<int32_t> places(lists.places.begin(), lists.places.end());
    EXPECT_EQ(places.size(), experts.size());
    for (size_t slot = 0; slot < experts.size(); ++slot) {
      const int32_t place = lists.places[slot];
      EXPECT_EQ(lists.tokens[place], static_cast<int32_t>(slot / kActive));
      EXPECT_GE(place, lists.offsets[experts[slot]]);
      EXPECT_LT(place, lists.offsets[experts[slot] + 1]);
    }
    for (int e = 0; e < kExperts; ++e) {
      EXPECT_TRUE(std::is_sorted(lists.tokens.begin() + lists.offsets[e],
                                 lists.tokens.begin() + lists.offsets[e + 1]));
    }
  }
}

// What CutExpertLists balances: each expert of a run costs its rows there, or its weights.
int64_t CostOfRun(const std::vector<int32_t>& offsets, int begin, int end) {
  int64_t cost = 0;
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    const int rows = std::min(end, offsets[e + 1]) - std::max(begin, offsets[e]);
    if (rows > 0) cost += std::max(rows, kExpertReadRows);
  }
  return cost;
}

TEST(ExpertListsTest, RunsCoverTheListAndTakeAboutAsLong) {
  constexpr int kExperts = 16;
  Rng rng = TestRng(7);
  for (int repetition = 0; repetition < 200; ++repetition) {
    ExpertLists lists;
    lists.offsets = {0};
    for (int e = 0; e < kExperts; ++e) {  // idle, few rows, many rows
      const int most = std::array{1, 5, 90}[rng.NextBelow(3)];
      lists.offsets.push_back(lists.offsets.back() + static_cast<int32_t>(rng.NextBelow(most)));
    }
    const int places = lists.offsets.back();
    for (const int parts : {1, 2, 3, 8}) {
      std::vector<int> borders;
      CutExpertLists(lists, parts, &borders);
      ASSERT_EQ(borders.size(), parts + 1u);
      EXPECT_EQ(borders.front(), 0);
      EXPECT_EQ(borders.back(), places);
      EXPECT_TRUE(std::is_sorted(borders.begin(), borders.end()));
      // No run is longer than a fair share and one expert's weights, of which half at most is
      // unfair at each border.
      const int64_t fair = CostOfRun(lists.offsets, 0, places) / parts;
      for (int part = 0; part < parts; ++part) {
        EXPECT_LE(CostOfRun(lists.offsets, borders[part], borders[part + 1]),
                  fair + 2 * kExpertReadRows)
            << "repetition " << repetition << ", part " << part << " of " << parts;
      }
    }
  }
}

TEST(ExpertListsTest, RunsEndWithExpertsWhereWeightsCountMore) {
  // Eight rows of one expert beside six experts of a row each: by rows, 7 and 7.
  const ExpertLists lists = {.offsets = {0, 8, 9, 10, 11, 12, 13, 14}, .tokens = {}, .places = {}};
  std::vector<int> borders;
  CutExpertLists(lists, 2, &borders);
  EXPECT_THAT(borders, testing::ElementsAre(0, 11, 14));
}

struct Moe {
  static constexpr int kHidden = 40;
  static constexpr int kWidth = 24;
  static constexpr int kExperts = 6;
  static constexpr int kActive = 2;

  explicit Moe(Rng& rng) {
    for (int e = 0; e < kExperts; ++e) {
      gate_ups.emplace_back(rng, kWidth, kHidden, 0.3);
      downs.emplace_back(rng, kHidden, kWidth, 0.3);
    }
    for (int e = 0; e < kExperts; ++e) {
      gate_up_views.push_back(gate_ups[e].view());
      down_views.push_back(downs[e].view());
    }
  }

  // y of `token_count` tokens, starting from zero; the place list is cut into `cuts` parts.
  std::vector<float> Run(const KernelTable& kernels, const float* x, const int32_t* experts,
                         const float* weights, int token_count, int cuts) const {
    ExpertLists lists;
    BuildExpertLists(experts, token_count, kActive, kExperts, &lists);
    const int places = token_count * kActive;
    std::vector<float> hidden(kMoeRowBlock * kWidth);
    std::vector<float> results(places * kHidden);
    for (int cut = 0; cut < cuts; ++cut) {
      kernels.moe_experts({.x = x,
                           .x_stride = kHidden,
                           .offsets = lists.offsets.data(),
                           .tokens = lists.tokens.data(),
                           .expert_count = kExperts,
                           .place_begin = places * cut / cuts,
                           .place_end = places * (cut + 1) / cuts,
                           .gate_up = gate_up_views.data(),
                           .down = down_views.data(),
                           .hidden = hidden.data(),
                           .results = results.data()});
    }
    std::vector<float> y(token_count * kHidden, 0.0f);
    kernels.moe_combine({.results = results.data(),
                         .places = lists.places.data(),
                         .weights = weights,
                         .token_count = token_count,
                         .active = kActive,
                         .columns = kHidden,
                         .y = y.data(),
                         .y_stride = kHidden});
    return y;
  }

  std::vector<TestGateUp> gate_ups;
  std::vector<TestMatrix> downs;
  std::vector<PackedGateUp> gate_up_views;
  std::vector<PackedMatrix> down_views;
};

struct MoeBatch {
  MoeBatch(Rng& rng, int tokens) : x(RandomFloats(rng, tokens * Moe::kHidden)) {
    for (int t = 0; t < tokens; ++t) {
      const int first = static_cast<int>(rng.NextBelow(Moe::kExperts - 1));
      experts.push_back(first);
      experts.push_back(first + 1 + static_cast<int>(rng.NextBelow(Moe::kExperts - 1 - first)));
      weights.push_back(static_cast<float>(rng.NextUniform()));
      weights.push_back(static_cast<float>(rng.NextUniform()));
    }
  }
  std::vector<float> x;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

TEST(MoeExpertsTest, AgreesWithFloat64) {
  constexpr int kTokens = 200;  // more than kMoeRowBlock rows for some expert
  Rng rng = TestRng(3);
  const Moe moe(rng);
  const MoeBatch batch(rng, kTokens);
  for (const KernelTable* kernels : AllKernels()) {
    const std::vector<float> y =
        moe.Run(*kernels, batch.x.data(), batch.experts.data(), batch.weights.data(), kTokens, 1);
    for (int t = 0; t < kTokens; ++t) {
      std::vector<double> expected(Moe::kHidden, 0.0);
      for (int a = 0; a < Moe::kActive; ++a) {
        const int e = batch.experts[t * Moe::kActive + a];
        for (int i = 0; i < Moe::kWidth; ++i) {
          const float* x = &batch.x[t * Moe::kHidden];
          const double gate = Dot(x, &moe.gate_ups[e].gate.plain[i * Moe::kHidden], Moe::kHidden);
          const double up = Dot(x, &moe.gate_ups[e].up.plain[i * Moe::kHidden], Moe::kHidden);
          for (int d = 0; d < Moe::kHidden; ++d) {
            expected[d] += batch.weights[t * Moe::kActive + a] * NaiveSilu(gate) * up *
                           moe.downs[e].plain[d * Moe::kWidth + i];
          }
        }
      }
      for (int d = 0; d < Moe::kHidden; ++d) {
        ASSERT_NEAR(y[t * Moe::kHidden + d], expected[d], 2e-5) << IsaText(kernels->isa);
      }
    }
  }
}

TEST(MoeExpertsTest, BitsDependNeitherOnTheBatchNorOnTheCutsNorOnTheInstructionSet) {
  constexpr int kTokens = 300;
  Rng rng = TestRng(4);
  const Moe moe(rng);
  const MoeBatch batch(rng, kTokens);
  const std::vector<const KernelTable*> fast = FastKernels();
  for (const KernelTable* kernels : fast) {
    const std::vector<float> whole =
        moe.Run(*fast[0], batch.x.data(), batch.experts.data(), batch.weights.data(), kTokens, 1);
    for (const int cuts : {1, 2, 3, 7, 64}) {
      EXPECT_TRUE(SameBits(whole, moe.Run(*kernels, batch.x.data(), batch.experts.data(),
                                          batch.weights.data(), kTokens, cuts)));
    }
    for (int t = 0; t < kTokens; t += 11) {
      const std::vector<float> alone =
          moe.Run(*kernels, &batch.x[t * Moe::kHidden], &batch.experts[t * Moe::kActive],
                  &batch.weights[t * Moe::kActive], 1, 1);
      EXPECT_EQ(0,
                std::memcmp(alone.data(), &whole[t * Moe::kHidden], alone.size() * sizeof(float)));
    }
  }
}

}  // namespace
}  // namespace r1::kernels
