#include "learner/policy/matrix_products.h"

namespace r1::learner {

namespace {

// y = x w' without what it is added to.
GemmArgs Product(const Rows& x, const at::Tensor& w, float* y) {
  return {.rows = x.count,
          .columns = w.size(0),
          .depth = w.size(1),
          .a = x.data,
          .a_row = x.width,
          .b = w.const_data_ptr<float>(),
          .b_row = w.size(1),
          .b_transposed = true,
          .c = y,
          .c_row = w.size(0)};
}

}  // namespace

void ApplyInto(const CpuKernels& kernels, const Rows& x, const at::Tensor& w, const float* initial,
               float* y) {
  GemmArgs args = Product(x, w, y);
  args.initial = initial;
  args.initial_row = w.size(0);
  kernels.gemm(args);
}

void ApplyBiasedInto(const CpuKernels& kernels, const Rows& x, const at::Tensor& w,
                     const at::Tensor& bias, float* y) {
  GemmArgs args = Product(x, w, y);
  args.initial = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  args.initial_row = 0;  // the same row for every row of y
  kernels.gemm(args);
}

void ApplyTransposedInto(const CpuKernels& kernels, const Rows& dy, const at::Tensor& w,
                         const float* initial, float* dx) {
  kernels.gemm({.rows = dy.count,
                .columns = w.size(1),
                .depth = w.size(0),
                .a = dy.data,
                .a_row = dy.width,
                .b = w.const_data_ptr<float>(),
                .b_row = w.size(1),
                .initial = initial,
                .initial_row = w.size(1),
                .c = dx,
                .c_row = w.size(1)});
}

at::Tensor Apply(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& w,
                 const at::Tensor& bias) {
  const at::Tensor y = EmptyMatrix(x.size(0), w.size(0));
  ApplyBiasedInto(kernels, x, w, bias, MutableData(y));
  return y;
}

at::Tensor ApplyTransposed(const CpuKernels& kernels, const at::Tensor& dy, const at::Tensor& w) {
  const at::Tensor dx = EmptyMatrix(dy.size(0), w.size(1));
  ApplyTransposedInto(kernels, dy, w, nullptr, MutableData(dx));
  return dx;
}

at::Tensor WeightGradient(const CpuKernels& kernels, const Rows& dy, const Rows& x) {
  const at::Tensor dw = EmptyMatrix(dy.width, x.width);
  kernels.gemm({.rows = dy.width,
                .columns = x.width,
                .depth = x.count,
                .a = dy.data,
                .a_row = 1,
                .a_column = dy.width,
                .b = x.data,
                .b_row = x.width,
                .c = MutableData(dw),
                .c_row = x.width});
  return dw;
}

}  // namespace r1::learner
