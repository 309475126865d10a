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

// The copy engine sees x and y as one matrix each, so that those of the heads must lie side by
// side, and a head's rows in y end where a warpgroup's do.
constexpr bool DenseWideFits(const DenseBf16Args& args) {
  const int y_columns = args.swiglu ? args.rows / 2 : args.rows;
  return args.matrices == 1 ||
         ((args.matrices - 1) * args.x_matrix_stride + args.columns <= args.x_stride &&
          (args.matrices - 1) * args.y_matrix_stride + y_columns <= args.y_stride &&
          args.rows % 64 == 0);
}

}  // namespace r1::kernels
