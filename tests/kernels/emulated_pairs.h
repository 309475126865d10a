// Vector types of kernels/cpu with the pairs of Avx512Bf16 by two fused multiply-adds, the odd one
// first, that know no denormals; and with the tiles of AmxBf16.
#pragma once

#include "common/dtype.h"
#include "kernels/cpu/moe_experts_fp32.h"
#include "kernels/cpu/sample_head_fp32.h"
#include "tests/kernels/emulated_tiles.h"
#include "tests/kernels/pairs_under_test.h"

namespace r1::kernels {

template <class V>
struct EmulatedPairs : V {
  static constexpr bool kMultipliesPairs = true;

  using F = typename V::F;
  struct Pairs {
    F even, odd;
  };

  static Pairs LoadPanelPairs(const Bf16* p) {
    Pairs pairs;
    V::LoadPairs(p, pairs.even, pairs.odd);
    return {Normal(pairs.even), Normal(pairs.odd)};
  }
  static Pairs SetPair(const Bf16* p) {
    return {Normal(V::Set1(Widen(p[0]))), Normal(V::Set1(Widen(p[1])))};
  }
  static F AddPairs(F sum, Pairs x, Pairs w) {
    return Normal(V::MulAdd(x.even, w.even, Normal(V::MulAdd(x.odd, w.odd, sum))));
  }
  static void RoundFirst(const float* x, int n, Bf16* rounded) {
    alignas(64) float normal[16];
    V::Store(normal, Normal(V::LoadFirst(x, n)));
    for (int i = 0; i < 16; ++i) rounded[i] = Bf16{FloatToBf16(normal[i])};
  }

 private:
  // Denormal lanes become zeros of their sign.
  static F Normal(F a) {
    const F magnitude = V::Max(a, V::Sub(V::Zero(), a));
    return V::Select(V::Less(magnitude, V::Set1(0x1p-126f)), V::Mul(a, V::Zero()), a);
  }
};

template <class V>
struct EmulatedAmx : EmulatedPairs<V> {
  static constexpr bool kHasTiles = true;

  using Tiles = EmulatedTiles;
};

template <class E>
constexpr PairKernels MakePairKernels(const char* name) {
  return {.name = name,
          .matmul = MatmulFp32<E>,
          .swiglu = SwigluFp32<E>,
          .moe_experts = MoeExpertsFp32<E>,
          .sample_head = SampleHeadFp32<E>,
          .scan_vocab = ScanVocabFp32<E>,
          .draw_tokens = DrawTokensFp32<E>};
}

}  // namespace r1::kernels
