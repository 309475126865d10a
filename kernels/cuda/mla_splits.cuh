// What the kernels of MlaDecodeBf16Sm90 agree on: how a sequence's context is cut into splits, what
// of a split goes through the workspace, and how the items of a launch are counted.
#pragma once

#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {

inline constexpr int kMlaLatentTiles = kLatentChannels / 64;
inline constexpr float kMlaLog2E = 1.4426950408889634f;
// Stands for minus infinity, so that differences of two of them are numbers.
inline constexpr float kMlaLowest = -1e30f;

// Sums of a split for one row, relative to 2^highest.
struct MlaRowState {
  float highest;
  float mass;
};

struct MlaSplitArgs {
  MlaDecodeBf16Args call;
  float* sums;  // [B][splits_max][H, L], relative to each row's highest score and not yet divided
                // by its mass
  MlaRowState* states;  // [B][splits_max][H]
  int splits_max;       // of a sequence, its prefix's included

  // Of sums and states.
  __device__ int64_t Row(int sequence, int split, int head) const {
    return (int64_t{sequence} * splits_max + split) * call.heads + head;
  }
};

// How a sequence is cut: its prefix into splits, then the rest. The same whether the prefix is
// shared or not.
struct MlaCuts {
  int prefix;
  int context;
  int prefix_splits;
  int splits;

  __device__ MlaCuts(const MlaDecodeBf16Args& call, int sequence)
      : prefix(call.prefix_tokens == nullptr ? 0 : call.prefix_tokens[sequence / call.group_size]),
        context(call.contexts[sequence]),
        prefix_splits(DivideUp(prefix, call.split_tokens)),
        splits(prefix_splits + DivideUp(context - prefix, call.split_tokens)) {}
};

// first_item[u] = items of the units before u, with first_item[units] all of them, where unit u has
// items(u). By a whole block of `threads`.
template <typename Items>
__device__ __forceinline__ void CountMlaItems(int units, int threads, int* first_item,
                                              Items items) {
  for (int unit = threadIdx.x; unit < units; unit += threads) first_item[unit] = items(unit);
  __syncthreads();
  if (threadIdx.x < 32) {
    const int share = DivideUp(units, 32);
    const int begin = min(static_cast<int>(threadIdx.x) * share, units);
    const int end = min(begin + share, units);
    int own = 0;
    for (int unit = begin; unit < end; ++unit) own += first_item[unit];
    int total;
    int before = WarpPrefix(own, &total);
    for (int unit = begin; unit < end; ++unit) {
      const int count = first_item[unit];
      first_item[unit] = before;
      before += count;
    }
    if (threadIdx.x == 0) first_item[units] = total;
  }
  __syncthreads();
}

// The unit of an item that exists.
__device__ __forceinline__ int UnitOfMlaItem(const int* first_item, int units, int item) {
  int low = 0;
  for (int high = units; high - low > 1;) {
    const int middle = (low + high) / 2;
    (first_item[middle] <= item ? low : high) = middle;
  }
  return low;
}

}  // namespace r1::kernels
