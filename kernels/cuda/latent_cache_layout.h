// Layout of the paged latent cache of the sm_90a attention kernels. A block holds 64 tokens of one
// layer, each with 512 latent channels and 64 rotary ones, as nine tiles of [64 tokens][64
// channels] bf16, 8 KiB each; the 16-byte pieces of a token's run of 128 bytes are permuted as in
// packed_layout.h. So a bulk copy of a tile is what the tensor cores read, both as keys (tokens by
// channels) and as values (channels by tokens). Plain arithmetic, tested on the CPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

inline constexpr int kLatentBlockTokens = 64;
inline constexpr int kLatentChannels = 512;
inline constexpr int kRotaryChannels = 64;
inline constexpr int kCacheChannels = kLatentChannels + kRotaryChannels;
inline constexpr int kCacheTiles = kCacheChannels / 64;
inline constexpr int kCacheTileBytes = kLatentBlockTokens * kPackedRowBytes;
inline constexpr int kCacheBlockBytes = kCacheTiles * kCacheTileBytes;

// Byte offset, inside a block, of a token's channel: 0 … 511 latent, 512 … 575 rotary.
R1_HOST_DEVICE constexpr int CacheOffset(int token, int channel) {
  return channel / 64 * kCacheTileBytes + token * kPackedRowBytes +
         SwizzledPiece(token, channel % 64 / 8) * 16 + channel % 8 * 2;
}

}  // namespace r1::kernels
