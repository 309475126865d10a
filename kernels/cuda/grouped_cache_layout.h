// Layout of the paged cache of grouped-query attention for the sm_90a kernels. A block holds 64
// tokens of one layer; each key head has its rotated keys, then its values, both as tiles of
// [64 tokens][64 channels] bf16, 8 KiB each, with the 16-byte pieces of a token's run of 128 bytes
// permuted as in packed_layout.h. So one bulk copy brings what a head needs of a block, in an order
// that warps read without bank conflicts. Plain arithmetic, tested on the CPU.
//
// Shape letters: K channels of a head, 64 or 128.
#pragma once

#include <cstdint>

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

inline constexpr int kGroupedBlockTokens = 64;
inline constexpr int kGroupedTileBytes = kGroupedBlockTokens * kPackedRowBytes;

// Whether there are kernels for heads of K channels.
R1_HOST_DEVICE constexpr bool IsGroupedHeadDim(int head_dim) {
  return head_dim == 64 || head_dim == 128;
}

// Keys of a head in a block; its values take as much.
R1_HOST_DEVICE constexpr int GroupedKeyBytes(int head_dim) {
  return head_dim / 64 * kGroupedTileBytes;
}
R1_HOST_DEVICE constexpr int GroupedHeadBytes(int head_dim) {
  return 2 * GroupedKeyBytes(head_dim);
}

// Byte offset of a token's channel among the keys, or the values, of a head.
R1_HOST_DEVICE constexpr int GroupedOffset(int token, int channel) {
  return channel / 64 * kGroupedTileBytes + token * kPackedRowBytes +
         SwizzledPiece(token, channel % 64 / 8) * 16 + channel % 8 * 2;
}

}  // namespace r1::kernels
