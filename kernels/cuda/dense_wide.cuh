// How products of many tokens get their operands, for kernels of the kind of DenseWideBf16Sm90. A
// cluster walks the tiles, two blocks on a tile's 256 rows and, in a cluster of four, two token
// tiles at a time. One thread of each block requests the block's weights, which do not depend on
// the kernel before; another waits for that kernel and then requests tokens. What two blocks need,
// each requests half of for both, also where it has no rows or tokens of its own.
#pragma once

#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {

struct WideArgs {
  DenseBf16Args call;  // its operands and sizes
  DenseTiling tiling;  // wide
  sm90::StreamShape stream;
  CUtensorMap x;
};

// Sets stream and x for tiles of up to kN tokens, beside `reserved` bytes of shared memory.
template <typename Kind, int kN>
cudaError_t PlaceWide(int reserved, WideArgs* args) {
  const DenseBf16Args& call = args->call;
  const int columns = static_cast<int>((call.matrices - 1) * call.x_matrix_stride) + call.columns;
  args->stream = sm90::FitStream<Kind>(kN, reserved);
  return MakeTensorMap(call.x, call.tokens, columns, call.x_stride, kN / 2, &args->x);
}

// By one thread.
template <typename Kind>
__device__ __forceinline__ void RequestWideWeights(const WideArgs& args, sm90::Ring<Kind> ring) {
  static_assert(Kind::kRows == kPackedBlockRows && 2 * kPackedBlockRows == kDenseWideTileRows);
  constexpr int kBlocks = Kind::kBlocks;
  constexpr int kOwnBytes = kBlocks == 4 ? kPackedBlockBytes / 2 : kPackedBlockBytes;
  const DenseBf16Args& call = args.call;
  // Tiles of other tokens come back for the same weights.
  const uint64_t policy =
      args.tiling.token_tiles == 1 ? sm90::PolicyEvictFirst() : sm90::PolicyEvictNormal();
  const int64_t matrix_bytes = PackedBytes(call.rows, call.columns);
  const auto rank = static_cast<int>(sm90::ClusterRank());
  const int own = rank / 2 * kOwnBytes;
  const auto sharers = static_cast<uint16_t>(5 << rank % 2);
  DenseCursor<kBlocks> cursor(call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const uint8_t* source = call.weights + tile.matrix * matrix_bytes +
                            PackedRowOffset(tile.row_begin, tile.block_begin, call.columns) + own;
    for (int block = 0; block < tile.blocks; ++block) {
      ring.WaitEmpty();
      if (tile.rows > 0) {
        // Packed rows come in whole blocks.
        sm90::BarrierArriveExpectBytes(ring.full(), kPackedBlockBytes);
        if constexpr (kBlocks == 4) {
          sm90::BulkCopyToCluster(ring.weights() + own, source, kOwnBytes, ring.full(), sharers,
                                  policy);
        } else {
          sm90::BulkCopy(ring.weights(), source, kOwnBytes, ring.full(), policy);
        }
      } else {
        sm90::BarrierArrive(ring.full());
      }
      source += kPackedBlockBytes;
      ring.Advance();
    }
  }
}

// By another thread, when x is complete.
template <typename Kind, int kN>
__device__ __forceinline__ void RequestWideTokens(const WideArgs& args, sm90::Ring<Kind> ring) {
  const auto rank = static_cast<int>(sm90::ClusterRank());
  const int half = rank % 2 * kN / 2;
  const auto sharers = static_cast<uint16_t>(3 << rank / 2 * 2);
  DenseCursor<Kind::kBlocks> cursor(args.call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const int first_column = tile.matrix * static_cast<int>(args.call.x_matrix_stride) +
                             tile.block_begin * kPackedBlockColumns;
    for (int block = 0; block < tile.blocks; ++block) {
      ring.WaitEmpty();
      sm90::BarrierArriveExpectBytes(ring.full(), kN * kPackedRowBytes);
      sm90::TensorCopyToCluster(ring.tokens() + half * kPackedRowBytes, &args.x,
                                first_column + block * kPackedBlockColumns, tile.token_begin + half,
                                ring.full(), sharers);
      ring.Advance();
    }
  }
}

}  // namespace r1::kernels
