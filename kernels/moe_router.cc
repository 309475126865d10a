#include "kernels/moe_router.h"

#include <algorithm>
#include <limits>

namespace r1::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Index of the highest value, the lowest index among equals.
int Highest(const float* values, int count) {
  int best = 0;
  for (int i = 1; i < count; ++i) {
    if (values[i] > values[best]) best = i;
  }
  return best;
}

float SumOfTopTwo(const float* values, int count) {
  float first = kMinusInfinity;
  float second = kMinusInfinity;
  for (int i = 0; i < count; ++i) {
    if (values[i] > first) {
      second = first;
      first = values[i];
    } else if (values[i] > second) {
      second = values[i];
    }
  }
  return count == 1 ? first : first + second;
}

}  // namespace

void KeepBestGroups(const MoeRouterArgs& args, float* choices) {
  if (args.groups_kept == args.groups) return;
  const int group_size = args.router.n / args.groups;
  float scores[kExpertsMax];
  bool keep[kExpertsMax] = {};
  for (int g = 0; g < args.groups; ++g) {
    const float* group = choices + g * group_size;
    scores[g] = args.gate == RouterGate::kSoftmax ? group[Highest(group, group_size)]
                                                  : SumOfTopTwo(group, group_size);
  }
  for (int i = 0; i < args.groups_kept; ++i) {
    const int best = Highest(scores, args.groups);
    keep[best] = true;
    scores[best] = kMinusInfinity;
  }
  for (int g = 0; g < args.groups; ++g) {
    if (!keep[g]) std::fill_n(choices + g * group_size, group_size, kMinusInfinity);
  }
}

void WeighExperts(const MoeRouterArgs& args, const float* scores, const int32_t* experts,
                  float* weights) {
  float sum = 0;
  for (int a = 0; a < args.active; ++a) sum += scores[experts[a]];
  const float scale = args.normalize ? args.scaling / (sum + 1e-20f) : args.scaling;
  for (int a = 0; a < args.active; ++a) weights[a] = scores[experts[a]] * scale;
}

void ChooseExperts(const MoeRouterArgs& args, const float* scores, int32_t* experts,
                   float* weights) {
  const int expert_count = args.router.n;
  float choices[kExpertsMax];
  for (int e = 0; e < expert_count; ++e) {
    choices[e] = args.gate == RouterGate::kSoftmax ? scores[e] : scores[e] + args.bias[e];
  }
  KeepBestGroups(args, choices);
  for (int a = 0; a < args.active; ++a) {
    experts[a] = Highest(choices, expert_count);
    choices[experts[a]] = kMinusInfinity;
  }
  std::sort(experts, experts + args.active);
  WeighExperts(args, scores, experts, weights);
}

}  // namespace r1::kernels
