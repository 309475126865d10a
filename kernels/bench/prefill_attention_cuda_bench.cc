// Attention of prompts of M16 (16 heads, keys of 192 channels, values of 128) on the GPU: whole
// prompts, and chunks of longer ones. Operations are those of the pairs that a causal mask leaves.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kHeads = 16;
constexpr int kKeyChannels = kPrefillHeadChannels + kPrefillSharedChannels;
constexpr int kCalls = 4;

struct Point {
  int prompts;
  int first;  // position of the chunk
  int rows;   // of the chunk
};
constexpr Point kPoints[] = {{1, 0, 8192},    {1, 0, 2048},     {4, 0, 2048},
                             {32, 0, 256},    {512, 0, 16},     {1, 6144, 2048},
                             {1, 8192, 8192}, {1, 24576, 8192}, {32, 300, 256}};

std::vector<PrefillTile> Tiles(const Point& point) {
  std::vector<PrefillTile> tiles;
  const int first_begin = (point.rows - 1) / kPrefillTileRows * kPrefillTileRows;
  for (int begin = first_begin; begin >= 0; begin -= kPrefillTileRows) {
    for (int prompt = 0; prompt < point.prompts; ++prompt) {
      tiles.push_back({.first_row = prompt * point.rows + begin,
                       .rows = std::min(kPrefillTileRows, point.rows - begin),
                       .first_position = point.first + begin,
                       .first_key = prompt * (point.first + point.rows)});
    }
  }
  return tiles;
}

void Bench(const BenchReport& report, const Point& point) {
  const std::string label = std::to_string(point.prompts) + " x " + std::to_string(point.rows) +
                            (point.first > 0 ? " behind " + std::to_string(point.first) : "");
  if (!report.Wants(label)) return;
  const int rows = point.prompts * point.rows;
  const int key_rows = point.prompts * (point.first + point.rows);
  const auto q = NormalBf16(int64_t{rows} * kHeads * kKeyChannels, 1, 1);
  const auto keys_values = NormalBf16(int64_t{key_rows} * kHeads * 2 * kPrefillHeadChannels, 1, 2);
  const auto key_shared = NormalBf16(int64_t{key_rows} * kPrefillSharedChannels, 1, 3);
  const DeviceBuffer<PrefillTile> tiles(Tiles(point));
  const DeviceBuffer<__nv_bfloat16> out(int64_t{rows} * kHeads * kPrefillHeadChannels);
  const int64_t q_stride = int64_t{kHeads} * kKeyChannels;
  const int64_t key_stride = int64_t{kHeads} * 2 * kPrefillHeadChannels;
  const double microseconds = MedianMicroseconds(kCalls, [&](int, cudaStream_t stream) {
    R1_CHECK_CUDA(PrefillAttentionBf16Sm90(
        {.heads = kHeads,
         .rows = rows,
         .q = {q.data(), q_stride, kKeyChannels},
         .q_shared = {q.data() + kPrefillHeadChannels, q_stride, kKeyChannels},
         .key_rows = key_rows,
         .keys = {keys_values.data(), key_stride, 2 * kPrefillHeadChannels},
         .key_shared = {key_shared.data(), kPrefillSharedChannels, 0},
         .values = {keys_values.data() + kPrefillHeadChannels, key_stride,
                    2 * kPrefillHeadChannels},
         .tiles = tiles.data(),
         .tile_count = static_cast<int>(tiles.size()),
         .scale = 0.0722f,
         .out = out.data(),
         .out_stride = int64_t{kHeads} * kPrefillHeadChannels,
         .out_head_stride = kPrefillHeadChannels},
        stream));
  });
  const double pairs = point.prompts * point.rows * (point.first + 0.5 * (point.rows + 1));
  report.Add({.kernel = "prefill_attention",
              .shape = label,
              .microseconds = microseconds,
              .bytes = static_cast<double>(q.bytes() + keys_values.bytes() + key_shared.bytes() +
                                           out.bytes()),
              .flops = 2.0 * kHeads * pairs * (kKeyChannels + kPrefillHeadChannels)});
}

}  // namespace

void BenchPrefillAttentionCuda(const BenchReport& report) {
  for (const Point& point : kPoints) Bench(report, point);
}

}  // namespace r1::kernels
