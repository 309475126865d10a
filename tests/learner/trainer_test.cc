// One optimizer update from end to end on one rank: losses against sums written down directly,
// gradients against the policy's own, updates that are skipped, and the correction bias.

#include "learner/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "learner/algorithms/algorithm.h"
#include "learner/policy/torch_headers.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

// A policy with all that trains it.
struct Learner {
  explicit Learner(int threads = 1, int64_t tokens_max = 4096)
      : spec(PresetSpec()),
        policy(RandomPolicy(spec)),
        adamw(spec, policy->parameter_offsets(), policy->parameters().size()),
        trainer(*policy, adamw, *ranks, {.threads = threads, .tokens_max = tokens_max}) {
    config.set_beta1(0.9);
    config.set_beta2(0.95);
    config.set_eps(1e-8);
    config.set_grad_clip_norm(1);
  }
  UpdateSettings settings(double lr = 1e-3, double temperature = 1) const {
    return {.optimizer = config, .lr = lr, .temperature = temperature};
  }

  v1::OptimizerConfig config;
  const ModelSpec spec;
  const std::unique_ptr<Policy> policy;
  AdamW adamw;
  const std::unique_ptr<Collectives> ranks = OneRank();
  Trainer trainer;
};

std::unique_ptr<Algorithm> MakeGrpo() {
  v1::GrpoConfig config;
  config.set_clip_low(0.2);
  config.set_clip_high(0.2);
  config.set_kl_estimator("k3");
  return (*AlgorithmRegistry::FindOrNull("grpo"))(config);
}

std::vector<float> LogprobsOf(Policy& policy, const TrainSequence& sequence, double temperature) {
  return *policy.Logprobs(Pack(std::span(&sequence, 1)), temperature, nullptr);
}

double Sum(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum;
}

TEST(TrainNextTokenTest, LossIsTheMeanCrossEntropyOfAllTargetsAndFalls) {
  Learner learner(2, 100);
  const auto sequences = RandomSequences(learner.spec, 12, 2, 40);
  double expected = 0, entropy = 0;
  int64_t targets = 0, tokens = 0;
  for (const TrainSequence& sequence : sequences) {
    ForwardStats stats;
    const auto logprobs = *learner.policy->Logprobs(Pack(std::span(&sequence, 1)), 1, &stats);
    expected -= Sum(logprobs);
    entropy += Sum(stats.entropy);
    targets += sequence.target_count();
    tokens += static_cast<int64_t>(sequence.tokens.size());
  }
  const auto first = learner.trainer.TrainNextToken(sequences, learner.settings());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NEAR(first->loss, expected / static_cast<double>(targets), 1e-6);
  EXPECT_NEAR(first->entropy, entropy / static_cast<double>(targets), 1e-6);
  EXPECT_EQ(first->target_tokens, targets);
  EXPECT_EQ(first->tokens, tokens);
  EXPECT_EQ(first->sequences, 12);
  EXPECT_FALSE(first->skipped);
  double loss = first->loss;
  for (int update = 1; update < 60; ++update) {
    const auto metrics = learner.trainer.TrainNextToken(sequences, learner.settings(3e-3));
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    loss = metrics->loss;
  }
  EXPECT_LT(loss, 0.5 * first->loss);
}

// The gradient of the whole batch in one piece, and AdamW on it by hand.
TEST(TrainPolicyTest, AnUpdateIsAdamWOnTheGradientOfTheAggregatedLoss) {
  for (const bool clipped : {false, true}) {
    Learner learner(2, 120), other;
    // Without clipping of the norm, or with a limit below it.
    learner.config.set_grad_clip_norm(clipped ? 1e-3 : 0);
    auto sequences = RandomSequences(learner.spec, 10, 4, 40);
    std::vector<float> weights;
    double expected_loss = 0;
    for (const TrainSequence& sequence : sequences) {
      const auto n = static_cast<size_t>(sequence.target_count());
      const double weight = 1 / (10 * static_cast<double>(n));
      weights.insert(weights.end(), n, static_cast<float>(weight * sequence.advantage));
      expected_loss -= sequence.advantage / 10;  // every ratio is 1
    }
    std::vector<float> gradient(other.policy->parameters().size());
    const auto surrogate = [&](const at::Tensor& logprobs) {
      const at::Tensor factors = at::empty({logprobs.numel()}, at::kFloat);
      std::copy(weights.begin(), weights.end(), factors.data_ptr<float>());
      return -(logprobs * factors).sum();
    };
    ASSERT_TRUE(
        other.policy->ForwardBackward(Pack(sequences), 0.9, surrogate, gradient, nullptr).ok());
    const double norm = GlobalNorm(gradient);
    other.adamw.Update(learner.config, 1e-3, clipped ? 1e-3 / norm : 1, gradient,
                       other.policy->parameters());

    const auto metrics = learner.trainer.TrainPolicy(sequences, {.algorithm = *MakeGrpo()},
                                                     learner.settings(1e-3, 0.9));
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    EXPECT_NEAR(metrics->loss, expected_loss, 1e-6);
    EXPECT_NEAR(metrics->grad_norm, norm, 1e-5 * norm);
    EXPECT_EQ(metrics->clip_low_frac + metrics->clip_high_frac, 0);
    EXPECT_EQ(metrics->ratio_max, 1);
    // AdamW's first update is the sign of the gradient where that is well above rounding; the
    // moments show the gradient itself.
    EXPECT_LT(MaxDifference(learner.adamw.first_moment(), other.adamw.first_moment()),
              clipped ? 1e-9 : 1e-6);
    int64_t apart = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      apart += std::abs(learner.policy->parameters()[i] - other.policy->parameters()[i]) > 1e-5;
    }
    EXPECT_LT(apart, static_cast<int64_t>(gradient.size() / 100));
  }
}

TEST(TrainPolicyTest, RaisesWhatWasBetterAndKeepsTheLogprobsOfTheFirstForward) {
  Learner learner(2, 80);
  auto sequences = RandomSequences(learner.spec, 8, 6, 30);
  std::vector<std::vector<float>> before;
  for (size_t i = 0; i < sequences.size(); ++i) {
    sequences[i].advantage = i % 2 == 0 ? 1 : -1;
    before.push_back(LogprobsOf(*learner.policy, sequences[i], 1));
  }
  const auto grpo = MakeGrpo();
  for (int update = 0; update < 4; ++update) {
    const auto metrics =
        learner.trainer.TrainPolicy(sequences, {.algorithm = *grpo}, learner.settings(2e-4));
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    // The first update is on-policy; then the ratio moves away from 1.
    EXPECT_EQ(metrics->kl_old > 0, update > 0);
    EXPECT_EQ(metrics->ratio_max > 1, update > 0);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    EXPECT_TRUE(SameBits(sequences[i].old_logprobs, before[i])) << "sequence " << i;
    const double change = Sum(LogprobsOf(*learner.policy, sequences[i], 1)) - Sum(before[i]);
    EXPECT_GT(change * sequences[i].advantage, 0) << "sequence " << i;
  }
}

TEST(TrainPolicyTest, KlPullsTheLossUpByTheK3Estimate) {
  Learner learner;
  auto sequences = RandomSequences(learner.spec, 4, 4, 20);
  const auto other = RandomPolicy(learner.spec, 2);
  double k3 = 0, tokens = 0, expected_loss = 0;
  for (TrainSequence& sequence : sequences) {
    sequence.reference_logprobs = LogprobsOf(*other, sequence, 1);
    const std::vector<float> own = LogprobsOf(*learner.policy, sequence, 1);
    for (size_t n = 0; n < own.size(); ++n) {
      const double log_rho = static_cast<double>(sequence.reference_logprobs[n]) - own[n];
      k3 += std::exp(log_rho) - log_rho - 1;
      expected_loss -= sequence.advantage;
      tokens += 1;
    }
  }
  const auto grpo = MakeGrpo();
  const PolicyLoss loss{
      .algorithm = *grpo, .aggregation = LossAggregation::kTokenMean, .kl_coef = 0.25};
  const auto metrics = learner.trainer.TrainPolicy(sequences, loss, learner.settings());
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_NEAR(metrics->kl_ref, k3 / tokens, 1e-5 * k3 / tokens);
  EXPECT_NEAR(metrics->loss, (expected_loss + 0.25 * k3) / tokens, 1e-5);
}

TEST(TrainerTest, RunsWithTheSameThreadsHaveTheSameBits) {
  const auto train = [](int threads) {
    Learner learner(threads, 60);
    auto sequences = RandomSequences(learner.spec, 16, 4, 40);
    const auto grpo = MakeGrpo();
    std::vector<double> losses;
    for (int update = 0; update < 5; ++update) {
      losses.push_back(learner.trainer.TrainNextToken(sequences, learner.settings())->loss);
      losses.push_back(
          learner.trainer.TrainPolicy(sequences, {.algorithm = *grpo}, learner.settings())->loss);
      learner.trainer.UpdateCorrectionBias(1e-3);
    }
    return std::pair(losses, learner.policy->Snapshot(0).Digest());
  };
  EXPECT_EQ(train(1), train(1));
  EXPECT_EQ(train(2), train(2));
  // Another number of threads adds in another order.
  const auto one = train(1).first, two = train(2).first;
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-5) << "loss " << i;
}

TEST(TrainerTest, NonFiniteUpdatesAreSkippedAndTheThirdInARowIsAnError) {
  for (const bool infinite_loss : {true, false}) {
    Learner learner(2, 60);
    auto good = RandomSequences(learner.spec, 8, 4, 30);
    auto bad = good;
    bad[3].advantage = std::numeric_limits<double>::infinity();
    if (!infinite_loss) {
      // One token whose loss just fits, while its gradient does not.
      bad.resize(1);
      bad[0].first_target = static_cast<int>(bad[0].tokens.size()) - 1;
      bad[0].advantage = 3e38;
    }
    const auto grpo = MakeGrpo();
    const auto train = [&](std::vector<TrainSequence>& sequences) {
      return learner.trainer.TrainPolicy(
          sequences, {.algorithm = *grpo, .aggregation = LossAggregation::kSeqMeanTokenSum},
          learner.settings());
    };
    ASSERT_TRUE(train(good).ok());
    const uint64_t digest = learner.policy->Snapshot(0).Digest();
    const std::vector<float> moment = Copy(learner.adamw.first_moment());
    for (int round = 1; round <= 2; ++round) {
      const auto metrics = train(bad);
      ASSERT_TRUE(metrics.ok()) << metrics.status();
      EXPECT_TRUE(metrics->skipped);
      EXPECT_EQ(learner.trainer.skipped_updates(), round);
    }
    EXPECT_EQ(learner.policy->Snapshot(0).Digest(), digest);
    EXPECT_TRUE(SameBits(learner.adamw.first_moment(), moment));
    EXPECT_EQ(learner.adamw.updates(), 1);
    // A good one in between starts the count again.
    ASSERT_TRUE(train(good).ok());
    ASSERT_TRUE(train(bad).ok());
    ASSERT_TRUE(train(bad).ok());
    const absl::Status third = train(bad).status();
    EXPECT_EQ(third.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(third.message(), HasSubstr("3 updates in a row"));
    EXPECT_EQ(learner.trainer.skipped_updates(), 5);
  }
}

TEST(TrainerTest, NothingToTrainChangesNothing) {
  Learner learner;
  const uint64_t digest = learner.policy->Snapshot(0).Digest();
  const auto metrics = learner.trainer.TrainNextToken({}, learner.settings());
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(metrics->sequences, 0);
  ASSERT_TRUE(learner.trainer.TrainPolicy({}, {.algorithm = *MakeGrpo()}, learner.settings()).ok());
  EXPECT_EQ(learner.policy->Snapshot(0).Digest(), digest);
  EXPECT_EQ(learner.adamw.updates(), 0);
}

TEST(TrainerTest, LogprobsAreThoseOfEachSequenceAlone) {
  Learner learner(2, 70);
  const auto sequences = RandomSequences(learner.spec, 11, 3, 40);
  const auto logprobs = learner.trainer.Logprobs(*learner.policy, sequences, 0.8, false);
  ASSERT_TRUE(logprobs.ok()) << logprobs.status();
  for (size_t i = 0; i < sequences.size(); ++i) {
    EXPECT_TRUE(SameBits((*logprobs)[i], LogprobsOf(*learner.policy, sequences[i], 0.8)));
  }
}

TEST(UpdateCorrectionBiasTest, MovesEveryBiasAgainstItsLoad) {
  Learner learner(2, 60);
  const auto sequences = RandomSequences(learner.spec, 9, 4, 30);
  ForwardStats stats;
  ASSERT_TRUE(learner.policy->Logprobs(Pack(sequences), 1, &stats).ok());
  const std::vector<float> before = Copy(learner.policy->router_biases());
  // Counted twice: signs are the same, and the count is forgotten afterwards. The third is not.
  for (const bool counted : {true, true, false}) {
    ASSERT_TRUE(learner.trainer.Logprobs(*learner.policy, sequences, 1, counted).ok());
  }
  const ExpertLoad summary = learner.trainer.UpdateCorrectionBias(0.01);

  size_t begin = 0;
  double max_over_mean = 0, min_over_mean = 1e9, entropy = 0;
  int layers = 0;
  for (const LayerSpec& layer : learner.spec.layers) {
    if (!layer.moe) continue;
    const auto experts = static_cast<size_t>(layer.moe->experts);
    double total = 0, layer_entropy = 0;
    for (size_t e = begin; e < begin + experts; ++e) {
      total += static_cast<double>(stats.expert_load[e]);
    }
    for (size_t e = begin; e < begin + experts; ++e) {
      const double fraction = static_cast<double>(stats.expert_load[e]) / total;
      const double over_mean = fraction * static_cast<double>(experts);
      const double sign = over_mean < 1 ? 1 : over_mean > 1 ? -1 : 0;
      EXPECT_FLOAT_EQ(learner.policy->router_biases()[e],
                      static_cast<float>(before[e] + 0.01 * sign));
      max_over_mean = std::max(max_over_mean, over_mean);
      min_over_mean = std::min(min_over_mean, over_mean);
      if (fraction > 0) layer_entropy -= fraction * std::log(fraction);
    }
    entropy += layer_entropy / std::log(static_cast<double>(experts));
    ++layers;
    begin += experts;
  }
  ASSERT_GT(layers, 0);
  EXPECT_NEAR(summary.max_over_mean, max_over_mean, 1e-12);
  EXPECT_NEAR(summary.min_over_mean, min_over_mean, 1e-12);
  EXPECT_NEAR(summary.entropy, entropy / layers, 1e-12);

  const std::vector<float> after = Copy(learner.policy->router_biases());
  EXPECT_EQ(learner.trainer.UpdateCorrectionBias(0.01).max_over_mean, 0);
  EXPECT_TRUE(SameBits(learner.policy->router_biases(), after));
}

}  // namespace
}  // namespace r1::learner
