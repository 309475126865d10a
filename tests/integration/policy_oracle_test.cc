// The learner's forward pass and its gradients against the float64 model that the engine is held
// against too, and the two programs against each other: samples that the engine drew have the same
// logprobs under the learner.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <numeric>

#include "kernels/isa.h"
#include "learner/policy/policy.h"
#include "learner/policy/torch_headers.h"
#include "tests/learner/learner_testing.h"
#include "tests/rollout/engine_testing.h"
#include "tests/rollout/naive_model.h"

namespace r1 {
namespace {

using learner::PackedBatch;
using learner::Policy;
using learner::TinyShape;
using learner::TrainSequence;

// Weights in memory that the test may write to.
struct WritableWeights {
  explicit WritableWeights(const WeightsSnapshot& source) : weights(source) {
    for (TensorView& tensor : weights.tensors) {
      tensors.emplace_back(tensor.f32().begin(), tensor.f32().end());
    }
    for (size_t w = 0; w < tensors.size(); ++w) {
      weights.tensors[w].bytes = {reinterpret_cast<const char*>(tensors[w].data()),
                                  tensors[w].size() * sizeof(float)};
    }
  }
  std::vector<std::vector<float>> tensors;
  WeightsSnapshot weights;
};

struct OracleOutputs {
  std::vector<double> logprobs;
  std::vector<double> entropies;
};

OracleOutputs RunOracle(const rollout::NaiveModel& model,
                        const std::vector<TrainSequence>& sequences, double temperature) {
  OracleOutputs outputs;
  for (const TrainSequence& sequence : sequences) {
    const auto rows = model.Logprobs(sequence.tokens, temperature);
    for (size_t t = static_cast<size_t>(sequence.first_target); t < sequence.tokens.size(); ++t) {
      const std::vector<double>& row = rows[t - 1];
      outputs.logprobs.push_back(row[static_cast<size_t>(sequence.tokens[t])]);
      double entropy = 0;
      for (const double logprob : row) entropy -= std::exp(logprob) * logprob;
      outputs.entropies.push_back(entropy);
    }
  }
  return outputs;
}

const std::vector<TinyShape>& Shapes() {
  static const auto* shapes = new std::vector<TinyShape>{
      {},
      {.dense_layers = 0, .q_lora_rank = 5, .shared_experts = 0},
      {.dense_layers = 2, .q_lora_rank = 5, .tie_embeddings = true},
      {.layers = 1, .dense_layers = 0, .tie_embeddings = true, .rope_interleave = false},
      {.expert_groups = 2,
       .expert_groups_kept = 1,
       .normalize_weights = false,
       .routed_scaling_factor = 2.5},
  };
  return *shapes;
}

TEST(PolicyOracleTest, LogprobsAndEntropiesAreThoseOfTheFloat64Model) {
  double largest = 0;
  for (const TinyShape& shape : Shapes()) {
    const ModelSpec spec = TinySpec(shape);
    const auto policy = learner::RandomPolicy(spec, 3);
    const WeightsSnapshot weights = policy->Snapshot(0);
    const rollout::NaiveModel model(spec, weights);
    const auto sequences = learner::RandomSequences(spec, 8, 2, 40, 4);
    for (const double temperature : {1.0, 0.6, 1.7}) {
      const OracleOutputs expected = RunOracle(model, sequences, temperature);
      learner::ForwardStats stats;
      const auto logprobs = policy->Logprobs(learner::Pack(sequences), temperature, &stats);
      ASSERT_TRUE(logprobs.ok()) << logprobs.status();
      ASSERT_EQ(logprobs->size(), expected.logprobs.size());
      for (size_t n = 0; n < logprobs->size(); ++n) {
        ASSERT_NEAR((*logprobs)[n], expected.logprobs[n], 1e-5);
        ASSERT_NEAR(stats.entropy[n], expected.entropies[n], 1e-5);
        largest = std::max(largest, std::abs((*logprobs)[n] - expected.logprobs[n]));
      }
    }
  }
  std::cout << "largest difference of a logprob " << largest << "\n";
}

class PolicyGradientTest : public testing::TestWithParam<TinyShape> {};

TEST_P(PolicyGradientTest, IsThatOfCentralDifferencesForEveryParameter) {
  constexpr double kTemperature = 0.8;
  const ModelSpec spec = TinySpec(GetParam());
  const auto policy = learner::RandomPolicy(spec, 5);
  // Packed sequences of different lengths; not every token is a target.
  const auto sequences = learner::RandomSequences(spec, 4, 2, 6, 6);
  const PackedBatch batch = learner::Pack(sequences);
  Rng rng = learner::TestRng(7);
  std::vector<double> coefficients;
  for (int64_t n = 0; n < batch.target_count(); ++n) coefficients.push_back(learner::Signed(rng));

  std::vector<float> gradient(policy->parameters().size());
  const auto loss = policy->ForwardBackward(
      batch, kTemperature,
      [&](const at::Tensor& logprobs) {
        const at::Tensor weights = at::empty({logprobs.numel()}, at::kFloat);
        std::copy(coefficients.begin(), coefficients.end(), weights.data_ptr<float>());
        return (logprobs * weights).sum();
      },
      gradient, nullptr);
  ASSERT_TRUE(loss.ok()) << loss.status();

  WritableWeights writable(policy->Snapshot(0));
  const rollout::NaiveModel model(spec, writable.weights);
  const auto oracle_loss = [&] {
    const OracleOutputs outputs = RunOracle(model, sequences, kTemperature);
    double sum = 0;
    for (size_t n = 0; n < coefficients.size(); ++n) sum += coefficients[n] * outputs.logprobs[n];
    return sum;
  };
  EXPECT_NEAR(*loss, oracle_loss(), 1e-5);
  double largest_error = 0, largest_gradient = 0;
  for (size_t w = 0; w < spec.weights.size(); ++w) {
    const int64_t offset = policy->parameter_offsets()[w];
    if (offset < 0) continue;
    double norm = 0;
    for (size_t i = 0; i < writable.tensors[w].size(); ++i) {
      float& value = writable.tensors[w][i];
      const float middle = value;
      // Steps that fp32 weights can take; a hundred times smaller than the gaps between the
      // router's scores, so that no token changes its experts.
      const float above = middle + 1e-4f, below = middle - 1e-4f;
      value = above;
      const double loss_above = oracle_loss();
      value = below;
      const double loss_below = oracle_loss();
      value = middle;
      const double expected = (loss_above - loss_below) / (static_cast<double>(above) - below);
      const double found = gradient[static_cast<size_t>(offset) + i];
      ASSERT_NEAR(found, expected, 2e-5 + 1e-5 * std::abs(expected))
          << spec.weights[w].name << " [" << i << "]";
      largest_error = std::max(largest_error, std::abs(found - expected));
      norm += expected * expected;
    }
    // Experts that no token chose have none; everything else must have been tested with something.
    if (spec.weights[w].expert < 0) {
      EXPECT_GT(norm, 1e-8) << spec.weights[w].name;
    }
    largest_gradient = std::max(largest_gradient, std::sqrt(norm));
  }
  std::cout << gradient.size() << " parameters, largest error " << largest_error
            << ", largest norm of a tensor's gradient " << largest_gradient << "\n";
}

INSTANTIATE_TEST_SUITE_P(Shapes, PolicyGradientTest, testing::ValuesIn(Shapes()));

// Sequences longer than the blocks of the attention kernel, along one random direction a tensor.
TEST(PolicyOracleTest, DirectionalDerivativesOfLongSequencesOnEveryInstructionSet) {
  const ModelSpec spec = learner::TinySpec({.dense_layers = 0, .q_lora_rank = 5});
  const auto sequences = learner::RandomSequences(spec, 4, 15, 50, 8);
  for (const kernels::IsaName isa : kernels::DetectIsas()) {
    const std::string name(kernels::IsaText(isa));
    const auto policy = learner::RandomPolicy(spec, 9, {.isa = name});
    std::vector<float> gradient(policy->parameters().size());
    const auto mean = [](const at::Tensor& logprobs) { return logprobs.mean(); };
    ASSERT_TRUE(policy->ForwardBackward(learner::Pack(sequences), 1, mean, gradient, nullptr).ok());
    WritableWeights writable(policy->Snapshot(0));
    const rollout::NaiveModel model(spec, writable.weights);
    const auto oracle_mean = [&] {
      const std::vector<double> logprobs = RunOracle(model, sequences, 1).logprobs;
      return std::accumulate(logprobs.begin(), logprobs.end(), 0.0) /
             static_cast<double>(logprobs.size());
    };
    Rng rng = learner::TestRng(10);
    double largest_error = 0, largest_derivative = 0;
    for (size_t w = 0; w < spec.weights.size(); ++w) {
      const int64_t offset = policy->parameter_offsets()[w];
      if (offset < 0) continue;
      const std::vector<float> middle = writable.tensors[w];
      std::vector<float> below = middle;
      double change = 0;  // of the loss, by the gradient
      for (size_t i = 0; i < middle.size(); ++i) {
        const double step = 1e-5 * learner::Signed(rng);
        writable.tensors[w][i] = static_cast<float>(middle[i] + step);
        below[i] = static_cast<float>(middle[i] - step);
        change += gradient[static_cast<size_t>(offset) + i] *
                  (static_cast<double>(writable.tensors[w][i]) - below[i]);
      }
      const double loss_above = oracle_mean();
      std::ranges::copy(below, writable.tensors[w].begin());
      const double expected = loss_above - oracle_mean();
      std::ranges::copy(middle, writable.tensors[w].begin());
      const double derivative = expected / 2e-5, error = std::abs(change - expected) / 2e-5;
      ASSERT_LT(error, 5e-7 + 1e-5 * std::abs(derivative)) << name << " " << spec.weights[w].name;
      largest_error = std::max(largest_error, error);
      largest_derivative = std::max(largest_derivative, std::abs(derivative));
    }
    std::cout << name << ": derivatives up to " << largest_derivative << ", largest error "
              << largest_error << "\n";
  }
}

TEST(EngineAndPolicyTest, AgreeOnTheLogprobsOfWhatTheEngineSampled) {
  double largest = 0, sum = 0;
  int64_t tokens = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const ModelSpec spec = rollout::RandomSpec(seed);
    const WeightsSnapshot weights = rollout::RandomWeights(spec, seed);
    const double temperature = seed % 2 == 0 ? 1.0 : 0.8;
    const auto engine = rollout::MakeEngine(spec, weights);
    rollout::GroupRequest request = rollout::RandomRequest(spec, seed, 9, 6, 40);
    request.temperature = temperature;
    const rollout::Results results = rollout::RunAll(*engine, {request});
    ASSERT_EQ(results.size(), 6u);

    auto policy = Policy::Create(spec, {}, 0);
    ASSERT_TRUE(policy.ok()) << policy.status();
    ASSERT_TRUE((*policy)->Load(weights).ok());
    PackedBatch batch;
    std::vector<float> sampled;
    for (const auto& [key, sample] : results) {
      std::vector<int32_t> ids = request.prompt_ids;
      ids.insert(ids.end(), sample.token_ids.begin(), sample.token_ids.end());
      batch.Append(ids, static_cast<int>(request.prompt_ids.size()));
      sampled.insert(sampled.end(), sample.logprobs.begin(), sample.logprobs.end());
    }
    const auto logprobs = (*policy)->Logprobs(batch, temperature, nullptr);
    ASSERT_TRUE(logprobs.ok()) << logprobs.status();
    ASSERT_EQ(logprobs->size(), sampled.size());
    for (size_t n = 0; n < sampled.size(); ++n) {
      const double difference = std::abs(static_cast<double>((*logprobs)[n]) - sampled[n]);
      ASSERT_LE(difference, 1e-5) << "model " << seed << ", token " << n;
      largest = std::max(largest, difference);
      sum += difference;
    }
    tokens += static_cast<int64_t>(sampled.size());
  }
  std::cout << "over " << tokens << " tokens of 12 models: largest |difference| " << largest
            << ", mean " << sum / static_cast<double>(tokens) << "\n";
}

}  // namespace
}  // namespace r1
