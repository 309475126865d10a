// The fused head, softmax, sampling and logprob of M16 on the GPU. Bytes are those of the head's
// weights.
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/sample_head_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kCalls = 8;
constexpr int kRowsMax = 512;

void Bench(const BenchReport& report, int hidden, int vocab, const std::string& name) {
  const int64_t head_bytes = PackedBytes(vocab, hidden);
  // Two heads in turn, each several times the cache.
  const DeviceBuffer<__nv_bfloat16> heads[] = {NormalBf16(head_bytes / 2, 0.02f, 1),
                                               NormalBf16(head_bytes / 2, 0.02f, 2)};
  const auto x = NormalBf16(int64_t{kRowsMax} * hidden, 1, 3);
  const DeviceBuffer<float> temperatures(std::vector<float>(kRowsMax, 1));
  std::vector<Rng> rngs;
  for (uint32_t row = 0; row < kRowsMax; ++row) rngs.emplace_back(1, 0, RngPurpose::kTest, 0, row);
  const DeviceBuffer<Rng> device_rngs(rngs);
  const DeviceBuffer<uint32_t> positions(std::vector<uint32_t>(kRowsMax, 5));
  const DeviceBuffer<int32_t> tokens(kRowsMax);
  const DeviceBuffer<float> logprobs(kRowsMax);
  const DeviceBuffer<uint8_t> workspace(SampleHeadBf16Sm90WorkspaceBytes(vocab, kRowsMax));
  for (const int rows : {1, 16, 64, 128, 256, 512}) {
    const std::string label = name + " M " + std::to_string(rows);
    if (!report.Wants(label)) continue;
    const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
      R1_CHECK_CUDA(
          SampleHeadBf16Sm90({.rows = rows,
                              .hidden = hidden,
                              .vocab = vocab,
                              .x = x.data(),
                              .x_stride = hidden,
                              .head = reinterpret_cast<const uint8_t*>(heads[call % 2].data()),
                              .temperatures = temperatures.data(),
                              .rngs = device_rngs.data(),
                              .positions = positions.data(),
                              .tokens = tokens.data(),
                              .logprobs = logprobs.data(),
                              .workspace = workspace.data()},
                             stream));
    });
    report.Add({.kernel = "sample_head",
                .shape = label,
                .microseconds = microseconds,
                .bytes = 2.0 * vocab * hidden,
                .flops = 2.0 * rows * vocab * hidden});
  }
}

}  // namespace

void BenchSampleHeadCuda(const BenchReport& report) {
  Bench(report, 2048, 102400, "D 2048 V 102400");
  Bench(report, 3584, 152064, "D 3584 V 152064");
}

}  // namespace r1::kernels
