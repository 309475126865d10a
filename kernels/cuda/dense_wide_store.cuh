// How a warpgroup's results of a wide tile leave: transposed into shared memory, from there by the
// copy engine, while the next tile is multiplied.
#pragma once

#include "kernels/cuda/dense_tile.cuh"

namespace r1::kernels {

inline constexpr int kStoreGroupTokens = 8;  // what one copy takes

// Bytes that the two warpgroups need, at a multiple of 1024: 64 a token of each, so that results
// without SwiGLU leave in two halves.
template <int kN>
constexpr int kWideStoreBytes = 2 * kN * 64;

// Sums of 64 rows and kN tokens to y, rounded; or 32 results of silu(gate) * up.
template <int kN>
class WideStore {
 public:
  // `y`: a store map of 64 columns, or, with SwiGLU, of 32.
  __device__ WideStore(const DenseBf16Args& call, const CUtensorMap& y, uint32_t memory,
                       int warpgroup)
      : call_(call),
        y_(y),
        memory_(memory + warpgroup * (kWideStoreBytes<kN> / 2)),
        warpgroup_(warpgroup) {}

  __device__ void Store(const DenseTile& tile, const float (&sums)[1][kN / 2]) const {
    const int row = tile.row_begin + warpgroup_ * 64;
    const int column = tile.matrix * static_cast<int>(call_.y_matrix_stride);
    const bool any = warpgroup_ * 64 < tile.rows;
    if (call_.swiglu) {
      WaitForMemory();
      PlaceSwiglu(sums[0]);
      Send<512>(any ? tile.tokens : 0, column + row / 2, tile.token_begin);
    } else {
      constexpr int kHalf = kN / 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        WaitForMemory();
        PlaceHalf(sums[0], half);
        Send<1024>(any ? tile.tokens - half * kHalf : 0, column + row,
                   tile.token_begin + half * kHalf);
      }
    }
  }

  // At the end.
  __device__ void Finish() const {
    if (Sends()) sm90::StoreWait();
  }

 private:
  // One warp sends, a lane a group of tokens.
  __device__ bool Sends() const { return threadIdx.x / 32 % 4 == 0; }
  __device__ void Synchronize() const {
    sm90::NamedBarrierSync(1 + warpgroup_, sm90::kWarpgroupThreads);
  }

  __device__ void WaitForMemory() const {
    if (Sends()) sm90::StoreWaitRead();
    Synchronize();
  }

  // Four matrices at a time: both halves of the warp's 16 rows for two groups of tokens.
  __device__ void PlaceHalf(const float (&sums)[kN / 2], int half) const {
    const int lane = threadIdx.x % 32;
    const int piece = static_cast<int>(threadIdx.x) / 32 % 4 * 2 + lane / 8 % 2;
    const uint32_t target =
        memory_ + lane / 16 * 1024 + lane % 8 * 128 + SwizzledPiece(lane, piece) * 16;
#pragma unroll
    for (int j = 0; j < kN / 16; j += 2) {
      uint32_t fragments[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const sum = &sums[(half * (kN / 16) + j) * 4 + 2 * i];
        fragments[i] = sm90::PackBf16(sum[0], sum[1]);
      }
      sm90::StoreMatricesTransposed(target + j * 1024, fragments);
    }
  }

  // The warp's 8 columns for four groups of tokens at a time.
  __device__ void PlaceSwiglu(const float (&sums)[kN / 2]) const {
    const int lane = threadIdx.x % 32;
    const int piece = static_cast<int>(threadIdx.x) / 32 % 4 ^ lane % 8 / 2;
    const uint32_t target = memory_ + lane / 8 * 512 + lane % 8 * 64 + piece * 16;
#pragma unroll
    for (int j = 0; j < kN / 8; j += 4) {
      uint32_t fragments[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const sum = &sums[(j + i) * 4];
        fragments[i] = sm90::PackBf16(sm90::Silu(sum[0]) * sum[2], sm90::Silu(sum[1]) * sum[3]);
      }
      sm90::StoreMatricesTransposed(target + j * 512, fragments);
    }
  }

  // `tokens` of those placed, perhaps none or more than there are.
  template <int kGroupBytes>
  __device__ void Send(int tokens, int column, int token) const {
    constexpr int kGroups = kWideStoreBytes<kN> / 2 / kGroupBytes;
    static_assert(kGroups <= 32);
    sm90::FenceAsyncProxy();
    Synchronize();
    if (!Sends()) return;
    const int group = threadIdx.x % 32;
    if (group < kGroups && group * kStoreGroupTokens < tokens) {
      sm90::TensorStore(&y_, memory_ + group * kGroupBytes, column,
                        token + group * kStoreGroupTokens);
    }
    sm90::StoreCommit();
  }

  const DenseBf16Args& call_;
  const CUtensorMap& y_;
  const uint32_t memory_;
  const int warpgroup_;
};

}  // namespace r1::kernels
