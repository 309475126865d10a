// Latent attention of M16 (16 heads) over a paged cache on the GPU. Bytes are those of the cache, a
// shared prefix counted once a group; peers are FlashAttention-3 and FlashMLA on the same kind of
// GPU.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/device_data.h"
#include "kernels/cuda/mla_decode_bf16_sm90.h"

namespace r1::kernels {
namespace {

constexpr int kHeads = 16;
constexpr int kCalls = 8;

struct Point {
  int sequences;
  int context;
  int group_size;
  int prefix;  // tokens in the same blocks
  const char* peer;
  double peer_microseconds;
};
constexpr Point kPoints[] = {{1, 8192, 1, 0, "", 0},
                             {64, 1024, 1, 0, "FA3", 33.5},
                             {256, 1024, 1, 0, "FlashMLA", 96.4},
                             {64, 8192, 1, 0, "FA3", 154.4},
                             {256, 4096, 1, 0, "FlashMLA", 305.6},
                             {256, 8192, 1, 0, "", 0},
                             {256, 768, 1, 0, "", 0},
                             {256, 768, 16, 256, "", 0},
                             {256, 512, 1, 0, "", 0},
                             {512, 512, 1, 0, "", 0},
                             {256, 4608, 1, 0, "", 0},
                             {256, 4608, 16, 4096, "", 0},
                             {256, 5120, 1, 0, "", 0},
                             {256, 5120, 16, 4096, "", 0}};

// As the engine decodes short prompts: their blocks are common, but the kernel is not told.
constexpr Point kCommonPoints[] = {
    {256, 512, 16, 256, "", 0}, {512, 512, 16, 256, "", 0}, {256, 4608, 16, 4096, "", 0}};

enum class Prefix { kShared, kCommon };

void Bench(const BenchReport& report, const Point& point, Prefix prefix, bool strict) {
  std::string label = std::string(strict ? "strict " : "") + "B " +
                      std::to_string(point.sequences) + " context " + std::to_string(point.context);
  if (point.group_size > 1) {
    label += " G " + std::to_string(point.group_size) +
             (prefix == Prefix::kShared ? " prefix " : " common ") + std::to_string(point.prefix);
  }
  if (!report.Wants(label)) return;
  const bool is_shared = prefix == Prefix::kShared && point.prefix > 0;
  const int table_stride = point.context / kLatentBlockTokens;
  const int prefix_blocks = point.prefix / kLatentBlockTokens;
  // Sets in turn, so that the cache is read from memory.
  const int64_t set_bytes = int64_t{point.sequences} * table_stride * kCacheBlockBytes;
  const int sets = std::max(1, std::min(kCalls, static_cast<int>((int64_t{2} << 30) / set_bytes)));
  std::vector<DeviceBuffer<int32_t>> tables;
  int blocks = 0;
  for (int set = 0; set < sets; ++set) {
    std::vector<int32_t> table;
    for (int s = 0; s < point.sequences; ++s) {
      for (int b = 0; b < table_stride; ++b) {
        const bool shared = b < prefix_blocks && s % point.group_size != 0;
        table.push_back(shared ? table[s / point.group_size * point.group_size * table_stride + b]
                               : blocks++);
      }
    }
    tables.emplace_back(table);
  }
  const auto cache = NormalBf16(int64_t{blocks} * kCacheBlockBytes / 2, 1, 1);
  const auto q = NormalBf16(int64_t{point.sequences} * kHeads * kCacheChannels, 1, 2);
  const DeviceBuffer<int32_t> contexts(std::vector<int32_t>(point.sequences, point.context));
  const DeviceBuffer<int32_t> prefixes(
      std::vector<int32_t>(point.sequences / point.group_size, point.prefix));
  const DeviceBuffer<__nv_bfloat16> out(int64_t{point.sequences} * kHeads * kLatentChannels);
  const int split_tokens = strict
                               ? kMlaStrictSplitTokens
                               : MlaDecodeBf16Sm90FastSplit(point.sequences, kHeads, point.context);
  const DeviceBuffer<uint8_t> workspace(
      MlaDecodeBf16Sm90WorkspaceBytes(point.sequences, kHeads, point.context, split_tokens));
  const double microseconds = MedianMicroseconds(kCalls, [&](int call, cudaStream_t stream) {
    R1_CHECK_CUDA(MlaDecodeBf16Sm90({.sequences = point.sequences,
                                     .heads = kHeads,
                                     .q = q.data(),
                                     .cache = reinterpret_cast<const uint8_t*>(cache.data()),
                                     .block_tables = tables[call % sets].data(),
                                     .table_stride = table_stride,
                                     .contexts = contexts.data(),
                                     .contexts_max = point.context,
                                     .split_tokens = split_tokens,
                                     .group_size = is_shared ? point.group_size : 1,
                                     .prefix_tokens = is_shared ? prefixes.data() : nullptr,
                                     .scale = 0.0722f,
                                     .out = out.data(),
                                     .workspace = workspace.data()},
                                    stream));
  });
  report.Add(
      {.kernel = "mla_decode",
       .shape = label,
       .microseconds = microseconds,
       .bytes = static_cast<double>(blocks) / sets * kCacheBlockBytes,
       .flops = 2.0 * point.sequences * kHeads * point.context * (kCacheChannels + kLatentChannels),
       .peer = point.peer,
       .peer_microseconds = point.peer_microseconds});
}

}  // namespace

void BenchMlaDecodeCuda(const BenchReport& report) {
  for (const bool strict : {false, true}) {
    for (const Point& point : kPoints) Bench(report, point, Prefix::kShared, strict);
    for (const Point& point : kCommonPoints) Bench(report, point, Prefix::kCommon, strict);
  }
}

}  // namespace r1::kernels
