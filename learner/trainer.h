// One optimizer update over this rank's sequences: forward and backward of micro-batches on several
// threads, gradients summed thread by thread and then rank by rank in a fixed order, clipping,
// AdamW. Two users: next-token training and policy gradients.
//
// Gradients or losses that are not finite never reach the weights: the update is skipped and
// counted, and the third in a row is an error (DataLoss).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/status.h"
#include "kernels/thread_pool.h"
#include "learner/algorithms/loss_aggregation.h"
#include "learner/batcher.h"
#include "learner/collectives.h"
#include "learner/optimizer.h"
#include "learner/policy/policy.h"
#include "proto/config.pb.h"

namespace r1::learner {

class Algorithm;

struct UpdateSettings {
  const v1::OptimizerConfig& optimizer;
  double lr = 0;
  double temperature = 1;  // softmax temperature at which the sequences were sampled
};

struct PolicyLoss {
  const Algorithm& algorithm;
  LossAggregation aggregation = LossAggregation::kSeqMeanTokenMean;
  int64_t response_tokens_max = 0;
  double kl_coef = 0;
  // Counts this update's forward for the correction bias (when no earlier forward of the step did).
  bool count_expert_load = true;
};

// Of all ranks together.
struct UpdateMetrics {
  double loss = 0;
  double grad_norm = 0;  // before clipping
  double lr = 0;
  bool skipped = false;
  int64_t sequences = 0;
  int64_t tokens = 0;  // computed, prompts included
  int64_t target_tokens = 0;
  double entropy = 0;  // mean over target tokens, nats
  // Policy updates: means over target tokens.
  double clip_low_frac = 0;
  double clip_high_frac = 0;
  double kl_ref = 0;
  double kl_old = 0;
  double ratio_max = 0;
};

struct ExpertLoad {
  double max_over_mean = 0;  // largest over layers
  double min_over_mean = 0;  // smallest over layers
  double entropy = 0;        // of the load distribution over its maximum, mean over layers
};

// One owner thread calls everything. Borrows its parts.
class Trainer {
 public:
  struct Options {
    int threads = 1;
    // Computed at a time, each by a thread of its own; 0 = as many as threads. A GPU has one.
    int micro_batches = 0;
    int64_t tokens_max = 4096;  // of a micro-batch
  };
  Trainer(Policy& policy, AdamW& optimizer, Collectives& collectives, const Options& options);
  ~Trainer();

  // Mean cross-entropy over all target tokens. Collective.
  [[nodiscard]] absl::StatusOr<UpdateMetrics> TrainNextToken(
      std::span<const TrainSequence> sequences, const UpdateSettings& settings);

  // A policy-gradient update. Fills old_logprobs of sequences that have none with the forward's
  // own. Collective; ranks without sequences take part. No sequence on any rank: nothing happens.
  [[nodiscard]] absl::StatusOr<UpdateMetrics> TrainPolicy(std::span<TrainSequence> sequences,
                                                          const PolicyLoss& loss,
                                                          const UpdateSettings& settings);

  // Logprobs of every sequence's targets under a policy (this one or the reference); no gradient,
  // not collective.
  [[nodiscard]] absl::StatusOr<std::vector<std::vector<float>>> Logprobs(
      Policy& policy, std::span<const TrainSequence> sequences, double temperature,
      bool count_expert_load);

  // Once a step, after its last update: bias += rate * sign(mean load - load), from the loads
  // counted since the last call, summed over ranks. Collective.
  ExpertLoad UpdateCorrectionBias(double rate);

  int64_t skipped_updates() const { return skipped_updates_; }

 private:
  struct ThreadState;
  // Runs body(micro_batch_index, state) for every micro-batch, thread by thread. The first error by
  // index wins.
  template <typename Body>
  absl::Status ForEachMicroBatch(const std::vector<MicroBatch>& micro_batches, Body body);
  // Sums gradients and statistics over threads and ranks, checks, clips, updates.
  absl::StatusOr<UpdateMetrics> FinishUpdate(const UpdateSettings& settings, int64_t sequences,
                                             absl::Status computed);
  std::vector<int64_t> GlobalCounts(std::span<const TrainSequence> sequences);
  void CountLoad(const std::vector<int64_t>& load);

  Policy& policy_;
  AdamW& optimizer_;
  Collectives& collectives_;
  const Options options_;
  kernels::ThreadPool threads_;
  std::vector<std::unique_ptr<ThreadState>> states_;
  std::vector<int64_t> expert_load_;
  int64_t skipped_updates_ = 0;
  int skipped_in_a_row_ = 0;
};

}  // namespace r1::learner
