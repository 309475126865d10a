// moe_router.h on the vectors of simd_*.h.
#pragma once

#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/moe_router.h"

namespace r1::kernels {

// The place of the highest of `count` choices (a multiple of 16), the lowest place among equals; it
// is then set to -inf.
template <class V>
int TakeHighest(float* choices, int count) {
  typename V::F highest = V::Load(choices);
  for (int e = 16; e < count; e += 16) highest = V::Max(highest, V::Load(choices + e));
  const typename V::F best = V::Set1(V::ReduceMax(highest));
  for (int e = 0; e < count; e += 16) {
    const unsigned equal = V::EqualLanes(V::Load(choices + e), best);
    if (equal == 0) continue;
    const int place = e + __builtin_ctz(equal);
    choices[place] = -__builtin_inff();
    return place;
  }
  return 0;  // the highest is not a number
}

// Turns the logits of a token into its scores, and fills its choices. Both arrays have room up to a
// multiple of 16; choices of the places behind the last expert become -inf.
template <class V>
void SigmoidChoices(const MoeRouterArgs& args, float* logits, float* choices) {
  for (int e = 0; e < args.router.n; e += 16) {
    const int lanes = args.router.n - e < 16 ? args.router.n - e : 16;
    const typename V::F exponential = Exp<V>(V::Sub(V::Zero(), V::Load(logits + e)));
    const typename V::F score = V::Div(V::Set1(1.0f), V::Add(V::Set1(1.0f), exponential));
    const typename V::F choice = V::Add(score, V::LoadFirst(args.bias + e, lanes));
    V::Store(logits + e, score);
    V::Store(choices + e, V::Select(V::FirstLanes(lanes), choice, V::Set1(-__builtin_inff())));
  }
}

template <class V>
void SoftmaxChoices(const MoeRouterArgs& args, float* logits, float* choices) {
  using F = typename V::F;
  const F nothing = V::Set1(-__builtin_inff());
  F highest = nothing;
  for (int e = 0; e < args.router.n; e += 16) {
    const int lanes = args.router.n - e < 16 ? args.router.n - e : 16;
    const F logit = V::Select(V::FirstLanes(lanes), V::Load(logits + e), nothing);
    V::Store(logits + e, logit);
    highest = V::Max(highest, logit);
  }
  const F maximum = V::Set1(V::ReduceMax(highest));
  F sum = V::Zero();
  for (int e = 0; e < args.router.n; e += 16) {
    const F exponential = Exp<V>(V::Sub(V::Load(logits + e), maximum));
    V::Store(logits + e, exponential);
    sum = V::Add(sum, exponential);
  }
  const F inverse = V::Set1(1.0f / V::ReduceAdd(sum));
  for (int e = 0; e < args.router.n; e += 16) {
    const int lanes = args.router.n - e < 16 ? args.router.n - e : 16;
    const F score = V::Mul(V::Load(logits + e), inverse);
    V::Store(logits + e, score);
    V::Store(choices + e, V::Select(V::FirstLanes(lanes), score, nothing));
  }
}

// ChooseExperts from the logits of a token, which become its scores.
template <class V>
void RouteToken(const MoeRouterArgs& args, float* logits, float* choices, int32_t* experts,
                float* weights) {
  const int count = (args.router.n + 15) / 16 * 16;
  if (args.gate == RouterGate::kSoftmax) {
    SoftmaxChoices<V>(args, logits, choices);
  } else {
    SigmoidChoices<V>(args, logits, choices);
  }
  KeepBestGroups(args, choices);
  for (int a = 0; a < args.active; ++a) {
    const int expert = TakeHighest<V>(choices, count);
    int place = a;  // keep them sorted
    for (; place > 0 && experts[place - 1] > expert; --place) experts[place] = experts[place - 1];
    experts[place] = expert;
  }
  WeighExperts(args, logits, experts, weights);
}

template <class V>
void MoeRouterFp32(const MoeRouterArgs& args) {
  constexpr int kRows = V::kTileRows;
  alignas(64) float logits[kRows][kExpertsMax];
  alignas(64) float choices[kExpertsMax];
  for (int first = 0; first < args.token_count; first += kRows) {
    const int rows = args.token_count - first < kRows ? args.token_count - first : kRows;
    MatmulFp32<V>({.x = args.x + first * args.x_stride,
                   .x_stride = args.x_stride,
                   .w = args.router,
                   .y = logits[0],
                   .y_stride = kExpertsMax,
                   .m = rows});
    for (int r = 0; r < rows; ++r) {
      const int64_t slot = int64_t{first + r} * args.active;
      RouteToken<V>(args, logits[r], choices, args.experts + slot, args.weights + slot);
    }
  }
}

}  // namespace r1::kernels
