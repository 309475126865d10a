// The vector of simd_avx512_bf16.h with the tile registers of AMX.
//
// Included only by *_bf16_amx.cc. Not the compiler's intrinsics: those of g++ 12 take a register's
// number as a literal only, and do not say that they read memory.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/tile_amx.h"

namespace r1::kernels {

struct AmxBf16 : Avx512Bf16 {
  static constexpr bool kHasTiles = true;

  struct Tiles {
    static void Configure(const TileConfig& config) {
      asm volatile("ldtilecfg %0" : : "m"(config));
    }
    static void Release() { asm volatile("tilerelease"); }
    template <int kTile>
    static void Clear() {
      asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
    }
    template <int kTile>
    static void Load(const void* rows, int64_t stride_bytes) {
      asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
                   :
                   : "r"(rows), "r"(stride_bytes), "i"(kTile)
                   : "memory");
    }
    template <int kTile>
    static void Store(void* rows, int64_t stride_bytes) {
      asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
                   :
                   : "r"(rows), "r"(stride_bytes), "i"(kTile)
                   : "memory");
    }
    template <int kSums, int kLeft, int kRight>
    static void AddProducts() {
      asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                   :
                   : "i"(kSums), "i"(kLeft), "i"(kRight));
    }
  };
};

}  // namespace r1::kernels
