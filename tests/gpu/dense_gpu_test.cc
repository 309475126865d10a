// Dense products on the GPU against double precision: every kind of tile, edges of rows and tokens,
// one matrix a head, SwiGLU; that nothing beyond y is written, and that a row's bits do not depend
// on the batch.
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/dense_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/naive_cuda.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

constexpr double kTolerance = 4e-3;  // results are rounded to bf16

struct Shape {
  int matrices;
  int rows;  // with swiglu, of gate and of up
  int columns;
  bool swiglu = false;
};

// A product of random numbers with gaps between the rows of x and y.
class Product {
 public:
  Product(const Shape& shape, int tokens, uint64_t seed)
      : shape_(shape),
        tokens_(tokens),
        x_stride_(int64_t{shape.matrices} * shape.columns + 8),
        y_stride_(int64_t{shape.matrices} * shape.rows + 8) {
    const int halves = shape.swiglu ? 2 : 1;
    const int64_t packed_bytes = PackedBytes(halves * shape.rows, shape.columns);
    packed_ = DeviceBuffer<uint8_t>(shape.matrices * packed_bytes);
    std::vector<__nv_bfloat16> x(tokens * x_stride_);
    for (int m = 0; m < shape.matrices; ++m) {
      const auto own = NormalBf16(int64_t{tokens} * shape.columns, 1, seed + 10 * m);
      const std::vector<__nv_bfloat16> host = own.ToHost();
      for (int t = 0; t < tokens; ++t) {
        std::copy_n(host.begin() + int64_t{t} * shape.columns, shape.columns,
                    x.begin() + t * x_stride_ + m * shape.columns);
      }
      std::vector<double> results[2];
      DeviceBuffer<__nv_bfloat16> weights[2];
      for (int half = 0; half < halves; ++half) {
        weights[half] =
            NormalBf16(int64_t{shape.rows} * shape.columns, 0.05f, seed + 10 * m + 1 + half);
        DeviceBuffer<double> naive(int64_t{tokens} * shape.rows);
        NaiveMatmul(own.data(), weights[half].data(), tokens, shape.rows, shape.columns,
                    naive.data());
        results[half] = naive.ToHost();
      }
      uint8_t* const target = packed_.data() + m * packed_bytes;
      if (shape.swiglu) {
        for (size_t i = 0; i < results[0].size(); ++i)
          results[0][i] = results[0][i] / (1 + std::exp(-results[0][i])) * results[1][i];
        R1_CHECK_CUDA(PackGateUpBf16Sm90(weights[0].data(), weights[1].data(), 1, shape.rows,
                                         shape.columns, target, nullptr));
      } else {
        R1_CHECK_CUDA(
            PackRowsBf16Sm90(weights[0].data(), 1, shape.rows, shape.columns, target, nullptr));
      }
      R1_CHECK_CUDA(cudaDeviceSynchronize());
      expected_.push_back(std::move(results[0]));
    }
    x_ = DeviceBuffer<__nv_bfloat16>(x);
  }

  // Rows [first, first + count) of the batch: [count][y_stride].
  std::vector<__nv_bfloat16> Run(int first, int count) const {
    DeviceBuffer<__nv_bfloat16> y(count * y_stride_);
    y.Fill(0xFF);
    R1_CHECK_CUDA(DenseBf16Sm90({.tokens = count,
                                 .matrices = shape_.matrices,
                                 .rows = shape_.rows * (shape_.swiglu ? 2 : 1),
                                 .columns = shape_.columns,
                                 .swiglu = shape_.swiglu,
                                 .x = x_.data() + first * x_stride_,
                                 .x_stride = x_stride_,
                                 .x_matrix_stride = shape_.columns,
                                 .weights = packed_.data(),
                                 .y = y.data(),
                                 .y_stride = y_stride_,
                                 .y_matrix_stride = shape_.rows},
                                nullptr));
    return y.ToHost();
  }

  // Sums of `parts` parts of the columns, [parts][count][rows]; of a single matrix.
  std::vector<float> RunParts(int first, int count, int parts) const {
    DeviceBuffer<float> sums(int64_t{parts} * count * shape_.rows);
    sums.Fill(0xFF);
    R1_CHECK_CUDA(DenseBf16Sm90({.tokens = count,
                                 .rows = shape_.rows,
                                 .columns = shape_.columns,
                                 .x = x_.data() + first * x_stride_,
                                 .x_stride = x_stride_,
                                 .weights = packed_.data(),
                                 .column_parts = parts,
                                 .sums = sums.data()},
                                nullptr));
    return sums.ToHost();
  }

  void ExpectPartsAddUp(int parts) const {
    const std::vector<float> sums = RunParts(0, tokens_, parts);
    std::vector<float> y(sums.size() / parts);
    for (size_t i = 0; i < sums.size(); ++i) y[i % y.size()] += sums[i];
    EXPECT_LE(RelativeError(y, expected_[0]), 1e-5) << tokens_ << " tokens, " << parts << " parts";
    // The first and the last token alone.
    for (const int t : {0, tokens_ - 1}) {
      const std::vector<float> alone = RunParts(t, 1, parts);
      for (int part = 0; part < parts; ++part) {
        const auto own = alone.begin() + part * shape_.rows;
        const auto same = sums.begin() + (int64_t{part} * tokens_ + t) * shape_.rows;
        EXPECT_TRUE(std::equal(own, own + shape_.rows, same)) << "token " << t;
      }
    }
  }

  void ExpectMatches() const {
    const std::vector<float> y = ToFloats(Run(0, tokens_));
    for (int m = 0; m < shape_.matrices; ++m) {
      std::vector<float> own;
      for (int t = 0; t < tokens_; ++t) {
        const auto row = y.begin() + t * y_stride_ + m * shape_.rows;
        own.insert(own.end(), row, row + shape_.rows);
      }
      EXPECT_LE(RelativeError(own, expected_[m]), kTolerance)
          << "T " << tokens_ << " M " << shape_.matrices << " N " << shape_.rows << " K "
          << shape_.columns << " matrix " << m;
    }
    for (int t = 0; t < tokens_; ++t) {
      for (int64_t i = y_stride_ - 8; i < y_stride_; ++i)
        ASSERT_TRUE(std::isnan(y[t * y_stride_ + i])) << "written beyond row " << t;
    }
  }

  int64_t y_stride() const { return y_stride_; }

 private:
  Shape shape_;
  int tokens_;
  int64_t x_stride_;
  int64_t y_stride_;
  DeviceBuffer<__nv_bfloat16> x_;
  DeviceBuffer<uint8_t> packed_;
  std::vector<std::vector<double>> expected_;
};

class DenseGpuTest : public GpuTest {};

TEST_F(DenseGpuTest, SmallProductsMatch) {
  for (const int tokens : {1, 7, 8, 9, 40, 65, 130}) {
    Product({.matrices = 1, .rows = 72, .columns = 64}, tokens, tokens).ExpectMatches();
    Product({.matrices = 3, .rows = 136, .columns = 192}, tokens, tokens).ExpectMatches();
    Product({.matrices = 1, .rows = 64, .columns = 128, .swiglu = true}, tokens, tokens)
        .ExpectMatches();
  }
}

TEST_F(DenseGpuTest, ProductsOfM16Match) {
  for (const int tokens : {1, 16, 33, 64, 100, 256, 500}) {
    Product({.matrices = 1, .rows = 3648, .columns = 2048}, tokens, 1).ExpectMatches();
    Product({.matrices = 1, .rows = 2048, .columns = 2048}, tokens, 2).ExpectMatches();
  }
  for (const int tokens : {1, 64, 300}) {
    Product({.matrices = 16, .rows = 512, .columns = 128}, tokens, 3).ExpectMatches();
    Product({.matrices = 16, .rows = 128, .columns = 512}, tokens, 4).ExpectMatches();
    Product({.matrices = 1, .rows = 10944, .columns = 2048, .swiglu = true}, tokens, 5)
        .ExpectMatches();
  }
  Product({.matrices = 1, .rows = 2048, .columns = 10944}, 3000, 6).ExpectMatches();
}

TEST_F(DenseGpuTest, RowHasTheSameBitsInEveryBatch) {
  for (const bool swiglu : {false, true}) {
    const Product product({.matrices = 2, .rows = 640, .columns = 1024, .swiglu = swiglu}, 700, 9);
    const std::vector<__nv_bfloat16> together = product.Run(0, 700);
    for (const int count : {1, 8, 30, 64, 120, 256, 513}) {
      const int first = 700 - count;
      const std::vector<__nv_bfloat16> part = product.Run(first, count);
      const std::vector<__nv_bfloat16> same(together.begin() + first * product.y_stride(),
                                            together.end());
      EXPECT_TRUE(SameBits(part, same)) << count << " rows";
    }
  }
}

TEST_F(DenseGpuTest, SmallProductsInPartsMatch) {
  for (const int tokens : {1, 9, 70, 300}) {
    const Product product({.matrices = 1, .rows = 264, .columns = 448}, tokens, tokens);
    product.ExpectPartsAddUp(2);
    product.ExpectPartsAddUp(3);
    product.ExpectPartsAddUp(7);
  }
}

TEST_F(DenseGpuTest, ProductsInPartsOfQwenMatch) {
  EXPECT_EQ(DenseBf16ColumnParts(1536, 8960), 4);
  EXPECT_EQ(DenseBf16ColumnParts(3584, 3584), 1);
  for (const int tokens : {1, 64, 200, 600})
    Product({.matrices = 1, .rows = 1536, .columns = 8960}, tokens, 7).ExpectPartsAddUp(4);
}

TEST_F(DenseGpuTest, SmallSizesOutsideTheLimitsAreRefused) {
  DenseBf16Args args = {.tokens = 1, .rows = 60, .columns = 64};
  EXPECT_EQ(DenseBf16Sm90(args, nullptr), cudaErrorInvalidValue);
  args.rows = 64;
  args.columns = 96;
  EXPECT_EQ(DenseBf16Sm90(args, nullptr), cudaErrorInvalidValue);
  args.columns = 64;
  args.x_stride = 4;
  EXPECT_EQ(DenseBf16Sm90(args, nullptr), cudaErrorInvalidValue);
  args.x_stride = 64;
  args.column_parts = 2;
  EXPECT_EQ(DenseBf16Sm90(args, nullptr), cudaErrorInvalidValue) << "one block of columns";
  args.column_parts = 1;
  args.tokens = 0;
  EXPECT_EQ(DenseBf16Sm90(args, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace r1::kernels
