// Token filters: the kept set and the frequencies of draws against a plain sort of everything.

#include "rollout/engine/filtered_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rollout/engine_testing.h"
#include "tests/rollout/naive_model.h"

namespace r1::rollout {
namespace {

using testing::ElementsAre;

// The distribution of a rule, step by step as transformers' processors do it. Zeros: filtered out.
std::vector<double> NaiveDistribution(const SamplingRule& rule, std::span<const float> logits) {
  std::vector<double> scores(logits.begin(), logits.end());
  std::set<int32_t> seen(rule.prompt.begin(), rule.prompt.end());
  seen.insert(rule.response.begin(), rule.response.end());
  for (const int32_t id : seen) {
    const double penalty = rule.filter.repetition_penalty;
    scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }
  for (double& score : scores) score /= rule.temperature;
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const auto softmax = [&scores] {
    std::vector<double> p;
    for (const double score : scores) p.push_back(std::exp(score));
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= sum;
    return p;
  };
  if (rule.filter.top_k > 0) {
    std::vector<double> sorted = scores;
    std::sort(sorted.rbegin(), sorted.rend());
    const double last = sorted[std::min<size_t>(rule.filter.top_k, sorted.size()) - 1];
    for (double& score : scores) score = score < last ? minus_infinity : score;
  }
  if (rule.filter.top_p < 1) {  // from the worst upwards, while they sum up to at most 1 - p
    const std::vector<double> p = softmax();
    std::vector<int> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
    double sum = 0;
    for (size_t i = order.size() - 1; i > 0; --i) {
      if ((sum += p[order[i]]) > 1 - rule.filter.top_p) break;
      scores[order[i]] = minus_infinity;
    }
  }
  if (rule.filter.min_p > 0) {
    const std::vector<double> p = softmax();
    const double best = *std::max_element(p.begin(), p.end());
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] < rule.filter.min_p * best) scores[i] = minus_infinity;
    }
  }
  return softmax();
}

std::vector<float> RandomLogits(Rng& rng, int count) {
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(6 * (rng.NextUniform() - 0.5));
  return logits;
}

TEST(FilteredSamplerTest, TokensAndLogprobsAgreeWithTheDistributionSortedOut) {
  Rng rng(1, 0, RngPurpose::kTest, 5, 0);
  FilteredSampler sampler;
  int filtered_out = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const int vocab = 1 + static_cast<int>(rng.NextBelow(trial % 50 == 0 ? 3000 : 40));
    const std::vector<float> logits = RandomLogits(rng, vocab);
    std::vector<int32_t> history(rng.NextBelow(8));
    for (int32_t& id : history) id = static_cast<int32_t>(rng.NextBelow(vocab));
    const auto sometimes = [&rng](double value, double off) {
      return rng.NextBelow(2) == 0 ? value : off;
    };
    SamplingRule rule = {.temperature = 0.3 + rng.NextUniform(),
                         .filter = {.repetition_penalty = sometimes(0.5 + rng.NextUniform(), 1),
                                    .top_k = static_cast<int>(sometimes(
                                        1.0 + static_cast<double>(rng.NextBelow(vocab)), 0)),
                                    .top_p = sometimes(1 - rng.NextUniform(), 1),
                                    .min_p = sometimes(0.5 * rng.NextUniform(), 0)},
                         .prompt = history,
                         .response = history,
                         .raw_logprob = true,
                         .uniform = rng.NextUniform()};
    const std::vector<double> p = NaiveDistribution(rule, logits);
    const DrawnToken drawn = sampler.Draw(rule, logits);
    ASSERT_GT(p[drawn.id], 0) << "trial " << trial;
    ASSERT_NEAR(drawn.logprob, std::log(p[drawn.id]), 1e-5) << "trial " << trial;
    const double below = std::accumulate(p.begin(), p.begin() + drawn.id, 0.0);
    ASSERT_LE(below, rule.uniform + 1e-5);
    ASSERT_GE(below + p[drawn.id], rule.uniform - 1e-5);
    const std::vector<double> raw = NaiveDistribution({}, logits);
    ASSERT_NEAR(drawn.raw_logprob, std::log(raw[drawn.id]), 1e-5);
    filtered_out += static_cast<int>(std::count(p.begin(), p.end(), 0.0));
  }
  EXPECT_GT(filtered_out, 1000);
}

// Ids that any of 200 draws gave.
std::set<int32_t> Drawn(const TokenFilter& filter, const std::vector<float>& logits,
                        double temperature = 1) {
  FilteredSampler sampler;
  std::set<int32_t> ids;
  for (int i = 0; i < 200; ++i) {
    SamplingRule rule;
    rule.temperature = temperature;
    rule.filter = filter;
    rule.uniform = (i + 0.5) / 200;
    ids.insert(sampler.Draw(rule, logits).id);
  }
  return ids;
}

TEST(FilteredSamplerTest, BoundariesAreThoseOfTransformers) {
  const auto logs = [](std::vector<double> p) {
    std::vector<float> logits;
    for (const double value : p) logits.push_back(static_cast<float>(std::log(value)));
    return logits;
  };
  // The token that crosses p stays; the best one always does.
  EXPECT_THAT(Drawn({.top_p = 0.6}, logs({0.2, 0.5, 0.3})), ElementsAre(1, 2));
  EXPECT_THAT(Drawn({.top_p = 0.1}, logs({0.2, 0.5, 0.3})), ElementsAre(1));
  EXPECT_THAT(Drawn({.top_p = 1e-9}, logs({0.2, 0.5, 0.3})), ElementsAre(1));
  // All that are equal to the k-th stay.
  EXPECT_THAT(Drawn({.top_k = 2}, logs({0.2, 0.4, 0.2, 0.2})), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Drawn({.top_k = 1}, logs({0.2, 0.4, 0.2, 0.2})), ElementsAre(1));
  EXPECT_THAT(Drawn({.top_k = 99}, logs({0.5, 0.5})), ElementsAre(0, 1));
  // min-p compares with the best one.
  EXPECT_THAT(Drawn({.min_p = 0.45}, logs({0.3, 0.5, 0.2})), ElementsAre(0, 1));
  EXPECT_THAT(Drawn({.min_p = 1}, logs({0.3, 0.5, 0.2})), ElementsAre(1));
  // top-p works on what top-k has left, with renormalised probabilities: 0.4 of 0.7 crosses 0.55.
  EXPECT_THAT(Drawn({.top_k = 2, .top_p = 0.55}, logs({0.4, 0.3, 0.2, 0.1})), ElementsAre(0));
  EXPECT_THAT(Drawn({.top_p = 0.55}, logs({0.4, 0.3, 0.2, 0.1})), ElementsAre(0, 1));
}

TEST(FilteredSamplerTest, GreedySeesThePenaltyAndNoOtherFilter) {
  FilteredSampler sampler;
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, -1.0f};
  const std::vector<int32_t> prompt = {1, 3, 1};
  SamplingRule rule;
  rule.temperature = 0;
  rule.filter = {.repetition_penalty = 2, .top_k = 1};
  rule.prompt = prompt;
  rule.raw_logprob = true;
  const DrawnToken drawn = sampler.Draw(rule, logits);
  EXPECT_EQ(drawn.id, 2);  // 3 became 1.5, once however often it occurs
  const double sum = std::exp(1.0) + std::exp(1.5) + std::exp(2.0) + std::exp(-2.0);
  EXPECT_NEAR(drawn.logprob, 2 - std::log(sum), 1e-6);
  const double raw = std::exp(1.0) + std::exp(3.0) + std::exp(2.0) + std::exp(-1.0);
  EXPECT_NEAR(drawn.raw_logprob, 2 - std::log(raw), 1e-6);
  rule.prompt = {};
  EXPECT_EQ(sampler.Draw(rule, std::vector<float>{2, 5, 5, 1}).id, 1);  // of equals the lowest id
}

TEST(FilteredSamplerTest, LogitsThatAreNotFiniteGiveALogprobThatIsNoNumber) {
  FilteredSampler sampler;
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    EXPECT_TRUE(std::isnan(sampler.Draw({}, std::vector<float>{0, poison}).logprob));
  }
}

// Chi-square of the first tokens of 60 × 512 samples against the exact distribution.
double ChiSquare(const TokenFilter& filter, double temperature, int* degrees) {
  const ModelSpec spec = SmallSpec();
  const WeightsSnapshot weights = RandomWeights(spec, 8);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights);
  const GroupRequest first = RandomRequest(spec, 0, 6, 512, 1);
  std::vector<float> logits;
  const auto logprobs = NaiveModel(spec, weights).Logprobs(first.prompt_ids, 1);
  for (const double logprob : logprobs.back()) logits.push_back(static_cast<float>(logprob));
  const double raw_shift = (*engine->Logits(first.prompt_ids, 6))[5 * 32] - logits[0];
  for (float& logit : logits) logit += static_cast<float>(raw_shift);  // the penalty sees the sign
  SamplingRule rule;
  rule.temperature = temperature;
  rule.filter = filter;
  rule.prompt = first.prompt_ids;
  const std::vector<double> p = NaiveDistribution(rule, logits);
  std::vector<int> counts(spec.vocab);
  constexpr int kGroups = 60;
  for (int group = 0; group < kGroups; ++group) {
    GroupRequest request = first;
    request.group_id = group;
    request.filter = filter;
    request.temperature = temperature;
    request.raw_logprobs = true;  // the slow path even when nothing is filtered
    for (const auto& [key, sample] : RunAll(*engine, {request})) ++counts[sample.token_ids.at(0)];
  }
  double chi_square = 0;
  *degrees = -1;
  for (int v = 0; v < spec.vocab; ++v) {
    const double expected = 512 * kGroups * p[v];
    if (expected == 0) {
      EXPECT_EQ(counts[v], 0);
      continue;
    }
    ++*degrees;
    chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
  }
  return chi_square;
}

// 99.9 % quantile of the chi-square distribution (Wilson and Hilferty, 1931); the seeds are fixed.
double Quantile(int degrees) {
  const double part = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1 - part + 3.0902 * std::sqrt(part), 3);
}

TEST(FilteredSamplerTest, FrequenciesPassAChiSquareTest) {
  const TokenFilter filters[] = {
      {},
      {.top_k = 5},
      {.top_p = 0.8},
      {.min_p = 0.1},
      {.repetition_penalty = 1.7},
      {.repetition_penalty = 1.3, .top_k = 12, .top_p = 0.9, .min_p = 0.05}};
  for (const TokenFilter& filter : filters) {
    for (const double temperature : {1.0, 0.7}) {
      int degrees = 0;
      const double chi_square = ChiSquare(filter, temperature, &degrees);
      ASSERT_GT(degrees, 1);
      EXPECT_LT(chi_square, Quantile(degrees))
          << "top_k " << filter.top_k << " top_p " << filter.top_p << " min_p " << filter.min_p
          << " temperature " << temperature << " degrees " << degrees;
    }
  }
}

// Requests of all kinds side by side, in any company, with any number of threads.
TEST(FilteredSamplerTest, NeighboursChangeNoBit) {
  const ModelSpec spec = SmallSpec();
  const WeightsSnapshot weights = RandomWeights(spec, 3);
  std::vector<GroupRequest> requests;
  for (uint64_t group = 0; group < 12; ++group) {
    requests.push_back(RandomRequest(spec, group, 4 + static_cast<int>(group), 5, 30));
    GroupRequest& request = requests.back();
    if (group % 3 == 1) request.filter = {.repetition_penalty = 1.2, .top_k = 9, .top_p = 0.9};
    if (group % 3 == 2) request.raw_logprobs = true;
    if (group % 4 == 3) request.temperature = 0;
  }
  const Results together =
      RunAll(*MakeEngine(spec, weights, {.threads = 3, .running_samples_max = 60}), requests);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights);
  for (const GroupRequest& request : requests) {
    for (const auto& [key, sample] : RunAll(*engine, {request})) {
      EXPECT_TRUE(SameSample(sample, together.at(key))) << "request " << key.first;
      EXPECT_EQ(sample.raw_logprobs, together.at(key).raw_logprobs);
      EXPECT_EQ(sample.raw_logprobs.size(), request.raw_logprobs ? sample.token_ids.size() : 0u);
      for (size_t t = 0; t < sample.raw_logprobs.size(); ++t) {  // nothing is filtered there
        EXPECT_NEAR(sample.raw_logprobs[t], sample.logprobs[t], 1e-6);
      }
    }
  }
}

TEST(StopConditionTest, ASampleEndsWhereTheRequestSaysSo) {
  const ModelSpec spec = SmallSpec();
  const std::unique_ptr<Engine> engine = MakeEngine(spec, RandomWeights(spec, 3));
  GroupRequest request = RandomRequest(spec, 1, 5, 3, 20);
  const Results free = RunAll(*engine, {request});
  std::map<uint32_t, std::vector<int32_t>> seen;
  request.stop_when = [&seen](uint32_t sample_index, int32_t token) {
    seen[sample_index].push_back(token);
    return sample_index == 1 && seen[1].size() == 4;
  };
  const Results results = RunAll(*engine, {request});
  for (const auto& [key, sample] : results) {
    EXPECT_EQ(sample.token_ids, seen[key.second]);
    EXPECT_EQ(sample.stopped, key.second == 1);
    EXPECT_EQ(sample.token_ids.size(), key.second == 1 ? 4u : 20u);
    const std::vector<int32_t>& whole = free.at(key).token_ids;
    EXPECT_TRUE(std::equal(sample.token_ids.begin(), sample.token_ids.end(), whole.begin()));
  }
}

TEST(TokenFilterTest, ValuesOutOfRangeAreRefusedByName) {
  const ModelSpec spec = SmallSpec();
  const std::unique_ptr<Engine> engine = MakeEngine(spec, RandomWeights(spec, 3));
  const double nan = std::nan("");
  const auto refused = [&](const TokenFilter& filter) {
    GroupRequest request = RandomRequest(spec, 1, 5, 1, 4);
    request.filter = filter;
    const absl::Status status = engine->Submit(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  for (const double value : {0.0, -1.0, nan, HUGE_VAL}) {
    EXPECT_THAT(refused({.repetition_penalty = value}), testing::HasSubstr("repetition_penalty"));
  }
  EXPECT_THAT(refused({.top_k = -1}), testing::HasSubstr("top_k"));
  for (const double value : {0.0, 1.5, nan}) {
    EXPECT_THAT(refused({.top_p = value}), testing::HasSubstr("top_p"));
  }
  for (const double value : {-0.1, 1.5, nan}) {
    EXPECT_THAT(refused({.min_p = value}), testing::HasSubstr("min_p"));
  }
}

}  // namespace
}  // namespace r1::rollout
