// The three matrix products of a linear layer y = x w' with w [out, in], on contiguous fp32 tensors
// or on the rows [first, first + count) of them. Nothing is recorded for autograd.
#pragma once

#include "learner/policy/cpu_kernels.h"
#include "learner/policy/torch_headers.h"

namespace r1::learner {

// Consecutive rows of a matrix.
struct Rows {
  Rows(const at::Tensor& matrix)  // NOLINT: a whole matrix is its rows
      : Rows(matrix, 0, matrix.size(0)) {}
  Rows(const at::Tensor& matrix, int64_t first, int64_t count)
      : data(matrix.const_data_ptr<float>() + first * matrix.size(1)),
        count(count),
        width(matrix.size(1)) {}

  const float* data;
  int64_t count;
  int64_t width;
};

inline at::Tensor EmptyMatrix(int64_t rows, int64_t columns) {
  return at::empty({rows, columns}, at::kFloat);
}
inline float* MutableData(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

// y = initial + x w'. `initial` may be null, and may be y.
void ApplyInto(const CpuKernels& kernels, const Rows& x, const at::Tensor& w, const float* initial,
               float* y);
// y = x w' + bias [out], which may be undefined.
void ApplyBiasedInto(const CpuKernels& kernels, const Rows& x, const at::Tensor& w,
                     const at::Tensor& bias, float* y);
// dx = initial + dy w.
void ApplyTransposedInto(const CpuKernels& kernels, const Rows& dy, const at::Tensor& w,
                         const float* initial, float* dx);

at::Tensor Apply(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& w,
                 const at::Tensor& bias = at::Tensor());
at::Tensor ApplyTransposed(const CpuKernels& kernels, const at::Tensor& dy, const at::Tensor& w);
// dw = dy' x.
at::Tensor WeightGradient(const CpuKernels& kernels, const Rows& dy, const Rows& x);

}  // namespace r1::learner
