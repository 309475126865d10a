#include "tests/gpu/oracles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

namespace r1::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Indices of the `count` highest values, lower index first among equals; ascending. *margin shrinks
// to the distance between the last taken and the first left one.
std::vector<int32_t> Highest(const std::vector<double>& values, int count, double* margin) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  if (static_cast<size_t>(count) < order.size()) {
    *margin = std::min(*margin, values[order[count - 1]] - values[order[count]]);
  }
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

double Dot(const float* a, const float* b, int size) {
  double sum = 0;
  for (int i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

double RelativeError(const std::vector<float>& a, const std::vector<double>& b) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i])) return kInfinity;
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

RouterChoice RouterOracle(const std::vector<double>& logits, const std::vector<float>& bias,
                          const RouterOracleArgs& args) {
  const int experts = static_cast<int>(logits.size());
  std::vector<double> scores(logits.size());
  if (args.softmax) {
    const double highest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (int e = 0; e < experts; ++e) sum += scores[e] = std::exp(logits[e] - highest);
    for (double& score : scores) score /= sum;
  } else {
    for (int e = 0; e < experts; ++e) scores[e] = 1 / (1 + std::exp(-logits[e]));
  }
  std::vector<double> choices = scores;
  for (size_t e = 0; e < bias.size(); ++e) choices[e] += bias[e];

  RouterChoice choice;
  choice.margin = kInfinity;
  const int size = experts / args.groups;
  std::vector<double> group_scores(args.groups);
  for (int g = 0; g < args.groups; ++g) {
    std::vector<double> members(choices.begin() + g * size, choices.begin() + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    group_scores[g] = members[0] + (size > 1 ? members[1] : 0);
  }
  const std::vector<int32_t> kept = Highest(group_scores, args.groups_kept, &choice.margin);
  for (int e = 0; e < experts; ++e) {
    if (!std::binary_search(kept.begin(), kept.end(), e / size)) choices[e] = -kInfinity;
  }
  choice.experts = Highest(choices, args.active, &choice.margin);
  double sum = 1e-20;
  for (const int32_t e : choice.experts) sum += scores[e];
  for (const int32_t e : choice.experts) {
    choice.weights.push_back((args.normalize ? scores[e] / sum : scores[e]) * args.scaling);
  }
  return choice;
}

std::vector<double> ExpertsOracle(const ExpertsOracleArgs& args, const std::vector<float>& x,
                                  const std::vector<float>& gate, const std::vector<float>& up,
                                  const std::vector<float>& down,
                                  const std::vector<int32_t>& experts,
                                  const std::vector<float>& weights) {
  const int d = args.hidden;
  const int width = args.intermediate;
  std::vector<double> out(static_cast<size_t>(args.tokens) * d);
  std::vector<double> hidden(width);
  for (int t = 0; t < args.tokens; ++t) {
    for (int slot = 0; slot < args.active + args.shared_experts; ++slot) {
      const bool routed = slot < args.active;
      const int expert =
          routed ? experts[t * args.active + slot] : args.experts + slot - args.active;
      const double weight = routed ? weights[t * args.active + slot] : 1;
      for (int i = 0; i < width; ++i) {
        const size_t row = (static_cast<size_t>(expert) * width + i) * d;
        const double g = Dot(&x[static_cast<size_t>(t) * d], &gate[row], d);
        hidden[i] = g / (1 + std::exp(-g)) * Dot(&x[static_cast<size_t>(t) * d], &up[row], d);
      }
      for (int c = 0; c < d; ++c) {
        const float* row = &down[(static_cast<size_t>(expert) * d + c) * width];
        double sum = 0;
        for (int i = 0; i < width; ++i) sum += hidden[i] * row[i];
        out[static_cast<size_t>(t) * d + c] += weight * sum;
      }
    }
  }
  return out;
}

SampleOracleResult SampleOracle(const std::vector<double>& logits, double temperature,
                                double uniform, int32_t token_or_negative) {
  const double scale = temperature == 0 ? 1 : 1 / temperature;
  const auto best = std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp((logit - *best) * scale);
  SampleOracleResult result;
  result.token = static_cast<int32_t>(best - logits.begin());
  if (token_or_negative >= 0) {
    result.token = token_or_negative;
  } else if (temperature != 0) {
    double sum = 0;
    for (size_t v = 0; v < logits.size(); ++v) {
      result.token = static_cast<int32_t>(v);
      sum += std::exp((logits[v] - *best) * scale) / total;
      if (sum > uniform) break;
    }
  }
  for (int32_t v = 0; v < result.token; ++v)
    result.before += std::exp((logits[v] - *best) * scale) / total;
  result.after = result.before + std::exp((logits[result.token] - *best) * scale) / total;
  result.logprob = (logits[result.token] - *best) * scale - std::log(total);
  return result;
}

std::vector<double> AttentionOracle(const AttentionOracleArgs& args) {
  std::vector<double> weights;
  for (const float* key : args.keys)
    weights.push_back(Dot(args.q, key, args.key_width) * args.scale);
  const double highest = *std::max_element(weights.begin(), weights.end());
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - highest);
  std::vector<double> out(args.value_width);
  for (size_t t = 0; t < args.values.size(); ++t) {
    for (int c = 0; c < args.value_width; ++c) out[c] += weights[t] / total * args.values[t][c];
  }
  return out;
}

}  // namespace r1::kernels
