#include "learner/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace r1::learner {
namespace {

// What a thread takes at a time.
constexpr size_t kBlockElements = 1 << 14;

}  // namespace

double LearningRate(const v1::OptimizerConfig& config, int64_t update, int64_t total_updates) {
  double lr = ScheduleAt(config.lr(), update);
  if (update < config.warmup_updates()) {
    lr *= static_cast<double>(update + 1) / static_cast<double>(config.warmup_updates());
  }
  if (config.decay() == "constant" || update < config.decay_from_update()) return lr;
  const int64_t length = config.decay_updates() > 0 ? config.decay_updates()
                                                    : total_updates - config.decay_from_update();
  const double done = std::clamp(static_cast<double>(update - config.decay_from_update()) /
                                     static_cast<double>(std::max<int64_t>(length, 1)),
                                 0.0, 1.0);
  const double shape =
      config.decay() == "linear" ? 1 - done : 0.5 * (1 + std::cos(std::numbers::pi * done));
  return lr * (config.decay_to_fraction() + (1 - config.decay_to_fraction()) * shape);
}

double GlobalNorm(std::span<const float> values) {
  // Eight interleaved sums, which the compiler keeps in vector registers; the order is a function
  // of the size alone.
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= values.size(); i += 8) {
    for (size_t k = 0; k < 8; ++k) sums[k] += static_cast<double>(values[i + k]) * values[i + k];
  }
  double total = 0;
  for (; i < values.size(); ++i) total += static_cast<double>(values[i]) * values[i];
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

AdamW::AdamW(const ModelSpec& spec, const std::vector<int64_t>& offsets, size_t parameters)
    : first_moment_(parameters), second_moment_(parameters) {
  R1_CHECK(offsets.size() == spec.weights.size());
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] < 0) continue;
    const auto begin = static_cast<size_t>(offsets[i]);
    const size_t end = begin + static_cast<size_t>(spec.weights[i].elements());
    R1_CHECK(end <= parameters);
    ranges_.push_back({begin, end, !spec.weights[i].is_norm()});
  }
}

void AdamW::Reset() {
  std::fill(first_moment_.begin(), first_moment_.end(), 0.0f);
  std::fill(second_moment_.begin(), second_moment_.end(), 0.0f);
  updates_ = 0;
}

void AdamW::Update(const v1::OptimizerConfig& config, double lr, double gradient_scale,
                   std::span<const float> gradient, std::span<float> parameters,
                   kernels::ThreadPool* threads) {
  R1_CHECK(gradient.size() == first_moment_.size());
  R1_CHECK(parameters.size() == first_moment_.size());
  ++updates_;
  const auto beta1 = static_cast<float>(config.beta1());
  const auto beta2 = static_cast<float>(config.beta2());
  const auto scale = static_cast<float>(gradient_scale);
  const auto correction1 = static_cast<float>(1 / (1 - std::pow(config.beta1(), updates_)));
  const auto correction2 = static_cast<float>(1 / (1 - std::pow(config.beta2(), updates_)));
  const auto epsilon = static_cast<float>(config.eps());
  const auto rate = static_cast<float>(lr);
  const auto update = [&](size_t first, size_t last) {
    for (const Range& range : ranges_) {
      const float keep = range.decayed ? static_cast<float>(1 - lr * config.weight_decay()) : 1.0f;
      for (size_t i = std::max(first, range.begin); i < std::min(last, range.end); ++i) {
        const float g = gradient[i] * scale;
        const float m = first_moment_[i] = beta1 * first_moment_[i] + (1 - beta1) * g;
        const float v = second_moment_[i] = beta2 * second_moment_[i] + (1 - beta2) * g * g;
        parameters[i] = parameters[i] * keep -
                        rate * (m * correction1) / (std::sqrt(v * correction2) + epsilon);
      }
    }
  };
  if (threads == nullptr) return update(0, parameters.size());
  const auto blocks = static_cast<int>((parameters.size() + kBlockElements - 1) / kBlockElements);
  threads->ParallelFor(blocks, 1, [&](int, int begin, int end) {
    update(static_cast<size_t>(begin) * kBlockElements, static_cast<size_t>(end) * kBlockElements);
  });
}

}  // namespace r1::learner
