// DenseBf16Sm90 for many tokens, where arithmetic sets the pace: a block takes 128 rows of the
// matrix and up to 256 tokens, and shares the tokens with the block of the next 128 rows, perhaps
// also the rows with that of the next tokens; the copy engine delivers them to both at once.
#pragma once

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/dense_tiling.h"

namespace r1::kernels {

// Args as DenseBf16Sm90 has checked them, and DenseWideCanRead; a tiling that is wide.
[[nodiscard]] cudaError_t DenseWideBf16Sm90(const DenseBf16Args& args, const DenseTiling& tiling,
                                            cudaStream_t stream);

// The copy engine sees x as one matrix, so that those of the heads must lie side by side.
constexpr bool DenseWideCanRead(const DenseBf16Args& args) {
  return args.matrices == 1 ||
         (args.matrices - 1) * args.x_matrix_stride + args.columns <= args.x_stride;
}

}  // namespace r1::kernels
