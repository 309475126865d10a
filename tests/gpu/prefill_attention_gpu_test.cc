// Causal attention of prompts on the GPU against double precision, for prompts of every remainder;
// that neither chunks nor neighbours move a bit; and the rows of the paged cache that it is fed
// with.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cuda/latent_gather_bf16_sm90.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/naive_cuda.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

// Probabilities and results are rounded to bf16.
constexpr double kTolerance = 4e-3;
constexpr int kOwn = kPrefillHeadChannels;
constexpr int kCommon = kPrefillSharedChannels;
constexpr float kScale = 0.0722f;  // 192^-1/2

using Values = std::vector<__nv_bfloat16>;

// Rows [first, first + count) of a prompt.
struct Chunk {
  int prompt;
  int first;
  int count;
};

class Prompts {
 public:
  Prompts(int heads, const std::vector<int>& tokens, uint64_t seed)
      : heads_(heads), tokens_(tokens) {
    for (const int count : tokens) {
      first_token_.push_back(total_);
      total_ += count;
    }
    q_ = NormalBf16(int64_t{total_} * heads * kOwn, 1, seed).ToHost();
    q_shared_ = NormalBf16(int64_t{total_} * heads * kCommon, 1, seed + 1).ToHost();
    keys_values_ = NormalBf16(int64_t{total_} * heads * 2 * kOwn, 1, seed + 2).ToHost();
    key_shared_ = NormalBf16(int64_t{total_} * kCommon, 1, seed + 3).ToHost();
  }

  // The results of these rows, chunk after chunk. Contexts end with their chunk's last token, and a
  // sequence with numbers of 2^100 follows each.
  Values Run(const std::vector<Chunk>& chunks) const {
    Values q, q_shared, keys_values, key_shared;
    std::vector<PrefillTile> tiles;
    const __nv_bfloat16 large = __float2bfloat16(0x1p100f);
    int rows = 0;
    int key_rows = 0;
    for (const Chunk& chunk : chunks) {
      for (int begin = 0; begin < chunk.count; begin += kPrefillTileRows) {
        tiles.push_back({.first_row = rows + begin,
                         .rows = std::min(kPrefillTileRows, chunk.count - begin),
                         .first_position = chunk.first + begin,
                         .first_key = key_rows});
      }
      const int context = chunk.first + chunk.count;
      const int token = first_token_[chunk.prompt];
      Append(q_, token + chunk.first, chunk.count, heads_ * kOwn, &q);
      Append(q_shared_, token + chunk.first, chunk.count, heads_ * kCommon, &q_shared);
      Append(keys_values_, token, context, heads_ * 2 * kOwn, &keys_values);
      Append(key_shared_, token, context, kCommon, &key_shared);
      keys_values.insert(keys_values.end(), kDecoyTokens * heads_ * 2 * kOwn, large);
      key_shared.insert(key_shared.end(), kDecoyTokens * kCommon, large);
      rows += chunk.count;
      key_rows += context + kDecoyTokens;
    }
    std::stable_sort(tiles.begin(), tiles.end(), [](const PrefillTile& a, const PrefillTile& b) {
      return a.first_position > b.first_position;
    });
    const DeviceBuffer<__nv_bfloat16> device_q(q), device_q_shared(q_shared),
        device_keys_values(keys_values), device_key_shared(key_shared);
    const DeviceBuffer<PrefillTile> device_tiles(tiles);
    DeviceBuffer<__nv_bfloat16> out(int64_t{rows} * heads_ * kOwn);
    out.Fill(0xFF);
    const int64_t key_stride = int64_t{heads_} * 2 * kOwn;
    R1_CHECK_CUDA(PrefillAttentionBf16Sm90(
        {.heads = heads_,
         .rows = rows,
         .q = {device_q.data(), int64_t{heads_} * kOwn, kOwn},
         .q_shared = {device_q_shared.data(), int64_t{heads_} * kCommon, kCommon},
         .key_rows = key_rows,
         .keys = {device_keys_values.data(), key_stride, 2 * kOwn},
         .key_shared = {device_key_shared.data(), kCommon, 0},
         .values = {device_keys_values.data() + kOwn, key_stride, 2 * kOwn},
         .tiles = device_tiles.data(),
         .tile_count = static_cast<int>(tiles.size()),
         .scale = kScale,
         .out = out.data(),
         .out_stride = int64_t{heads_} * kOwn,
         .out_head_stride = kOwn},
        nullptr));
    return out.ToHost();
  }

  Values RunWhole() const {
    std::vector<Chunk> chunks;
    for (int p = 0; p < static_cast<int>(tokens_.size()); ++p) chunks.push_back({p, 0, tokens_[p]});
    return Run(chunks);
  }

  // Prompt after prompt, each in chunks of `size` tokens.
  Values RunInChunks(int size) const {
    Values out;
    for (int p = 0; p < static_cast<int>(tokens_.size()); ++p) {
      for (int first = 0; first < tokens_[p]; first += size) {
        const Values some = Run({{p, first, std::min(size, tokens_[p] - first)}});
        out.insert(out.end(), some.begin(), some.end());
      }
    }
    return out;
  }

  // Largest relative error of a row of a head, over every `step`-th of them.
  double WorstError(const Values& out, int step) const {
    double worst = 0;
    int64_t index = 0;
    for (int p = 0; p < static_cast<int>(tokens_.size()); ++p) {
      for (int row = 0; row < tokens_[p]; ++row) {
        for (int head = 0; head < heads_; ++head) {
          const int64_t own = (int64_t{first_token_[p]} + row) * heads_ + head;
          if (index++ % step != 0) continue;
          const Values result(out.begin() + own * kOwn, out.begin() + (own + 1) * kOwn);
          worst = std::max(worst, RelativeError(ToFloats(result), Oracle(p, row, head)));
        }
      }
    }
    return worst;
  }

 private:
  static constexpr int kDecoyTokens = 130;

  static void Append(const Values& source, int first, int count, int width, Values* target) {
    const auto begin = source.begin() + int64_t{first} * width;
    target->insert(target->end(), begin, begin + int64_t{count} * width);
  }

  std::vector<double> Oracle(int prompt, int row, int head) const {
    const int64_t token = first_token_[prompt];
    const int64_t own = (token + row) * heads_ + head;
    const auto join = [](const __nv_bfloat16* channels, const __nv_bfloat16* shared,
                         std::vector<float>* joined) {
      for (int c = 0; c < kOwn; ++c) joined->push_back(ToFloat(channels[c]));
      for (int c = 0; c < kCommon; ++c) joined->push_back(ToFloat(shared[c]));
    };
    std::vector<float> q, keys, values;
    join(&q_[own * kOwn], &q_shared_[own * kCommon], &q);
    for (int64_t t = token; t <= token + row; ++t) {
      const __nv_bfloat16* const head_data = &keys_values_[(t * heads_ + head) * 2 * kOwn];
      join(head_data, &key_shared_[t * kCommon], &keys);
      for (int c = 0; c < kOwn; ++c) values.push_back(ToFloat(head_data[kOwn + c]));
    }
    AttentionOracleArgs args = {
        .q = q.data(), .key_width = kOwn + kCommon, .value_width = kOwn, .scale = kScale};
    for (int t = 0; t <= row; ++t) {
      args.keys.push_back(&keys[size_t(t) * (kOwn + kCommon)]);
      args.values.push_back(&values[size_t(t) * kOwn]);
    }
    return AttentionOracle(args);
  }

  const int heads_;
  const std::vector<int> tokens_;
  std::vector<int> first_token_;
  int total_ = 0;
  Values q_, q_shared_, keys_values_, key_shared_;
};

class PrefillAttentionGpuTest : public GpuTest {};

TEST_F(PrefillAttentionGpuTest, SmallPromptsMatchTheOracle) {
  const Prompts prompts(2, {1, 2, 63, 64, 65, 127, 128, 129, 200, 257}, 3);
  const double error = prompts.WorstError(prompts.RunWhole(), 1);
  EXPECT_LT(error, kTolerance);
  std::printf("prefill_attention, 1 to 257 tokens: worst relative error of a row %.2e\n", error);
}

TEST_F(PrefillAttentionGpuTest, SmallChunksChangeNoBit) {
  const Prompts prompts(2, {129, 300, 1}, 7);
  const Values whole = prompts.RunWhole();
  for (const int size : {7, 64, 100, 128, 200})
    EXPECT_TRUE(SameBits(prompts.RunInChunks(size), whole)) << "chunks of " << size;
}

TEST_F(PrefillAttentionGpuTest, LongPromptsMatchTheOracle) {
  const Prompts prompts(16, {8192, 3001, 1, 5000, 130}, 11);
  const Values out = prompts.RunWhole();
  const double error = prompts.WorstError(out, 997);
  EXPECT_LT(error, kTolerance);
  EXPECT_TRUE(SameBits(out, prompts.RunWhole())) << "a second run differs";
  std::printf("prefill_attention, up to 8192 tokens: worst relative error of a row %.2e\n", error);
}

TEST_F(PrefillAttentionGpuTest, NeitherChunksNorNeighboursMoveABit) {
  const Prompts prompts(16, {5000, 700, 129, 64, 1, 2049}, 13);
  const Values whole = prompts.RunWhole();
  for (const int size : {333, 1000, 2048, 8192})
    EXPECT_TRUE(SameBits(prompts.RunInChunks(size), whole)) << "chunks of " << size;
}

TEST_F(PrefillAttentionGpuTest, SmallCallsOutsideTheLimitsAreRefused) {
  const DeviceBuffer<__nv_bfloat16> data(1 << 16);
  const DeviceBuffer<PrefillTile> tiles(std::vector<PrefillTile>{{0, 1, 0, 0}});
  const PrefillOperand operand = {data.data(), kOwn, kOwn};
  const PrefillAttentionBf16Args good = {.heads = 1,
                                         .rows = 1,
                                         .q = operand,
                                         .q_shared = operand,
                                         .key_rows = 1,
                                         .keys = operand,
                                         .key_shared = operand,
                                         .values = operand,
                                         .tiles = tiles.data(),
                                         .tile_count = 1,
                                         .scale = 1,
                                         .out = data.data(),
                                         .out_stride = kOwn,
                                         .out_head_stride = kOwn};
  const auto refused = [&](auto change) {
    PrefillAttentionBf16Args args = good;
    change(args);
    return PrefillAttentionBf16Sm90(args, nullptr) == cudaErrorInvalidValue;
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& args) { args.heads = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.rows = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.key_rows = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.tile_count = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.scale = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.q.stride += 4; }));
  EXPECT_TRUE(refused([](auto& args) { args.values.head_stride += 4; }));
  EXPECT_TRUE(refused([](auto& args) { args.out_stride += 1; }));
}

class LatentGatherGpuTest : public GpuTest {};

TEST_F(LatentGatherGpuTest, SmallContextsComeAsTheyWereCached) {
  constexpr int kBlocks = 5;
  const auto rows = NormalBf16(int64_t{kBlocks} * kLatentBlockTokens * kCacheChannels, 1, 17);
  const DeviceBuffer<uint8_t> cache(kBlocks * kCacheBlockBytes);
  PackCache(rows.data(), kBlocks, cache.data());
  const std::vector<CachedTokens> pieces = {{3, 64, 1}, {0, 64, 65}, {4, 1, 129}, {2, 33, 131}};
  const DeviceBuffer<CachedTokens> device_pieces(pieces);
  DeviceBuffer<__nv_bfloat16> gathered(int64_t{165} * kCacheChannels);
  gathered.Fill(0xFF);
  Values expected = gathered.ToHost();
  const Values all = rows.ToHost();
  for (const CachedTokens& piece : pieces) {
    std::copy_n(all.begin() + int64_t{piece.block} * kLatentBlockTokens * kCacheChannels,
                piece.tokens * kCacheChannels,
                expected.begin() + int64_t{piece.first_row} * kCacheChannels);
  }
  R1_CHECK_CUDA(LatentGatherBf16Sm90({.cache = cache.data(),
                                      .pieces = device_pieces.data(),
                                      .count = static_cast<int>(pieces.size()),
                                      .rows = gathered.data()},
                                     nullptr));
  EXPECT_TRUE(SameBits(gathered.ToHost(), expected));
}

}  // namespace
}  // namespace r1::kernels
