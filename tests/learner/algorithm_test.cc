// GRPO against the published formulas in float64: advantages, token losses, their gradients by
// central differences, and the sums for metrics.

#include "learner/algorithms/algorithm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/rng.h"
#include "learner/policy/torch_headers.h"

namespace r1::learner {
namespace {

using Doubles = std::vector<double>;

std::unique_ptr<Algorithm> MakeGrpo(const v1::GrpoConfig& config) {
  const auto* factory = AlgorithmRegistry::FindOrNull("grpo");
  EXPECT_NE(factory, nullptr);
  return (*factory)(config);
}

v1::GrpoConfig Config(double clip_low, double clip_high, const std::string& kl_estimator) {
  v1::GrpoConfig config;
  config.set_clip_low(clip_low);
  config.set_clip_high(clip_high);
  config.set_kl_estimator(kl_estimator);
  config.set_normalize_std(true);
  return config;
}

Rng TestRng(uint64_t seed) { return Rng(seed, 0, RngPurpose::kTest, 0, 0); }
double Between(Rng& rng, double low, double high) { return low + (high - low) * rng.NextUniform(); }

// --- Advantages ---

// Eq. 3 of DeepSeekMath with Bessel's correction.
Doubles AdvantageOracle(const Doubles& rewards, bool normalize_std) {
  const auto count = static_cast<double>(rewards.size());
  const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / count;
  double variance = 0;
  for (const double reward : rewards) variance += std::pow(reward - mean, 2) / (count - 1);
  Doubles advantages;
  for (const double reward : rewards) {
    advantages.push_back((reward - mean) / (normalize_std ? std::sqrt(variance) + 1e-6 : 1));
  }
  return advantages;
}

TEST(GrpoAdvantagesTest, AreTheGroupsNormalisedRewards) {
  Rng rng = TestRng(1);
  for (const bool normalize_std : {true, false}) {
    v1::GrpoConfig config = Config(0.2, 0.2, "k3");
    config.set_normalize_std(normalize_std);
    const auto grpo = MakeGrpo(config);
    for (int round = 0; round < 500; ++round) {
      Doubles rewards(2 + rng.NextBelow(31));
      const double scale = std::pow(10, Between(rng, -3, 3));
      for (double& reward : rewards) reward = scale * Between(rng, -1, 1);
      const Doubles expected = AdvantageOracle(rewards, normalize_std);
      const Doubles advantages = grpo->Advantages(rewards);
      ASSERT_EQ(advantages.size(), rewards.size());
      double sum = 0;
      for (size_t i = 0; i < rewards.size(); ++i) {
        EXPECT_NEAR(advantages[i], expected[i], 1e-12 * std::max(1.0, scale)) << "round " << round;
        sum += advantages[i];
      }
      EXPECT_NEAR(sum, 0, 1e-11 * std::max(1.0, scale)) << "round " << round;
    }
  }
}

TEST(GrpoAdvantagesTest, RightAndWrongAnswersOfAGroup) {
  // 1 right of 4: mean 1/4, standard deviation 1/2.
  const Doubles advantages = MakeGrpo(Config(0.2, 0.2, "k3"))->Advantages(Doubles{0, 1, 0, 0});
  EXPECT_NEAR(advantages[1], 0.75 / (0.5 + 1e-6), 1e-14);
  EXPECT_NEAR(advantages[0], -0.25 / (0.5 + 1e-6), 1e-14);
}

TEST(GrpoAdvantagesTest, EqualRewardsAndSingleSamplesGiveExactlyZero) {
  const auto grpo = MakeGrpo(Config(0.2, 0.2, "k3"));
  // The mean of seven times 0.1 is not 0.1 in floating point.
  for (const double reward : {0.0, 0.1, -1.0 / 3, 1e30}) {
    for (const size_t count : {1u, 2u, 3u, 7u, 64u}) {
      for (const double advantage : grpo->Advantages(Doubles(count, reward))) {
        EXPECT_EQ(advantage, 0.0) << count << " times " << reward;
      }
    }
  }
}

// --- Token losses ---

struct Token {
  double logprob, old_logprob, reference_logprob, advantage;
};

// -min(ratio A, clip(ratio, 1 - low, 1 + high) A) + kl_coef KL of one token.
double LossOracle(const Token& token, const v1::GrpoConfig& config, double kl_coef) {
  const double ratio = std::exp(token.logprob - token.old_logprob);
  const double bounded = std::min(std::max(ratio, 1 - config.clip_low()), 1 + config.clip_high());
  const double surrogate = std::min(ratio * token.advantage, bounded * token.advantage);
  const double log_rho = token.reference_logprob - token.logprob;
  double kl = std::exp(log_rho) - log_rho - 1;
  if (config.kl_estimator() == "k1") kl = -log_rho;
  if (config.kl_estimator() == "k2") kl = log_rho * log_rho / 2;
  if (config.kl_estimator() == "k3_unbiased") kl *= ratio;
  return -surrogate + kl_coef * kl;
}

double GradientOracle(Token token, const v1::GrpoConfig& config, double kl_coef) {
  constexpr double kStep = 1e-6;
  token.logprob += kStep;
  const double above = LossOracle(token, config, kl_coef);
  token.logprob -= 2 * kStep;
  return (above - LossOracle(token, config, kl_coef)) / (2 * kStep);
}

// Policies apart by up to e^1, with both signs of the advantage; none within central differences'
// reach of a bound, where the loss has no derivative.
std::vector<Token> RandomTokens(int count, const v1::GrpoConfig& config, uint64_t seed) {
  Rng rng = TestRng(seed);
  std::vector<Token> tokens;
  while (static_cast<int>(tokens.size()) < count) {
    Token token;
    token.logprob = Between(rng, -6, 0);
    token.old_logprob = token.logprob + Between(rng, -1, 1);
    token.reference_logprob = token.logprob + Between(rng, -1, 1);
    token.advantage = Between(rng, -2, 2);
    const double ratio = std::exp(token.logprob - token.old_logprob);
    const bool at_a_bound = std::abs(ratio - 1 + config.clip_low()) < 1e-4 ||
                            std::abs(ratio - 1 - config.clip_high()) < 1e-4;
    if (!at_a_bound) tokens.push_back(token);
  }
  return tokens;
}

struct Result {
  Doubles losses;
  Doubles gradients;
  TokenLossSums sums;
};

Result Evaluate(const std::vector<Token>& tokens, const v1::GrpoConfig& config, double kl_coef,
                at::ScalarType type) {
  const auto tensor = [&](double Token::*member) {
    const at::Tensor values = at::empty({static_cast<int64_t>(tokens.size())}, at::kDouble);
    for (size_t i = 0; i < tokens.size(); ++i) values.data_ptr<double>()[i] = tokens[i].*member;
    return values.to(type);
  };
  const auto doubles = [](const at::Tensor& values) {
    const at::Tensor copy = values.detach().to(at::kDouble).contiguous();
    return Doubles(copy.data_ptr<double>(), copy.data_ptr<double>() + copy.numel());
  };
  TokenLossInputs inputs{.logprobs = tensor(&Token::logprob).set_requires_grad(true),
                         .old_logprobs = tensor(&Token::old_logprob),
                         .advantages = tensor(&Token::advantage),
                         .kl_coef = kl_coef};
  if (kl_coef > 0) inputs.reference_logprobs = tensor(&Token::reference_logprob);
  Result result;
  const at::Tensor losses = MakeGrpo(config)->TokenLoss(inputs, &result.sums);
  result.losses = doubles(losses);
  result.gradients = doubles(torch::autograd::grad({losses.sum()}, {inputs.logprobs})[0]);
  return result;
}

struct Variant {
  double clip_low;
  double clip_high;
  const char* kl_estimator;
};

class GrpoTokenLossTest : public testing::TestWithParam<Variant> {
 protected:
  const v1::GrpoConfig config_ =
      Config(GetParam().clip_low, GetParam().clip_high, GetParam().kl_estimator);
};

TEST_P(GrpoTokenLossTest, LossAndGradientAreThePublishedOnes) {
  for (const double kl_coef : {0.0, 0.05}) {
    const std::vector<Token> tokens = RandomTokens(4000, config_, 2);
    const Result exact = Evaluate(tokens, config_, kl_coef, at::kDouble);
    // fp32 as in training: a logprob near -6 has an error of 2e-7, a ratio up to e.
    const Result trained = Evaluate(tokens, config_, kl_coef, at::kFloat);
    for (size_t i = 0; i < tokens.size(); ++i) {
      const double loss = LossOracle(tokens[i], config_, kl_coef);
      const double gradient = GradientOracle(tokens[i], config_, kl_coef);
      ASSERT_NEAR(exact.losses[i], loss, 1e-12) << "token " << i;
      ASSERT_NEAR(exact.gradients[i], gradient, 1e-7) << "token " << i;
      ASSERT_NEAR(trained.losses[i], loss, 1e-5) << "token " << i;
      ASSERT_NEAR(trained.gradients[i], gradient, 1e-5) << "token " << i;
    }
  }
}

TEST_P(GrpoTokenLossTest, SumsCountCutTokensAndKls) {
  const std::vector<Token> tokens = RandomTokens(3000, config_, 3);
  TokenLossSums expected;
  for (const Token& token : tokens) {
    const double log_ratio = token.logprob - token.old_logprob;
    const double log_rho = token.reference_logprob - token.logprob;
    const double surrogate_gradient = GradientOracle(token, config_, 0);
    expected.tokens += 1;
    if (surrogate_gradient == 0)
      (log_ratio < 0 ? expected.clipped_low : expected.clipped_high) += 1;
    expected.kl_ref += std::exp(log_rho) - log_rho - 1;
    expected.kl_old += std::exp(log_ratio) - log_ratio - 1;
    expected.ratio_max = std::max(expected.ratio_max, std::exp(log_ratio));
  }
  const TokenLossSums sums = Evaluate(tokens, config_, 0.01, at::kDouble).sums;
  EXPECT_EQ(sums.tokens, expected.tokens);
  EXPECT_EQ(sums.clipped_low, expected.clipped_low);
  EXPECT_EQ(sums.clipped_high, expected.clipped_high);
  EXPECT_NEAR(sums.kl_ref, expected.kl_ref, 1e-9);
  EXPECT_NEAR(sums.kl_old, expected.kl_old, 1e-9);
  EXPECT_NEAR(sums.ratio_max, expected.ratio_max, 1e-12);
  // A lower bound below 0 is never reached.
  EXPECT_EQ(expected.clipped_low > 0, config_.clip_low() < 1);
  EXPECT_EQ(expected.clipped_high > 0, config_.clip_high() < 1.7);
}

// Equal bounds, DAPO's clip-higher, DeepSeek-R1's bound of 10, and every estimator of the KL.
INSTANTIATE_TEST_SUITE_P(Variants, GrpoTokenLossTest,
                         testing::Values(Variant{0.2, 0.2, "k3"}, Variant{0.2, 0.28, "k1"},
                                         Variant{0.1, 0.5, "k2"}, Variant{10, 10, "k3"},
                                         Variant{0.2, 0.28, "k3_unbiased"}));

TEST(GrpoTokenLossTest, OnPolicyTheGradientIsMinusTheAdvantage) {
  const std::vector<Token> tokens = {{-1, -1, -1, 0.7}, {-2, -2, -2, -1.3}, {-3, -3, -3, 0}};
  const Result result = Evaluate(tokens, Config(0.2, 0.2, "k3"), 0.1, at::kFloat);
  for (size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_FLOAT_EQ(result.gradients[i], -tokens[i].advantage);
  }
  EXPECT_EQ(result.sums.clipped_low + result.sums.clipped_high, 0);
  EXPECT_EQ(result.sums.kl_ref, 0);
}

TEST(GrpoTokenLossTest, ExtremeLogRatiosStayFinite) {
  std::vector<Token> tokens;
  for (const double apart : {-1e4, -200.0, -90.0, 90.0, 200.0, 1e4}) {
    for (const double advantage : {-1.0, 1.0}) {
      tokens.push_back({-1, -1 - apart, -1, advantage});  // from the old policy
      tokens.push_back({-1, -1, -1 + apart, advantage});  // from the reference
    }
  }
  for (const std::string estimator : {"k1", "k2", "k3", "k3_unbiased"}) {
    const Result result = Evaluate(tokens, Config(10, 10, estimator), 1e-3, at::kFloat);
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_TRUE(std::isfinite(result.losses[i])) << estimator << " token " << i;
      EXPECT_TRUE(std::isfinite(result.gradients[i])) << estimator << " token " << i;
    }
    EXPECT_TRUE(std::isfinite(result.sums.kl_ref)) << estimator;
    EXPECT_TRUE(std::isfinite(result.sums.kl_old)) << estimator;
    EXPECT_TRUE(std::isfinite(result.sums.ratio_max)) << estimator;
  }
}

}  // namespace
}  // namespace r1::learner
