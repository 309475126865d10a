// AdamW (Loshchilov & Hutter 2019) on the policy's flat fp32 buffer, the learning-rate schedule,
// and gradient clipping. Deterministic: element-wise, or sums in a fixed order. State is replicated
// on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/models/model_spec.h"
#include "common/schedule.h"
#include "common/status.h"
#include "kernels/thread_pool.h"
#include "proto/config.pb.h"

namespace r1::learner {

// Learning rate of an update: the schedule, times the linear warm-up, times the decay from
// decay_from_update on over decay_updates (0 = up to total_updates).
double LearningRate(const v1::OptimizerConfig& config, int64_t update, int64_t total_updates);

// Euclidean norm, summed in float64 over fixed blocks in order.
double GlobalNorm(std::span<const float> values);

// Not thread-safe.
class AdamW {
 public:
  // `offsets` are Policy::parameter_offsets(): matrices are decayed, norms are not.
  AdamW(const ModelSpec& spec, const std::vector<int64_t>& offsets, size_t parameters);

  // Forgets everything: the start of a stage.
  void Reset();

  // One update. `gradient` is multiplied by `gradient_scale` (clipping) first. `threads` may be
  // null; no bit depends on it.
  void Update(const v1::OptimizerConfig& config, double lr, double gradient_scale,
              std::span<const float> gradient, std::span<float> parameters,
              kernels::ThreadPool* threads = nullptr);

  // For checkpoints.
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }
  std::span<float> first_moment() { return first_moment_; }
  std::span<float> second_moment() { return second_moment_; }

 private:
  struct Range {
    size_t begin;
    size_t end;
    bool decayed;
  };

  std::vector<Range> ranges_;
  std::vector<float> first_moment_;
  std::vector<float> second_moment_;
  int64_t updates_ = 0;
};

}  // namespace r1::learner
