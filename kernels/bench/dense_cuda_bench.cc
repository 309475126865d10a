// The dense products of M16's attention and of its dense layer, and of Qwen2.5-1.5B and -7B, on the
// GPU. Bytes are those of the weights.
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/dense_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kCalls = 12;
constexpr int kTokensMax = 512;

struct Shape {
  std::string name;
  int matrices;
  int rows;
  int columns;
  bool swiglu = false;
};

void Bench(const BenchReport& report, const Shape& shape) {
  const int64_t bytes = shape.matrices * PackedBytes(shape.rows, shape.columns);
  // As many weights in turn as fill the cache several times.
  const int sets = static_cast<int>((int64_t{200} << 20) / bytes + 1);
  const auto weights = NormalBf16(sets * bytes / 2, 0.02f, 1);
  const int64_t x_stride = int64_t{shape.matrices} * shape.columns;
  const int64_t y_stride = int64_t{shape.matrices} * shape.rows;
  const auto x = NormalBf16(kTokensMax * x_stride, 1, 2);
  const DeviceBuffer<__nv_bfloat16> y(kTokensMax * y_stride);
  const bool has_parts = shape.matrices == 1 && !shape.swiglu;
  const int parts = has_parts ? DenseBf16ColumnParts(shape.rows, shape.columns) : 1;
  const DeviceBuffer<float> sums(parts > 1 ? int64_t{parts} * kTokensMax * shape.rows : 0);
  for (const int tokens : {1, 16, 64, 128, 256, 512}) {
    const std::string label = shape.name + " T " + std::to_string(tokens);
    if (!report.Wants(label)) continue;
    const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
      R1_CHECK_CUDA(DenseBf16Sm90(
          {.tokens = tokens,
           .matrices = shape.matrices,
           .rows = shape.rows,
           .columns = shape.columns,
           .swiglu = shape.swiglu,
           .x = x.data(),
           .x_stride = x_stride,
           .x_matrix_stride = shape.columns,
           .weights = reinterpret_cast<const uint8_t*>(weights.data()) + call % sets * bytes,
           .y = y.data(),
           .y_stride = y_stride,
           .y_matrix_stride = shape.swiglu ? shape.rows / 2 : shape.rows,
           .column_parts = parts,
           .sums = sums.data()},
          stream));
    });
    const double products = 1.0 * shape.matrices * shape.rows * shape.columns;
    report.Add({.kernel = "dense",
                .shape = label,
                .microseconds = microseconds,
                .bytes = 2 * products,
                .flops = 2 * tokens * products});
  }
}

}  // namespace

void BenchDenseCuda(const BenchReport& report) {
  Bench(report, {"query, kv_down", 1, 3648, 2048});
  Bench(report, {"key_absorb", 16, 512, 128});
  Bench(report, {"value_up", 16, 128, 512});
  Bench(report, {"output", 1, 2048, 2048});
  Bench(report, {"gate_up", 1, 21888, 2048, true});
  Bench(report, {"down", 1, 2048, 10944});
  Bench(report, {"Q1.5 query, key, value", 1, 2048, 1536});
  Bench(report, {"Q1.5 output", 1, 1536, 1536});
  Bench(report, {"Q1.5 gate_up", 1, 17920, 1536, true});
  Bench(report, {"Q1.5 down", 1, 1536, 8960});
  Bench(report, {"Q7 query, key, value", 1, 4608, 3584});
  Bench(report, {"Q7 output", 1, 3584, 3584});
  Bench(report, {"Q7 gate_up", 1, 37888, 3584, true});
  Bench(report, {"Q7 down", 1, 3584, 18944});
}

}  // namespace r1::kernels
