// Attention of prompts on the GPU, whole ones and chunks of longer ones: of M16 (16 heads, keys of
// 192 channels, values of 128), and of Qwen2.5-1.5B and -7B over the paged cache. Operations are
// those of the pairs that a causal mask leaves.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/gqa_prefill_bf16_sm90.h"
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

std::string Label(const Point& point) {
  return std::to_string(point.prompts) + " x " + std::to_string(point.rows) +
         (point.first > 0 ? " behind " + std::to_string(point.first) : "");
}

// Of a query and a token.
double Pairs(const Point& point) {
  return point.prompts * point.rows * (point.first + 0.5 * (point.rows + 1));
}

void Bench(const BenchReport& report, const Point& point) {
  const std::string label = Label(point);
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
  report.Add({.kernel = "prefill_attention",
              .shape = label,
              .microseconds = microseconds,
              .bytes = static_cast<double>(q.bytes() + keys_values.bytes() + key_shared.bytes() +
                                           out.bytes()),
              .flops = 2.0 * kHeads * Pairs(point) * (kKeyChannels + kPrefillHeadChannels)});
}

struct Model {
  const char* name;
  int heads;
  int kv_heads;
};
constexpr Model kModels[] = {{"Q1.5", 12, 2}, {"Q7", 28, 4}};

void BenchGrouped(const BenchReport& report, const Model& model, const Point& point) {
  constexpr int kHeadDim = 128;
  const std::string label = std::string(model.name) + " " + Label(point);
  if (!report.Wants(label)) return;
  const int rows = point.prompts * point.rows;
  const int stride = (point.first + point.rows + kGroupedBlockTokens - 1) / kGroupedBlockTokens;
  std::vector<int32_t> tables;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < stride; ++i) tables.push_back(row / point.rows * stride + i);
  }
  const int64_t block_bytes = int64_t{model.kv_heads} * GroupedHeadBytes(kHeadDim);
  const auto cache = NormalBf16(point.prompts * stride * block_bytes / 2, 1, 1);
  const auto q = NormalBf16(int64_t{rows} * model.heads * kHeadDim, 1, 2);
  const DeviceBuffer<__nv_bfloat16> out(q.size());
  const DeviceBuffer<int32_t> device_tables(tables);
  const DeviceBuffer<PrefillTile> tiles(Tiles(point));
  const double microseconds = MedianMicroseconds(kCalls, [&](int, cudaStream_t stream) {
    R1_CHECK_CUDA(GqaPrefillBf16Sm90({.rows = rows,
                                      .heads = model.heads,
                                      .kv_heads = model.kv_heads,
                                      .head_dim = kHeadDim,
                                      .q = q.data(),
                                      .cache = reinterpret_cast<const uint8_t*>(cache.data()),
                                      .block_tables = device_tables.data(),
                                      .table_stride = stride,
                                      .tiles = tiles.data(),
                                      .tile_count = static_cast<int>(tiles.size()),
                                      .scale = 0.0884f,
                                      .out = out.data()},
                                     stream));
  });
  report.Add({.kernel = "gqa_prefill",
              .shape = label,
              .microseconds = microseconds,
              .bytes = static_cast<double>(q.bytes() + cache.bytes() + out.bytes()),
              .flops = 4.0 * model.heads * kHeadDim * Pairs(point)});
}

}  // namespace

void BenchPrefillAttentionCuda(const BenchReport& report) {
  for (const Point& point : kPoints) Bench(report, point);
  for (const Model& model : kModels) {
    for (const Point& point : kPoints) BenchGrouped(report, model, point);
  }
}

}  // namespace r1::kernels
