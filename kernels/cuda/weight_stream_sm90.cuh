// The core that the matrix kernels for decoding share: packed weights stream through a ring of
// shared-memory stages while warpgroups multiply them with the rows of a few tokens, weight
// rows on the 64-wide side of wgmma and tokens on the other, so that one token wastes no bandwidth
// and 128 tokens keep the tensor cores busy.
//
// Warp 0 of a block requests weights, warps 1 and 2 gather token rows, warp 3 hands them over, two
// or four more warpgroups multiply. Each role walks the same list of tiles by itself, so weights of
// the next tile are requested while the last one is finished.
//
// Every output element is one chain over the columns in steps of 16, whatever the number of tokens
// in the tile, the place of its token and the kind of tile: bits do not depend on the batch.
#pragma once

#include "kernels/cuda/fp8_sm90.cuh"
#include "kernels/cuda/packed_layout.h"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels::sm90 {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kStreamThreads = 3 * kWarpgroupThreads;
inline constexpr int kGatherThreads = 64;
inline constexpr int kTileTokensMax = 128;
inline constexpr int kFp8TokensOfWarps = 16;  // up to here FP8 weights are multiplied warp by warp
inline constexpr int kStagesMax = 32;
inline constexpr int kSharedBytesMax = 227 << 10;
inline constexpr int kRingBarrierBytes = (3 * kStagesMax + 2) * 8;

// A kind of tile. A thread's sums are kRowTiles * tokens / 2 registers, at most 128; or 32 where
// there are four warpgroups, whose threads have half the registers.
//   kRowTilesOfGroup  64-row tiles that one warpgroup multiplies, at most 2
//   kInTurn           two warpgroups take whole tiles in turn, bf16 ones, so that one stores its
//                     results while the other multiplies; otherwise they share the rows of each
//   kBlocks           blocks of a cluster that share what they read: 1, 2 or, in two pairs, 4
//   kFp8              weights are FP8 (fp8_layout.h), otherwise bf16
//   kGroups           warpgroups that multiply: 2, or 4 where they share the rows
template <int kRowTilesOfGroup, bool kInTurn_, int kBlocks_, bool kFp8_ = false, int kGroups_ = 2>
struct TileKind {
  static constexpr int kRowTiles = kRowTilesOfGroup;
  static constexpr bool kInTurn = kInTurn_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr bool kFp8 = kFp8_;
  static constexpr int kGroups = kGroups_;
  static_assert(!kInTurn || (!kFp8 && kGroups == 2));
  static constexpr int kThreads = (1 + kGroups) * kWarpgroupThreads;
  static constexpr int kTokensMax = kGroups == 2 ? kTileTokensMax : 64;
  static constexpr int kRows = 64 * kRowTiles * (kInTurn ? 1 : kGroups);
  static constexpr int kRowTileBytes = kFp8 ? kFp8TileBytes : 64 * kPackedRowBytes;
  static constexpr int kWarpgroupsOfTile = kInTurn ? 1 : kGroups;
  // Blocks that wait for a stage of this one to be free: it, and one of each pair that it is in.
  static constexpr int kFillers = kBlocks == 4 ? 3 : kBlocks;

  // Which 64-row tile of the tile is sums[r].
  static __device__ constexpr int RowTile(int r, int warpgroup) {
    return kInTurn ? r : kGroups * r + warpgroup;
  }
};

// One stage holds 64 columns: `weight_bytes` of weight rows and `token_bytes` of token rows. All
// stages' weights come first.
struct StreamShape {
  int stages;
  int weight_bytes;
  int token_bytes;

  R1_HOST_DEVICE int tokens_offset() const { return DivideUp(stages * weight_bytes, 1024) * 1024; }
  R1_HOST_DEVICE int bytes() const { return tokens_offset() + stages * token_bytes; }
};

// As many stages as fit beside `reserved` bytes. token_rows is the most tokens of a tile.
template <typename Kind>
StreamShape FitStream(int token_rows, int reserved) {
  StreamShape shape = {.stages = 0,
                       .weight_bytes = Kind::kRows / 64 * Kind::kRowTileBytes,
                       .token_bytes = (token_rows + 7) / 8 * 8 * kPackedRowBytes};
  shape.stages = kStagesMax;
  while (shape.bytes() > kSharedBytesMax - reserved) --shape.stages;
  return shape;
}

// Of a gate's sum.
__device__ __forceinline__ float Silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

// A role's position in the ring.
template <typename Kind>
class Ring {
 public:
  // The stages begin at `stages`, a multiple of 1024; the barriers at `barriers`, kRingBarrierBytes
  // of them.
  __device__ Ring(const StreamShape& shape, uint32_t stages, uint32_t barriers)
      : shape_(shape), stages_(stages), barriers_(barriers) {}

  // By one thread, before the first barrier of the block, or of the cluster.
  __device__ void InitBarriers() const {
    for (int stage = 0; stage < shape_.stages; ++stage) {
      BarrierInit(barriers_ + stage * 8, 2);
      BarrierInit(barriers_ + (kStagesMax + stage) * 8,
                  4 * Kind::kWarpgroupsOfTile * Kind::kFillers);
      BarrierInit(barriers_ + (2 * kStagesMax + stage) * 8, kGatherThreads);
    }
    BarrierInit(turn(0), 4);
    BarrierInit(turn(1), 4);
    BarrierInitFence();
  }

  __device__ uint32_t weights() const { return stages_ + stage_ * shape_.weight_bytes; }
  __device__ uint32_t tokens() const {
    return stages_ + shape_.tokens_offset() + stage_ * shape_.token_bytes;
  }
  __device__ uint32_t full() const { return barriers_ + stage_ * 8; }
  __device__ uint32_t empty() const { return barriers_ + (kStagesMax + stage_) * 8; }
  // The stage's token rows have landed, but the tensor cores may not read them yet.
  __device__ uint32_t landed() const { return barriers_ + (2 * kStagesMax + stage_) * 8; }
  __device__ void WaitLanded() const { BarrierWait(landed(), phase_); }
  __device__ void WaitFull() const { BarrierWait(full(), phase_); }
  __device__ void WaitEmpty() const { BarrierWait(empty(), phase_ ^ 1); }

  __device__ void Advance() {
    if (++stage_ == shape_.stages) {
      stage_ = 0;
      phase_ ^= 1;
    }
  }
  // Past stages that are for the other warpgroup.
  __device__ void Skip(int stages) {
    const int next = stage_ + stages;
    stage_ = next % shape_.stages;
    phase_ ^= next / shape_.stages & 1;
  }

  // A warpgroup waits here before its tile, and passes the turn on when it has seen all of the
  // tile's stages full. Without that it could take a stage's use before the last for its own:
  // barriers tell even from odd uses only.
  __device__ void WaitTurn(int warpgroup) {
    BarrierWait(turn(warpgroup), turn_phase_ ^ (warpgroup == 0 ? 1 : 0));
    turn_phase_ ^= 1;
  }
  // By one thread a warp.
  __device__ void PassTurn(int warpgroup) const { BarrierArrive(turn(warpgroup ^ 1)); }

  // By one thread a warp: whoever fills the stage with this `empty` barrier may do so.
  static __device__ void Release(uint32_t empty) {
    BarrierArrive(empty);
    if constexpr (Kind::kBlocks >= 2) BarrierArriveAt(empty, ClusterRank() ^ 1);
    if constexpr (Kind::kBlocks == 4) BarrierArriveAt(empty, ClusterRank() ^ 2);
  }

 private:
  __device__ uint32_t turn(int warpgroup) const {
    return barriers_ + (3 * kStagesMax + warpgroup) * 8;
  }

  const StreamShape shape_;
  const uint32_t stages_;
  const uint32_t barriers_;
  int stage_ = 0;
  uint32_t phase_ = 0;
  uint32_t turn_phase_ = 0;
};

// Requests `blocks` blocks of columns of the rows [row_begin, row_end) of a packed matrix, from
// `packed` on, which is the matrix or one of its first row's blocks. Both rows are multiples of 8.
// By one thread.
template <typename Kind>
__device__ __forceinline__ void StreamWeights(Ring<Kind>& ring, const uint8_t* packed, int columns,
                                              int blocks, int row_begin, int row_end,
                                              uint64_t policy) {
  static_assert(Kind::kBlocks == 1 && Kind::kRows <= kPackedBlockRows);
  // Rows are in one piece up to the end of their packed block. This one thread sets the pace of
  // narrow tiles, so the loop has nothing else to work out.
  const int piece_end = row_begin / kPackedBlockRows * kPackedBlockRows + kPackedBlockRows;
  const int first_end = row_end < piece_end ? row_end : piece_end;
  const int first_bytes = (first_end - row_begin) * kPackedRowBytes;
  const int second_bytes = (row_end - piece_end) * kPackedRowBytes;
  const uint8_t* first = packed + PackedRowOffset(row_begin, 0, columns);
  const uint8_t* second = packed + PackedRowOffset(piece_end, 0, columns);
  const uint32_t all_bytes = (row_end - row_begin) * kPackedRowBytes;
  for (int block = 0; block < blocks; ++block) {
    ring.WaitEmpty();
    BarrierArriveExpectBytes(ring.full(), all_bytes);
    if (first_bytes > 0) BulkCopy(ring.weights(), first, first_bytes, ring.full(), policy);
    if (second_bytes > 0)
      BulkCopy(ring.weights() + first_bytes, second, second_bytes, ring.full(), policy);
    first += kPackedBlockBytes;
    second += kPackedBlockBytes;
    ring.Advance();
  }
}

// The same of a matrix in FP8, blocks of columns [begin, end), for the tile of Kind::kRows rows at
// row_begin, a multiple of them.
template <typename Kind>
__device__ __forceinline__ void StreamFp8Weights(Ring<Kind>& ring, const uint8_t* packed,
                                                 int columns, int begin, int end, int row_begin,
                                                 uint64_t policy) {
  static_assert(Kind::kBlocks == 1);
  constexpr int kPieceRows = Kind::kRows < kPackedBlockRows ? Kind::kRows : kPackedBlockRows;
  constexpr int kPieceBytes = kPieceRows / kFp8TileRows * kFp8TileBytes;
  constexpr int kPieces = Kind::kRows / kPieceRows;
  const uint8_t* source = packed + Fp8TileOffset(row_begin, 0, columns) + begin * 2 * kFp8TileBytes;
  const int64_t row_block_bytes = Fp8PackedBytes(kPackedBlockRows, columns);
  for (int block = begin; block < end; ++block) {
    ring.WaitEmpty();
    BarrierArriveExpectBytes(ring.full(), kPieces * kPieceBytes);
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      BulkCopy(ring.weights() + piece * kPieceBytes, source + piece * row_block_bytes, kPieceBytes,
               ring.full(), policy);
    }
    source += 2 * kFp8TileBytes;
    ring.Advance();
  }
}

// StreamTokens for at most 8 * kPasses tokens.
template <int kPasses, typename Kind, typename RowOffset>
__device__ __forceinline__ void StreamTokensInPasses(Ring<Kind>& ring, const void* rows,
                                                     int columns, int tokens, int thread,
                                                     RowOffset row_offset) {
  constexpr int kPieces = kPackedRowBytes / 16;
  constexpr int kRowsAtOnce = kGatherThreads / kPieces;
  const int piece = thread % kPieces;
  const int first_row = thread / kPieces;
  uint32_t offsets[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = first_row + pass * kRowsAtOnce;
    offsets[pass] = row < tokens ? row_offset(row) : 0;
  }
  const auto* source = static_cast<const uint8_t*>(rows) + piece * 16;
  const uint32_t target = first_row * kPackedRowBytes + SwizzledPiece(first_row, piece) * 16;
  for (int block = 0; block < columns / kPackedBlockColumns; ++block) {
    ring.WaitEmpty();
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (first_row + pass * kRowsAtOnce < tokens) {
        CopyAsync16(ring.tokens() + target + pass * kRowsAtOnce * kPackedRowBytes,
                    source + uint64_t{offsets[pass]} * 16);
      }
    }
    CopyAsyncArrive(ring.landed());
    source += kPackedRowBytes;
    ring.Advance();
  }
}

// Gathers rows of `columns` bf16 into the ring: row i is at rows + row_offset(i) * 16 bytes. By
// kGatherThreads threads, thread = 0 … kGatherThreads - 1. Stages keep stale rows from `tokens` on:
// they only reach columns that nobody stores.
template <typename Kind, typename RowOffset>
__device__ __forceinline__ void StreamTokens(Ring<Kind>& ring, const void* rows, int columns,
                                             int tokens, int thread, RowOffset row_offset) {
  static_assert(kTileTokensMax == 8 * 16);
  if (tokens <= 8) {
    StreamTokensInPasses<1>(ring, rows, columns, tokens, thread, row_offset);
  } else if (tokens <= 32) {
    StreamTokensInPasses<4>(ring, rows, columns, tokens, thread, row_offset);
  } else {
    StreamTokensInPasses<Kind::kTokensMax / 8>(ring, rows, columns, tokens, thread, row_offset);
  }
}

// Hands gathered token rows over to the tensor cores, which need a fence between ordinary copies
// and their own reads. By one thread that has nothing else under way: there the fence costs
// nothing.
template <typename Kind>
__device__ __forceinline__ void PublishTokens(Ring<Kind>& ring, int columns) {
  for (int block = 0; block < columns / kPackedBlockColumns; ++block) {
    ring.WaitLanded();
    FenceAsyncProxy();
    BarrierArrive(ring.full());
    ring.Advance();
  }
}

// sums += the products of a stage, bf16 weights. Then the stage before, `*previous_empty` unless 0,
// can be refilled.
template <typename Kind, int kN>
__device__ __forceinline__ void MultiplyStage(Ring<Kind>& ring, int warpgroup,
                                              uint32_t* previous_empty,
                                              float (&sums)[Kind::kRowTiles][kN / 2]) {
  ring.WaitFull();
  const uint32_t tokens = TileDescriptor(ring.tokens());
  const uint32_t weights = TileDescriptor(ring.weights());
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kPackedBlockColumns / 16; ++k) {
#pragma unroll
    for (int r = 0; r < Kind::kRowTiles; ++r) {
      Wgmma<kN>(sums[r], weights + Kind::RowTile(r, warpgroup) * (Kind::kRowTileBytes >> 4) + k * 2,
                tokens + k * 2);
    }
  }
  WgmmaCommit();
  // The products of the stage before are done.
  WgmmaWait<1>();
  if (threadIdx.x % 32 == 0 && *previous_empty != 0) Ring<Kind>::Release(*previous_empty);
  *previous_empty = ring.empty();
  ring.Advance();
}

// This thread's part of the FP8 weights of a stage.
template <typename Kind>
__device__ __forceinline__ void LoadFp8Stage(const Ring<Kind>& ring, int warpgroup,
                                             Fp8Part (&parts)[Kind::kRowTiles]) {
  ring.WaitFull();
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    parts[r] = LoadFp8Part(ring.weights() + Kind::RowTile(r, warpgroup) * kFp8TileBytes);
  }
}

// The products of all stages, FP8 weights, for few tokens: each warp by itself, for as an operation
// of the whole warpgroup a product of 8 tokens takes as long as one of 64. The bits are the same.
template <typename Kind, int kN>
__device__ __forceinline__ void MultiplyFp8ByWarps(Ring<Kind>& ring, int stages, int warpgroup,
                                                   float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int lane = threadIdx.x % 32;
  Fp8Part parts[Kind::kRowTiles];
  for (int stage = 0; stage < stages; ++stage) {
    LoadFp8Stage(ring, warpgroup, parts);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t tokens[kN / 8][4];
#pragma unroll
      for (int j = 0; j < kN / 8; ++j) {
        const int row = 8 * j + lane % 8;
        LoadMatrices(
            ring.tokens() + row * kPackedRowBytes + SwizzledPiece(row, half * 4 + lane / 8) * 16,
            tokens[j]);
      }
#pragma unroll
      for (int r = 0; r < Kind::kRowTiles; ++r) {
        uint32_t weights[2][4];
        ConvertFp8(parts[r], half, weights);
#pragma unroll
        for (int k = 0; k < 2; ++k) {
#pragma unroll
          for (int j = 0; j < kN / 8; ++j) {
            float(&own)[4] = *reinterpret_cast<float(*)[4]>(&sums[r][4 * j]);
            MultiplyFragments(own, weights[k], tokens[j][2 * k], tokens[j][2 * k + 1]);
          }
        }
      }
    }
    __syncwarp();
    if (lane == 0) Ring<Kind>::Release(ring.empty());
    ring.Advance();
  }
}

// The same for more tokens. While the products of 32 columns run, the next ones' weights become
// bf16 in other registers; a stage is read while the products of the one before run. The last ones
// still run at the end.
template <typename Kind, int kN>
__device__ __forceinline__ void MultiplyFp8(Ring<Kind>& ring, int stages, int warpgroup,
                                            uint32_t* previous_empty,
                                            float (&sums)[Kind::kRowTiles][kN / 2]) {
  uint32_t fragments[2][Kind::kRowTiles][2][4];
  Fp8Part parts[Kind::kRowTiles];
  LoadFp8Stage(ring, warpgroup, parts);
  for (int stage = 0; stage < stages; ++stage) {
    const uint32_t tokens = TileDescriptor(ring.tokens());
    const uint32_t empty = ring.empty();
    ring.Advance();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < Kind::kRowTiles; ++r) ConvertFp8(parts[r], half, fragments[half][r]);
      if (half == 1 && stage + 1 < stages) LoadFp8Stage(ring, warpgroup, parts);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < 2; ++k) {
#pragma unroll
        for (int r = 0; r < Kind::kRowTiles; ++r)
          WgmmaOfRegisters<kN>(sums[r], fragments[half][r][k], tokens + (half * 2 + k) * 2);
      }
      WgmmaCommit();
      WgmmaWait<1>();
      // The products of the stage before are done.
      if (half == 0 && threadIdx.x % 32 == 0 && *previous_empty != 0)
        Ring<Kind>::Release(*previous_empty);
    }
    *previous_empty = empty;
  }
}

// sums[r] = the 64 weight rows of row tile Kind::RowTile(r, warpgroup), times kN token rows, over
// all columns. By the warpgroup that the tile belongs to, or by all; warpgroup counts from 0. Sums
// are laid out as Wgmma says.
template <typename Kind, int kN>
__device__ __forceinline__ void Multiply(Ring<Kind>& ring, int columns, int warpgroup,
                                         float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int stages = columns / kPackedBlockColumns;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) sums[r][i] = 0;
  }
  if constexpr (Kind::kFp8 && kN <= kFp8TokensOfWarps) {
    MultiplyFp8ByWarps<Kind, kN>(ring, stages, warpgroup, sums);
  } else {
    const bool signals = threadIdx.x % 32 == 0;
    uint32_t previous_empty = 0;
    if constexpr (Kind::kInTurn) ring.WaitTurn(warpgroup);
    if constexpr (Kind::kFp8) {
      MultiplyFp8<Kind, kN>(ring, stages, warpgroup, &previous_empty, sums);
    } else {
      for (int stage = 0; stage < stages; ++stage)
        MultiplyStage<Kind, kN>(ring, warpgroup, &previous_empty, sums);
    }
    if (Kind::kInTurn && signals) ring.PassTurn(warpgroup);
    WgmmaWait<0>();
    if (signals) Ring<Kind>::Release(previous_empty);
#pragma unroll
    for (int r = 0; r < Kind::kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) UseAfterWait(sums[r][i]);
    }
  }
}

}  // namespace r1::kernels::sm90
