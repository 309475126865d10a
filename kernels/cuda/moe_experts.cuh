// What the kernels of MoeExpertsBf16Sm90 share: where things lie in the workspace, and what a
// launch is told.
#pragma once

#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "kernels/cuda/moe_plan.h"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {

// The counters must be zero before the first use; each call leaves them so.
struct MoeWorkspace {
  // [token tiles]: shares of the tile that are done, first of its tokens' copy where there is one,
  // then of gate-up, then of down
  unsigned* progress;
  MoePlan plan;
  int* place_token;        // [places]: token of each place
  int* token_places;       // [T, A + S]: places of each token, routed first
  __nv_bfloat16* hidden;   // [places, I]
  __nv_bfloat16* results;  // [places, D]; wide tiles: until then the places' tokens
  int64_t bytes;
};

struct MoeKernelArgs {
  MoeExpertsBf16Args call;
  MoeWorkspace space;
  MoeTiling tiling;
  sm90::StreamShape stream;
  unsigned gate_up_begin;  // progress of a token tile whose tokens are copied
  unsigned down_begin;     // whose SwiGLU results are complete, too
  unsigned end;            // and its results
  int own_places;          // places of the work list if every block builds it, otherwise 0
};

// One more share of a token tile is done, by a thread that knows it to be; wraps to zero behind the
// last one.
__device__ __forceinline__ void CountMoeShare(const MoeKernelArgs& args, int token_tile) {
  __threadfence();
  atomicInc(&args.space.progress[token_tile], args.end - 1);
}

}  // namespace r1::kernels
