// Latent attention on the GPU against double precision, over shuffled blocks, for contexts of every
// remainder, with and without shared prefixes; that neither neighbours nor sharing move a bit, and
// that tokens that do not exist play no part.
#include <algorithm>
#include <numeric>
#include <string>

#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/naive_cuda.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

// Probabilities and results are rounded to bf16.
constexpr double kTolerance = 4e-3;

// Sequences of given contexts over a cache in random order; groups share the blocks of their
// prefix.
class Batch {
 public:
  Batch(int heads, const std::vector<int32_t>& contexts, int group_size,
        const std::vector<int32_t>& prefixes, uint64_t seed)
      : heads_(heads), group_size_(group_size), contexts_(contexts), prefixes_(prefixes) {
    contexts_max_ = *std::max_element(contexts.begin(), contexts.end());
    table_stride_ = (contexts_max_ + kLatentBlockTokens - 1) / kLatentBlockTokens;
    int blocks = 0;
    for (size_t s = 0; s < contexts.size(); ++s) {
      const int prefix_blocks =
          prefixes.empty() ? 0 : prefixes[s / group_size] / kLatentBlockTokens;
      for (int b = 0; b < table_stride_; ++b) {
        const bool shared = b < prefix_blocks && s % group_size != 0;
        const bool used = b * kLatentBlockTokens < contexts[s];
        tables_.push_back(shared ? tables_[s / group_size * group_size * table_stride_ + b]
                          : used ? blocks++
                                 : -1);
      }
    }
    std::vector<int32_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    Rng rng = TestRng(seed);
    for (int i = 0; i < blocks; ++i) std::swap(order[i], order[i + rng.NextBelow(blocks - i)]);
    for (int32_t& block : tables_) block = block < 0 ? -1 : order[block];
    rows_ = NormalBf16(int64_t{blocks} * kLatentBlockTokens * kCacheChannels, 1, seed + 1);
    q_ = NormalBf16(int64_t{sequences()} * heads * kCacheChannels, 1, seed + 2);
    PoisonMissingTokens();
    packed_ = DeviceBuffer<uint8_t>(int64_t{blocks} * kCacheBlockBytes);
    PackCache(rows_.data(), blocks, packed_.data());
    workspace_ = DeviceBuffer<uint8_t>(
        MlaDecodeBf16Sm90WorkspaceBytes(sequences(), heads, contexts_max_, kSmallestSplit));
  }

  int sequences() const { return static_cast<int>(contexts_.size()); }
  void set_split_tokens(int split_tokens) { split_tokens_ = split_tokens; }
  // The kernel is not told of the prefixes: it finds common blocks by itself.
  void HidePrefixes() { prefixes_.clear(); }

  // Sequences [first, first + count), sharing their groups' prefixes if `shares`.
  std::vector<__nv_bfloat16> Run(int first, int count, bool shares) {
    std::vector<int32_t> prefixes = prefixes_;
    if (!shares && !prefixes.empty()) {
      prefixes.clear();
      for (int s = first; s < first + count; ++s) prefixes.push_back(prefixes_[s / group_size_]);
    }
    const DeviceBuffer<int32_t> device_prefixes(prefixes);
    const DeviceBuffer<int32_t> contexts(
        std::vector<int32_t>(contexts_.begin() + first, contexts_.begin() + first + count));
    const DeviceBuffer<int32_t> tables(tables_);
    DeviceBuffer<__nv_bfloat16> out(int64_t{count} * heads_ * kLatentChannels);
    out.Fill(0xFF);
    workspace_.Fill(0xFF);
    MlaDecodeBf16Args args = Args(first, count, tables, contexts);
    args.group_size = shares ? group_size_ : 1;
    args.prefix_tokens = prefixes.empty() ? nullptr : device_prefixes.data();
    args.out = out.data();
    args.workspace = workspace_.data();
    R1_CHECK_CUDA(MlaDecodeBf16Sm90(args, nullptr));
    return out.ToHost();
  }

  std::vector<double> Naive() {
    const DeviceBuffer<int32_t> contexts(contexts_);
    const DeviceBuffer<int32_t> tables(tables_);
    const DeviceBuffer<double> out(int64_t{sequences()} * heads_ * kLatentChannels);
    NaiveMlaDecode(Args(0, sequences(), tables, contexts), rows_.data(), out.data());
    return out.ToHost();
  }

  // Of the first head of a sequence.
  std::vector<double> Oracle(int sequence) const {
    const std::vector<float> rows = ToFloats(rows_);
    const std::vector<float> q = ToFloats(q_);
    std::vector<const float*> own_rows;
    for (int t = 0; t < contexts_[sequence]; ++t) {
      const int64_t block = tables_[sequence * table_stride_ + t / kLatentBlockTokens];
      own_rows.push_back(
          &rows[(block * kLatentBlockTokens + t % kLatentBlockTokens) * kCacheChannels]);
    }
    return AttentionOracle({.q = &q[int64_t{sequence} * heads_ * kCacheChannels],
                            .keys = own_rows,
                            .key_width = kCacheChannels,
                            .values = own_rows,
                            .value_width = kLatentChannels,
                            .scale = kScale});
  }

 private:
  static constexpr double kScale = 0.0722;  // 192^-1/2
  static constexpr int kSmallestSplit = 64;

  MlaDecodeBf16Args Args(int first, int count, const DeviceBuffer<int32_t>& tables,
                         const DeviceBuffer<int32_t>& contexts) const {
    MlaDecodeBf16Args args;
    args.sequences = count;
    args.heads = heads_;
    args.q = q_.data() + int64_t{first} * heads_ * kCacheChannels;
    args.cache = packed_.data();
    args.block_tables = tables.data() + int64_t{first} * table_stride_;
    args.table_stride = table_stride_;
    args.contexts = contexts.data();
    args.contexts_max = contexts_max_;
    args.split_tokens = split_tokens_;
    args.scale = static_cast<float>(kScale);
    return args;
  }

  // What lies behind a sequence's last token in its last block must not matter, not even if it is
  // no number.
  void PoisonMissingTokens() {
    for (int s = 0; s < sequences(); ++s) {
      const int tokens = contexts_[s] % kLatentBlockTokens;
      if (tokens == 0) continue;
      const int64_t block = tables_[s * table_stride_ + contexts_[s] / kLatentBlockTokens];
      const int64_t row = block * kLatentBlockTokens + tokens;
      R1_CHECK_CUDA(
          cudaMemset(rows_.data() + row * kCacheChannels, 0xFF,
                     (kLatentBlockTokens - tokens) * kCacheChannels * sizeof(__nv_bfloat16)));
    }
  }

  const int heads_;
  const int group_size_;
  const std::vector<int32_t> contexts_;
  std::vector<int32_t> prefixes_;
  int contexts_max_;
  int split_tokens_ = kMlaStrictSplitTokens;
  int table_stride_;
  std::vector<int32_t> tables_;
  DeviceBuffer<__nv_bfloat16> rows_;
  DeviceBuffer<__nv_bfloat16> q_;
  DeviceBuffer<uint8_t> packed_;
  DeviceBuffer<uint8_t> workspace_;
};

class MlaDecodeGpuTest : public GpuTest {};

void ExpectCloseToNaive(Batch& batch, bool shares, const char* what) {
  const std::vector<__nv_bfloat16> out = batch.Run(0, batch.sequences(), shares);
  const double error = RelativeError(ToFloats(out), batch.Naive());
  EXPECT_LT(error, kTolerance) << what;
  EXPECT_TRUE(SameBits(out, batch.Run(0, batch.sequences(), shares)))
      << "a second run differs: " << what;
  std::printf("mla_decode %s: relative error %.2e\n", what, error);
}

TEST_F(MlaDecodeGpuTest, SmallContextsMatchTheOracle) {
  Batch batch(16, {1, 2, 63, 64, 65, 127, 130, 200}, 1, {}, 3);
  const std::vector<float> out = ToFloats(batch.Run(0, batch.sequences(), false));
  const std::vector<double> naive = batch.Naive();
  for (int s = 0; s < batch.sequences(); ++s) {
    const auto begin = out.begin() + int64_t{s} * 16 * kLatentChannels;
    const std::vector<double> oracle = batch.Oracle(s);
    EXPECT_LT(RelativeError({begin, begin + kLatentChannels}, oracle), kTolerance)
        << "sequence " << s;
    const auto naive_begin = naive.begin() + int64_t{s} * 16 * kLatentChannels;
    const std::vector<float> naive_floats(naive_begin, naive_begin + kLatentChannels);
    EXPECT_LT(RelativeError(naive_floats, oracle), 1e-6) << "sequence " << s;
  }
}

TEST_F(MlaDecodeGpuTest, SmallSharedPrefixMatches) {
  Batch batch(16, {70, 65, 129, 100}, 4, {64}, 4);
  ExpectCloseToNaive(batch, true, "B 4 G 4 P 64");
  Batch longer(16, {330, 321, 400, 384}, 4, {320}, 15);
  ExpectCloseToNaive(longer, true, "B 4 G 4 P 320");
}

// A block of threads has several splits, of one block of tokens and of more, in turn.
TEST_F(MlaDecodeGpuTest, SmallSplitsOfSharedPrefixesMatchAndChangeNoBit) {
  Batch batch(128, {70 * 64 + 1, 70 * 64 + 65}, 2, {70 * 64}, 16);
  for (const int split_tokens : {64, 192}) {
    batch.set_split_tokens(split_tokens);
    ExpectCloseToNaive(batch, true,
                       ("H 128 G 2, splits of " + std::to_string(split_tokens)).c_str());
    EXPECT_TRUE(SameBits(batch.Run(0, 2, true), batch.Run(0, 2, false)));
  }
}

TEST_F(MlaDecodeGpuTest, RaggedContextsMatch) {
  Batch ragged(16, {1, 1023, 1024, 1025, 2048, 2049, 5000, 64, 8191, 3}, 1, {}, 5);
  ExpectCloseToNaive(ragged, false, "ragged");
  Batch heads(32, {700, 1500, 1}, 1, {}, 6);
  ExpectCloseToNaive(heads, false, "H 32");
  Batch many(16, std::vector<int32_t>(300, 333), 1, {}, 7);
  ExpectCloseToNaive(many, false, "B 300 context 333");
}

TEST_F(MlaDecodeGpuTest, EverySizeOfSplitMatches) {
  Batch batch(16, {9000, 2048, 2049, 65}, 1, {}, 8);
  for (const int split_tokens : {64, 192, 512, 2048}) {
    batch.set_split_tokens(split_tokens);
    ExpectCloseToNaive(batch, false, ("splits of " + std::to_string(split_tokens)).c_str());
  }
  const int few = MlaDecodeBf16Sm90FastSplit(1, 16, 8192);
  const int many = MlaDecodeBf16Sm90FastSplit(256, 16, 8192);
  EXPECT_EQ(few, 128);
  EXPECT_EQ(many, kMlaSplitTokensMax);
}

TEST_F(MlaDecodeGpuTest, SharedPrefixesMatchAndChangeNoBit) {
  for (const int heads : {16, 32}) {
    Batch batch(heads, {65, 1100, 2300, 200, 1089, 1088 + 1024, 1100, 1200, 5, 64, 1500, 1}, 4,
                {64, 1088, 0}, 9);
    ExpectCloseToNaive(batch, true, "G 4, three prefixes");
    const std::vector<__nv_bfloat16> shared = batch.Run(0, batch.sequences(), true);
    EXPECT_TRUE(SameBits(shared, batch.Run(0, batch.sequences(), false)));
  }
  Batch batch(16, std::vector<int32_t>(64, 4096 + 77), 16, {4096, 1024, 2048, 64}, 10);
  ExpectCloseToNaive(batch, true, "B 64 G 16");
}

// Neighbours of a block of threads whose items begin with the same blocks, of any number, the last
// one of which may be the last one of all.
TEST_F(MlaDecodeGpuTest, CommonBlocksChangeNoBit) {
  constexpr int kGroup = 5;
  Rng rng = TestRng(14);
  std::vector<int32_t> contexts;
  std::vector<int32_t> prefixes;
  for (int group = 0; group < 60; ++group) {
    prefixes.push_back(static_cast<int32_t>(rng.NextBelow(10)) * kLatentBlockTokens);
    for (int s = 0; s < kGroup; ++s) {
      const uint64_t more = rng.NextBelow(3) == 0 ? 0 : rng.NextBelow(900);
      contexts.push_back(std::max(1, prefixes.back() + static_cast<int32_t>(more)));
    }
  }
  Batch batch(16, contexts, kGroup, prefixes, 13);
  batch.HidePrefixes();
  ExpectCloseToNaive(batch, false, "common blocks");
  const std::vector<__nv_bfloat16> together = batch.Run(0, batch.sequences(), false);
  for (int s = 0; s < batch.sequences(); s += 7) {
    const auto begin = together.begin() + int64_t{s} * 16 * kLatentChannels;
    const std::vector<__nv_bfloat16> own(begin, begin + 16 * kLatentChannels);
    EXPECT_TRUE(SameBits(batch.Run(s, 1, false), own))
        << "sequence " << s << " of context " << contexts[s];
  }
}

TEST_F(MlaDecodeGpuTest, SequenceHasTheSameBitsInEveryBatch) {
  std::vector<int32_t> contexts;
  Rng rng = TestRng(12);
  for (int s = 0; s < 200; ++s) contexts.push_back(1 + static_cast<int32_t>(rng.NextBelow(3000)));
  Batch batch(16, contexts, 1, {}, 11);
  const std::vector<__nv_bfloat16> together = batch.Run(0, batch.sequences(), false);
  for (int s = 0; s < batch.sequences(); s += 9) {
    const auto begin = together.begin() + int64_t{s} * 16 * kLatentChannels;
    const std::vector<__nv_bfloat16> own(begin, begin + 16 * kLatentChannels);
    EXPECT_TRUE(SameBits(batch.Run(s, 1, false), own))
        << "sequence " << s << " of context " << contexts[s];
  }
}

}  // namespace
}  // namespace r1::kernels
