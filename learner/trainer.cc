#include "learner/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "learner/algorithms/algorithm.h"

namespace r1::learner {
namespace {

constexpr int kSkippedInARowMax = 3;

// A tensor that owns a copy of the values.
at::Tensor ToTensor(const std::vector<float>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

}  // namespace

// What one thread accumulates over its micro-batches of an update.
struct Trainer::ThreadState {
  std::vector<float> gradient;
  std::vector<int64_t> expert_load;
  double loss = 0;
  double entropy = 0;
  int64_t target_tokens = 0;
  int64_t tokens = 0;
  TokenLossSums sums;

  void Reset() {
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    std::fill(expert_load.begin(), expert_load.end(), 0);
    loss = entropy = 0;
    target_tokens = tokens = 0;
    sums = {};
  }
  void Count(const PackedBatch& batch, const ForwardStats& stats, bool count_expert_load) {
    for (const float value : stats.entropy) entropy += value;
    target_tokens += batch.target_count();
    tokens += batch.token_count();
    if (!count_expert_load) return;
    for (size_t i = 0; i < stats.expert_load.size(); ++i) expert_load[i] += stats.expert_load[i];
  }
};

Trainer::Trainer(Policy& policy, AdamW& optimizer, Collectives& collectives, const Options& options)
    : policy_(policy),
      optimizer_(optimizer),
      collectives_(collectives),
      options_(options),
      threads_(options.threads),
      expert_load_(static_cast<size_t>(policy.spec().routed_experts())) {
  const int states = options.micro_batches > 0 ? options.micro_batches : options.threads;
  for (int i = 0; i < states; ++i) {
    states_.push_back(std::make_unique<ThreadState>());
    states_.back()->gradient.resize(policy.parameters().size());
    states_.back()->expert_load.resize(expert_load_.size());
  }
}

Trainer::~Trainer() = default;

template <typename Body>
absl::Status Trainer::ForEachMicroBatch(const std::vector<MicroBatch>& micro_batches, Body body) {
  std::vector<absl::Status> statuses(micro_batches.size());
  threads_.ParallelFor(static_cast<int>(states_.size()), 1, [&](int, int begin, int end) {
    at::set_num_threads(1);  // a thread-local setting of the calling thread
    for (auto state = static_cast<size_t>(begin); state < static_cast<size_t>(end); ++state) {
      for (size_t i = state; i < micro_batches.size(); i += states_.size()) {
        statuses[i] = body(i, *states_[state]);
      }
    }
  });
  for (absl::Status& status : statuses) R1_RETURN_IF_ERROR(std::move(status));
  return absl::OkStatus();
}

std::vector<int64_t> Trainer::GlobalCounts(std::span<const TrainSequence> sequences) {
  std::vector<int64_t> counts = {static_cast<int64_t>(sequences.size()), 0};
  for (const TrainSequence& sequence : sequences) counts[1] += sequence.target_count();
  collectives_.AllReduceSum(std::span<int64_t>(counts));
  return counts;
}

void Trainer::CountLoad(const std::vector<int64_t>& load) {
  for (size_t i = 0; i < load.size(); ++i) expert_load_[i] += load[i];
}

absl::StatusOr<UpdateMetrics> Trainer::TrainNextToken(std::span<const TrainSequence> sequences,
                                                      const UpdateSettings& settings) {
  const std::vector<int64_t> counts = GlobalCounts(sequences);
  if (counts[1] == 0) return UpdateMetrics();
  const double weight = 1 / static_cast<double>(counts[1]);
  const std::vector<MicroBatch> micro_batches =
      PackMicroBatches(sequences, options_.tokens_max, static_cast<int>(states_.size()));
  for (auto& state : states_) state->Reset();
  absl::Status computed =
      ForEachMicroBatch(micro_batches, [&](size_t i, ThreadState& state) -> absl::Status {
        ForwardStats stats;
        R1_ASSIGN_OR_RETURN(const double loss, policy_.ForwardBackward(
                                                   micro_batches[i].batch, 1.0,
                                                   [&](const at::Tensor& logprobs) {
                                                     return logprobs.sum() * -weight;
                                                   },
                                                   state.gradient, &stats));
        state.loss += loss;
        state.Count(micro_batches[i].batch, stats, true);
        return absl::OkStatus();
      });
  return FinishUpdate(settings, counts[0], std::move(computed));
}

absl::StatusOr<UpdateMetrics> Trainer::TrainPolicy(std::span<TrainSequence> sequences,
                                                   const PolicyLoss& loss,
                                                   const UpdateSettings& settings) {
  const std::vector<int64_t> counts = GlobalCounts(sequences);
  if (counts[1] == 0) return UpdateMetrics();
  const LossDenominators denominators{
      .sequences = counts[0], .tokens = counts[1], .response_tokens_max = loss.response_tokens_max};
  const std::vector<MicroBatch> micro_batches =
      PackMicroBatches(sequences, options_.tokens_max, static_cast<int>(states_.size()));
  for (auto& state : states_) state->Reset();
  absl::Status computed =
      ForEachMicroBatch(micro_batches, [&](size_t i, ThreadState& state) -> absl::Status {
        const MicroBatch& micro_batch = micro_batches[i];
        std::vector<float> weights, advantages, old_logprobs, reference_logprobs;
        for (const int s : micro_batch.sequences) {
          const TrainSequence& sequence = sequences[static_cast<size_t>(s)];
          const auto n = static_cast<size_t>(sequence.target_count());
          weights.insert(weights.end(), n,
                         static_cast<float>(
                             TokenWeight(loss.aggregation, sequence.target_count(), denominators)));
          advantages.insert(advantages.end(), n, static_cast<float>(sequence.advantage));
          old_logprobs.insert(old_logprobs.end(), sequence.old_logprobs.begin(),
                              sequence.old_logprobs.end());
          reference_logprobs.insert(reference_logprobs.end(), sequence.reference_logprobs.begin(),
                                    sequence.reference_logprobs.end());
        }
        const bool has_old = old_logprobs.size() == weights.size();
        R1_CHECK(has_old || old_logprobs.empty());
        R1_CHECK(reference_logprobs.empty() || reference_logprobs.size() == weights.size());
        std::vector<float> forward_logprobs;
        const auto loss_function = [&](const at::Tensor& logprobs) {
          const at::Tensor detached = logprobs.detach();
          if (!has_old) {
            const float* values = detached.contiguous().data_ptr<float>();
            forward_logprobs.assign(values, values + detached.numel());
          }
          TokenLossInputs inputs{.logprobs = logprobs,
                                 .old_logprobs = has_old ? ToTensor(old_logprobs) : detached,
                                 .advantages = ToTensor(advantages),
                                 .kl_coef = loss.kl_coef};
          if (!reference_logprobs.empty()) inputs.reference_logprobs = ToTensor(reference_logprobs);
          inputs.sequences = at::empty({logprobs.numel()}, at::kLong);
          std::copy(micro_batch.batch.target_sequences.begin(),
                    micro_batch.batch.target_sequences.end(), inputs.sequences.data_ptr<int64_t>());
          return (loss.algorithm.TokenLoss(inputs, &state.sums) * ToTensor(weights)).sum();
        };
        ForwardStats stats;
        R1_ASSIGN_OR_RETURN(const double value,
                            policy_.ForwardBackward(micro_batch.batch, settings.temperature,
                                                    loss_function, state.gradient, &stats));
        state.loss += value;
        state.Count(micro_batch.batch, stats, loss.count_expert_load);
        const float* next = forward_logprobs.data();
        for (const int s : micro_batch.sequences) {
          if (has_old) break;
          TrainSequence& sequence = sequences[static_cast<size_t>(s)];
          sequence.old_logprobs.assign(next, next + sequence.target_count());
          next += sequence.target_count();
        }
        return absl::OkStatus();
      });
  return FinishUpdate(settings, counts[0], std::move(computed));
}

absl::StatusOr<UpdateMetrics> Trainer::FinishUpdate(const UpdateSettings& settings,
                                                    int64_t sequences, absl::Status computed) {
  // A rank whose own part is not finite must still take part in the sums: its gradient says so to
  // the others.
  const bool non_finite = absl::IsDataLoss(computed);
  if (!computed.ok() && !non_finite) return computed;
  std::vector<float>& gradient = states_[0]->gradient;
  for (size_t t = 1; t < states_.size(); ++t) {
    const std::vector<float>& other = states_[t]->gradient;
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += other[i];
  }
  if (non_finite) gradient[0] = std::numeric_limits<float>::quiet_NaN();
  collectives_.AllReduceSum(std::span<float>(gradient));

  std::vector<double> sums(9);
  double ratio_max = 0;
  for (const auto& state : states_) {
    const TokenLossSums& token = state->sums;
    const double parts[] = {state->loss,
                            state->entropy,
                            static_cast<double>(state->target_tokens),
                            static_cast<double>(state->tokens),
                            token.tokens,
                            token.clipped_low,
                            token.clipped_high,
                            token.kl_ref,
                            token.kl_old};
    for (size_t i = 0; i < std::size(parts); ++i) sums[i] += parts[i];
    ratio_max = std::max(ratio_max, token.ratio_max);
    CountLoad(state->expert_load);
  }
  collectives_.AllReduceSum(std::span<double>(sums));
  const double target_tokens = std::max(sums[2], 1.0);
  UpdateMetrics metrics{.loss = sums[0],
                        .grad_norm = GlobalNorm(gradient),
                        .lr = settings.lr,
                        .sequences = sequences,
                        .tokens = static_cast<int64_t>(sums[3]),
                        .target_tokens = static_cast<int64_t>(sums[2]),
                        .entropy = sums[1] / target_tokens,
                        .clip_low_frac = sums[5] / target_tokens,
                        .clip_high_frac = sums[6] / target_tokens,
                        .kl_ref = sums[7] / target_tokens,
                        .kl_old = sums[8] / target_tokens,
                        .ratio_max = AllReduceMax(collectives_, ratio_max)};
  // A sum in float64 of squares of fp32 numbers: finite exactly when all of them are.
  if (!std::isfinite(metrics.grad_norm)) {
    metrics.skipped = true;
    ++skipped_updates_;
    ++skipped_in_a_row_;
    const std::string reason =
        non_finite ? std::string(computed.message()) : "a gradient is not finite";
    R1_LOG(kError) << "update skipped: " << reason;
    if (skipped_in_a_row_ >= kSkippedInARowMax) {
      return absl::DataLossError(
          absl::StrCat(skipped_in_a_row_, " updates in a row were not finite, the last because ",
                       reason, "; the weights of the last good update are in the checkpoint"));
    }
    return metrics;
  }
  skipped_in_a_row_ = 0;
  const double limit = settings.optimizer.grad_clip_norm();
  const double scale = limit > 0 && metrics.grad_norm > limit ? limit / metrics.grad_norm : 1;
  optimizer_.Update(settings.optimizer, settings.lr, scale, gradient, policy_.parameters(),
                    &threads_);
  return metrics;
}

absl::StatusOr<std::vector<std::vector<float>>> Trainer::Logprobs(
    Policy& policy, std::span<const TrainSequence> sequences, double temperature,
    bool count_expert_load) {
  const std::vector<MicroBatch> micro_batches =
      PackMicroBatches(sequences, options_.tokens_max, static_cast<int>(states_.size()));
  std::vector<std::vector<float>> logprobs(sequences.size());
  for (auto& state : states_) state->Reset();
  R1_RETURN_IF_ERROR(
      ForEachMicroBatch(micro_batches, [&](size_t i, ThreadState& state) -> absl::Status {
        ForwardStats stats;
        R1_ASSIGN_OR_RETURN(const std::vector<float> values,
                            policy.Logprobs(micro_batches[i].batch, temperature, &stats));
        const float* next = values.data();
        for (const int s : micro_batches[i].sequences) {
          const int64_t n = sequences[static_cast<size_t>(s)].target_count();
          logprobs[static_cast<size_t>(s)].assign(next, next + n);
          next += n;
        }
        state.Count(micro_batches[i].batch, stats, count_expert_load);
        return absl::OkStatus();
      }));
  for (const auto& state : states_) CountLoad(state->expert_load);
  return logprobs;
}

ExpertLoad Trainer::UpdateCorrectionBias(double rate) {
  if (expert_load_.empty()) return {};
  std::span<float> biases = policy_.router_biases();  // of the layers to come
  collectives_.AllReduceSum(std::span<int64_t>(expert_load_));
  ExpertLoad summary{.min_over_mean = std::numeric_limits<double>::infinity()};
  size_t begin = 0;
  int layers = 0;
  for (const LayerSpec& layer : policy_.spec().layers) {
    if (!layer.moe) continue;
    const auto experts = static_cast<size_t>(layer.moe->experts);
    const std::span<const int64_t> load =
        std::span<const int64_t>(expert_load_).subspan(begin, experts);
    const bool biased = layer.moe->gate == MoeGate::kSigmoidBias;
    const std::span<float> bias = biases.first(biased ? experts : 0);
    biases = biases.subspan(bias.size());
    int64_t total = 0;
    for (const int64_t tokens : load) total += tokens;
    begin += experts;
    if (total == 0) continue;  // nothing was trained
    const double mean = static_cast<double>(total) / static_cast<double>(experts);
    double entropy = 0;
    for (size_t e = 0; e < experts; ++e) {
      const auto tokens = static_cast<double>(load[e]);
      if (biased) bias[e] += static_cast<float>(rate * ((tokens < mean) - (tokens > mean)));
      summary.max_over_mean = std::max(summary.max_over_mean, tokens / mean);
      summary.min_over_mean = std::min(summary.min_over_mean, tokens / mean);
      if (tokens > 0)
        entropy -=
            tokens / static_cast<double>(total) * std::log(tokens / static_cast<double>(total));
    }
    summary.entropy += entropy / std::log(static_cast<double>(experts));
    ++layers;
  }
  if (layers == 0) return {};
  summary.entropy /= layers;
  std::fill(expert_load_.begin(), expert_load_.end(), 0);
  return summary;
}

}  // namespace r1::learner
