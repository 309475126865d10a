// The expert layer of M16 (a 16B DeepSeek-V3-shaped model) and its router on the GPU. Bytes are
// those of the experts that the drawn routing touches, counted; peers are vLLM 0.26's fused_experts
// on the same kind of GPU (without the router).
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "common/rng.h"
#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "kernels/cuda/moe_router_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kTokensMax = 8192;
constexpr int kCalls = 12;
// Weight sets in turn: of one token's 6 experts, too few bytes would change between calls to empty
// the cache.
constexpr int kWeightSets = 3;

struct Point {
  int tokens;
  double peer_microseconds;
};
constexpr Point kPoints[] = {{1, 36.9}, {2, 0},      {4, 0},      {8, 0},       {16, 232.5},
                             {32, 0},   {64, 285.4}, {128, 0},    {256, 296.9}, {512, 313.0},
                             {1024, 0}, {2048, 0},   {4096, 951}, {8192, 0}};

std::vector<int32_t> UniformExperts(const MoeExpertsBf16Shape& shape, int tokens, uint32_t call) {
  Rng rng(17, 0, RngPurpose::kTest, call, static_cast<uint32_t>(tokens));
  std::vector<int32_t> experts;
  std::vector<int32_t> order(shape.experts);
  for (int t = 0; t < tokens; ++t) {
    std::iota(order.begin(), order.end(), 0);
    for (int i = 0; i < shape.active; ++i) {
      std::swap(order[i], order[i + rng.NextBelow(shape.experts - i)]);
      experts.push_back(order[i]);
    }
  }
  return experts;
}

// Packed experts with random weights.
DeviceBuffer<uint8_t> Bf16Experts(int64_t bytes, uint64_t seed) {
  DeviceBuffer<uint8_t> packed(bytes);
  FillNormal(reinterpret_cast<__nv_bfloat16*>(packed.data()), bytes / 2, 0.02f, seed);
  return packed;
}
// All experts have the same ones, which no cache knows.
DeviceBuffer<uint8_t> Fp8Experts(int experts, int rows, int columns, uint64_t seed) {
  const DeviceBuffer<__nv_bfloat16> weights = NormalBf16(int64_t{rows} * columns, 0.02f, seed);
  DeviceBuffer<uint8_t> packed(experts * Fp8PackedBytes(rows, columns));
  packed.Fill(0);
  R1_CHECK_CUDA(PackFp8Sm90({.data = weights.data(), .row_stride = columns}, experts, rows, columns,
                            PackedRows::kAll, packed.data(), nullptr));
  R1_CHECK_CUDA(cudaDeviceSynchronize());
  return packed;
}

struct ExpertsBench {
  std::string name;
  MoeExpertsBf16Shape shape;
  bool fp8 = false;
  bool has_peer = false;
};

void BenchExperts(const BenchReport& report, const ExpertsBench& bench) {
  const MoeExpertsBf16Shape& shape = bench.shape;
  const int all = shape.experts + shape.shared_experts;
  const auto bytes_of = bench.fp8 ? Fp8PackedBytes : PackedBytes;
  const int64_t gate_up_bytes = bytes_of(2 * shape.intermediate, shape.hidden);
  const int64_t down_bytes = bytes_of(shape.hidden, shape.intermediate);
  std::vector<DeviceBuffer<uint8_t>> gate_up, down;
  for (int set = 0; set < kWeightSets; ++set) {
    const uint64_t seed = 2 * set;
    if (bench.fp8) {
      gate_up.push_back(Fp8Experts(all, 2 * shape.intermediate, shape.hidden, seed));
      down.push_back(Fp8Experts(all, shape.hidden, shape.intermediate, seed + 1));
    } else {
      gate_up.push_back(Bf16Experts(all * gate_up_bytes, seed));
      down.push_back(Bf16Experts(all * down_bytes, seed + 1));
    }
  }
  const auto x = NormalBf16(int64_t{kTokensMax} * shape.hidden, 1, 7);
  const DeviceBuffer<float> weights(std::vector<float>(kTokensMax * shape.active, 1.0f / 6));
  const DeviceBuffer<__nv_bfloat16> out(x.size());
  DeviceBuffer<uint8_t> workspace(MoeExpertsBf16Sm90WorkspaceBytes(shape, kTokensMax));
  workspace.Fill(0);
  for (const Point& point : kPoints) {
    const std::string label = bench.name + " T " + std::to_string(point.tokens);
    if (!report.Wants(label)) continue;
    std::vector<DeviceBuffer<int32_t>> experts;
    double touched = 0;
    for (int call = 0; call < kCalls; ++call) {
      const std::vector<int32_t> ids = UniformExperts(shape, point.tokens, call);
      touched += static_cast<double>(std::set<int32_t>(ids.begin(), ids.end()).size()) / kCalls;
      experts.emplace_back(ids);
    }
    const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
      const int set = call % kWeightSets;
      R1_CHECK_CUDA(MoeExpertsBf16Sm90({.shape = shape,
                                        .tokens = point.tokens,
                                        .x = x.data(),
                                        .x_stride = shape.hidden,
                                        .experts = experts[call].data(),
                                        .weights = weights.data(),
                                        .gate_up = gate_up[set].data(),
                                        .down = down[set].data(),
                                        .fp8_weights = bench.fp8,
                                        .out = out.data(),
                                        .out_stride = shape.hidden,
                                        .workspace = workspace.data(),
                                        .workspace_tokens = kTokensMax},
                                       stream));
    });
    const double rows = static_cast<double>(point.tokens) * (shape.active + shape.shared_experts);
    report.Add({.kernel = "moe_experts",
                .shape = label,
                .microseconds = microseconds,
                .bytes = (touched + shape.shared_experts) *
                         static_cast<double>(gate_up_bytes + down_bytes),
                .flops = rows * 6 * shape.hidden * shape.intermediate,
                .peer = bench.has_peer && point.peer_microseconds > 0 ? "vLLM" : "",
                .peer_microseconds = bench.has_peer ? point.peer_microseconds : 0});
  }
}

void BenchRouter(const BenchReport& report) {
  const MoeRouterBf16Shape shape = {
      .hidden = 2048, .experts = 64, .active = 6, .groups = 8, .groups_kept = 4, .scaling = 2.5};
  const auto x = NormalBf16(int64_t{kTokensMax} * shape.hidden, 1, 7);
  const auto router = NormalBf16(int64_t{shape.experts} * shape.hidden, 0.02f, 8);
  const DeviceBuffer<float> bias(std::vector<float>(shape.experts, 0.1f));
  const DeviceBuffer<int32_t> experts(int64_t{kTokensMax} * shape.active);
  const DeviceBuffer<float> weights(int64_t{kTokensMax} * shape.active);
  for (const int tokens : {1, 64, 512, 4096}) {
    const std::string label = "M16 T " + std::to_string(tokens);
    if (!report.Wants(label)) continue;
    const double microseconds = MedianMicroseconds(kCalls, [&](int, cudaStream_t stream) {
      R1_CHECK_CUDA(MoeRouterBf16Sm90({.shape = shape,
                                       .tokens = tokens,
                                       .x = x.data(),
                                       .x_stride = shape.hidden,
                                       .router = router.data(),
                                       .bias = bias.data(),
                                       .experts = experts.data(),
                                       .weights = weights.data()},
                                      stream));
    });
    report.Add({.kernel = "moe_router",
                .shape = label,
                .microseconds = microseconds,
                .bytes = 2.0 * shape.hidden * (shape.experts + tokens),
                .flops = 2.0 * shape.hidden * shape.experts * tokens});
  }
}

}  // namespace

void BenchMoeExpertsCuda(const BenchReport& report) {
  MoeExpertsBf16Shape shape = {.hidden = 2048, .intermediate = 1408, .experts = 64, .active = 6};
  BenchExperts(report, {.name = "M16 routed", .shape = shape, .has_peer = true});
  BenchExperts(report, {.name = "M16 routed FP8", .shape = shape, .fp8 = true});
  shape.shared_experts = 2;
  BenchExperts(report, {.name = "M16 + 2 shared", .shape = shape});
  BenchExperts(report, {.name = "M16 + 2 shared FP8", .shape = shape, .fp8 = true});
}

void BenchMoeRouterCuda(const BenchReport& report) { BenchRouter(report); }

}  // namespace r1::kernels
