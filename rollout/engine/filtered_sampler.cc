#include "rollout/engine/filtered_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/status.h"

namespace r1::rollout {
namespace {

// log Σ e^x.
double LogSumExp(std::span<const float> logits) {
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum);
}

}  // namespace

DrawnToken FilteredSampler::Draw(const SamplingRule& rule, std::span<const float> logits) {
  if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
    constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
    return {.id = 0, .logprob = kNaN, .raw_logprob = kNaN};
  }
  candidates_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    candidates_.push_back({logits[id], static_cast<int32_t>(id), 0});
  }
  Penalise(rule);
  const bool greedy = rule.temperature == 0;
  double total;
  if (greedy) {
    total = Weigh();
  } else {
    const float inverse = 1.0f / static_cast<float>(rule.temperature);  // as the fused kernel does
    for (Candidate& candidate : candidates_) candidate.logit *= inverse;
    KeepTopK(rule.filter.top_k);
    total = Weigh();
    KeepTopP(rule.filter.top_p, total);
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < rule.filter.min_p; });
    total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
  }

  const Candidate* drawn = &candidates_.front();
  double below = 0;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight > 0) drawn = &candidate;  // rounding may leave the target behind the end
    below += candidate.weight;
    if (greedy ? candidate.weight == 1 : below > rule.uniform * total) break;
  }
  DrawnToken result = {.id = drawn->id,
                       .logprob = static_cast<float>(std::log(drawn->weight) - std::log(total)),
                       .raw_logprob = 0};
  if (rule.raw_logprob) {
    result.raw_logprob = static_cast<float>(logits[drawn->id] - LogSumExp(logits));
  }
  return result;
}

void FilteredSampler::Penalise(const SamplingRule& rule) {
  const float penalty = static_cast<float>(rule.filter.repetition_penalty);
  if (penalty == 1) return;
  seen_.resize(candidates_.size());
  for (const std::span<const int32_t> ids : {rule.prompt, rule.response}) {
    for (const int32_t id : ids) {
      if (seen_[id]) continue;
      seen_[id] = true;
      float& logit = candidates_[id].logit;
      logit = logit < 0 ? logit * penalty : logit / penalty;
    }
  }
  for (const std::span<const int32_t> ids : {rule.prompt, rule.response}) {
    for (const int32_t id : ids) seen_[id] = false;
  }
}

// All that are equal to the last one stay too.
void FilteredSampler::KeepTopK(int k) {
  if (k == 0 || static_cast<size_t>(k) >= candidates_.size()) return;
  order_ = candidates_;
  std::nth_element(order_.begin(), order_.begin() + (k - 1), order_.end(), IsBetter);
  const float last = order_[k - 1].logit;
  std::erase_if(candidates_, [last](const Candidate& c) { return c.logit < last; });
}

double FilteredSampler::Weigh() {
  double maximum = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates_) {
    maximum = std::max<double>(maximum, candidate.logit);
  }
  double total = 0;
  for (Candidate& candidate : candidates_) {
    total += candidate.weight = std::exp(candidate.logit - maximum);
  }
  return total;
}

// A candidate stays when the probability of all better ones together is below p. The last that
// stays is found by halving: the best half of what is undecided either stays as a whole, or holds
// it.
void FilteredSampler::KeepTopP(double p, double total) {
  if (p >= 1) return;
  order_ = candidates_;
  auto begin = order_.begin(), end = order_.end();
  double better = 0;  // weight before `begin`, which stays
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, IsBetter);
    double half = 0;
    for (auto it = begin; it != middle; ++it) half += it->weight;
    if (better + half < p * total) {
      better += half;
      begin = middle;
    } else {
      end = middle;
    }
  }
  const Candidate last = *begin;
  std::erase_if(candidates_, [&last](const Candidate& c) { return IsBetter(last, c); });
}

}  // namespace r1::rollout
