// Grouped-query attention of Qwen2.5-1.5B and -7B over a paged cache on the GPU, one row a
// sequence. Bytes are those of the cache.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/gqa_decode_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kCalls = 8;

struct Model {
  const char* name;
  int heads;
  int kv_heads;
};
constexpr Model kModels[] = {{"Q1.5", 12, 2}, {"Q7", 28, 4}};
constexpr int kHeadDim = 128;

struct Point {
  int sequences;
  int context;
};
constexpr Point kPoints[] = {{1, 512},    {1, 8192},  {16, 512},  {64, 1024},
                             {256, 1024}, {512, 512}, {64, 8192}, {256, 4096}};

void Bench(const BenchReport& report, const Model& model, const Point& point, bool strict) {
  const std::string label = std::string(strict ? "strict " : "") + model.name + " B " +
                            std::to_string(point.sequences) + " context " +
                            std::to_string(point.context);
  if (!report.Wants(label)) return;
  const int table_stride = (point.context + kGroupedBlockTokens - 1) / kGroupedBlockTokens;
  const int64_t block_bytes = int64_t{model.kv_heads} * GroupedHeadBytes(kHeadDim);
  // Sets in turn, so that the cache is read from memory.
  const int set_blocks = point.sequences * table_stride;
  const int sets = std::max(
      1, std::min(kCalls, static_cast<int>((int64_t{2} << 30) / (set_blocks * block_bytes))));
  std::vector<DeviceBuffer<int32_t>> tables;
  for (int set = 0; set < sets; ++set) {
    std::vector<int32_t> table;
    for (int s = 0; s < point.sequences; ++s) {
      for (int i = 0; i < table_stride; ++i)
        table.push_back(set * set_blocks + s * table_stride + i);
    }
    tables.emplace_back(table);
  }
  const int split_tokens =
      strict ? kGqaStrictSplitTokens
             : GqaDecodeBf16Sm90FastSplit(point.sequences, model.kv_heads, point.context);
  const int64_t row_width = int64_t{model.heads} * kHeadDim;
  const auto cache = NormalBf16(sets * set_blocks * block_bytes / 2, 1, 1);
  const auto q = NormalBf16(point.sequences * row_width, 1, 2);
  const DeviceBuffer<int32_t> contexts(std::vector<int32_t>(point.sequences, point.context));
  const DeviceBuffer<__nv_bfloat16> out(point.sequences * row_width);
  const DeviceBuffer<uint32_t> counters(std::vector<uint32_t>(point.sequences * model.kv_heads, 0));
  const DeviceBuffer<uint8_t> workspace(GqaDecodeBf16Sm90WorkspaceBytes(
      point.sequences, model.heads, kHeadDim, point.context, split_tokens));
  const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
    R1_CHECK_CUDA(GqaDecodeBf16Sm90({.heads = model.heads,
                                     .kv_heads = model.kv_heads,
                                     .head_dim = kHeadDim,
                                     .q = q.data(),
                                     .cache = reinterpret_cast<const uint8_t*>(cache.data()),
                                     .block_tables = tables[call % sets].data(),
                                     .table_stride = table_stride,
                                     .contexts = contexts.data(),
                                     .contexts_max = point.context,
                                     .tile_count = point.sequences,
                                     .split_tokens = split_tokens,
                                     .scale = 0.0884f,
                                     .out = out.data(),
                                     .workspace = workspace.data(),
                                     .counters = counters.data()},
                                    stream));
  });
  report.Add({.kernel = "gqa_decode",
              .shape = label,
              .microseconds = microseconds,
              .bytes = 4.0 * point.sequences * point.context * model.kv_heads * kHeadDim,
              .flops = 4.0 * point.sequences * point.context * static_cast<double>(row_width)});
}

// Groups of 16 sequences with the same `prefix` tokens, which every one of them reads, or, `once`,
// tiles of them. Bytes count a prefix once.
void BenchGroups(const BenchReport& report, const Model& model, int sequences, int context,
                 int prefix, bool once) {
  constexpr int kGroup = 16;
  const std::string label = std::string(model.name) + " B " + std::to_string(sequences) +
                            " context " + std::to_string(context) + " G 16 prefix " +
                            std::to_string(prefix) + (once ? " once" : " each");
  if (!report.Wants(label)) return;
  const int table_stride = (context + kGroupedBlockTokens - 1) / kGroupedBlockTokens;
  const int prefix_blocks = prefix / kGroupedBlockTokens;
  const int64_t block_bytes = int64_t{model.kv_heads} * GroupedHeadBytes(kHeadDim);
  const int own_blocks = table_stride - prefix_blocks;
  const int set_blocks = sequences / kGroup * prefix_blocks + sequences * own_blocks;
  const int sets = std::max(
      1, std::min(kCalls, static_cast<int>((int64_t{2} << 30) / (set_blocks * block_bytes))));
  std::vector<DeviceBuffer<int32_t>> tables;
  for (int set = 0; set < sets; ++set) {
    std::vector<int32_t> table;
    for (int s = 0; s < sequences; ++s) {
      const int first_own = set * set_blocks + sequences / kGroup * prefix_blocks + s * own_blocks;
      for (int i = 0; i < table_stride; ++i) {
        table.push_back(i < prefix_blocks ? set * set_blocks + s / kGroup * prefix_blocks + i
                                          : first_own + i - prefix_blocks);
      }
    }
    tables.emplace_back(table);
  }
  std::vector<RowTile> tiles;
  for (int s = 0; s < sequences; s += kGroup / 2) tiles.push_back({s, kGroup / 2});
  const int64_t row_width = int64_t{model.heads} * kHeadDim;
  const auto cache = NormalBf16(sets * set_blocks * block_bytes / 2, 1, 1);
  const auto q = NormalBf16(sequences * row_width, 1, 2);
  const DeviceBuffer<RowTile> device_tiles(tiles);
  const DeviceBuffer<int32_t> contexts(std::vector<int32_t>(sequences, context));
  const DeviceBuffer<int32_t> prefixes(std::vector<int32_t>(sequences, prefix));
  const DeviceBuffer<__nv_bfloat16> out(sequences * row_width);
  const DeviceBuffer<uint32_t> counters(std::vector<uint32_t>(sequences * model.kv_heads, 0));
  const DeviceBuffer<uint8_t> workspace(GqaDecodeBf16Sm90WorkspaceBytes(
      sequences, model.heads, kHeadDim, context, kGqaStrictSplitTokens, true));
  const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
    GqaDecodeBf16Args args = {.heads = model.heads,
                              .kv_heads = model.kv_heads,
                              .head_dim = kHeadDim,
                              .q = q.data(),
                              .cache = reinterpret_cast<const uint8_t*>(cache.data()),
                              .block_tables = tables[call % sets].data(),
                              .table_stride = table_stride,
                              .contexts = contexts.data(),
                              .contexts_max = context,
                              .prefixes = prefixes.data(),
                              .prefixes_max = prefix,
                              .workspace_rows = sequences,
                              .tile_count = sequences,
                              .scale = 0.0884f,
                              .out = out.data(),
                              .workspace = workspace.data(),
                              .counters = counters.data()};
    if (once) {
      GqaDecodeBf16Args shared = args;
      shared.part = GqaPart::kPrefixes;
      shared.tile_count = static_cast<int>(tiles.size());
      shared.tiles = device_tiles.data();
      shared.tile_rows_max = kGroup / 2;
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(shared, stream));
      args.part = GqaPart::kRest;
    }
    R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, stream));
  });
  report.Add({.kernel = "gqa_decode",
              .shape = label,
              .microseconds = microseconds,
              .bytes = 1.0 * set_blocks * static_cast<double>(block_bytes),
              .flops = 4.0 * sequences * context * static_cast<double>(row_width)});
}

}  // namespace

void BenchGqaDecodeCuda(const BenchReport& report) {
  for (const bool strict : {false, true}) {
    for (const Model& model : kModels) {
      for (const Point& point : kPoints) Bench(report, model, point, strict);
    }
  }
  for (const Model& model : kModels) {
    for (const bool once : {false, true}) {
      for (const int sequences : {64, 256, 512})
        BenchGroups(report, model, sequences, 512, 256, once);
      BenchGroups(report, model, 256, 4608, 4096, once);
    }
  }
}

}  // namespace r1::kernels
