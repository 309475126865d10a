// Causal grouped-query attention of prompts on the GPU against double precision, over shuffled
// blocks, for heads of both sizes and groups of every kind; that neither chunks nor neighbours move
// a bit, and that tokens that do not exist play no part.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/gqa_prefill_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

// Probabilities and results are rounded to bf16.
constexpr double kTolerance = 4e-3;
constexpr float kScale = 0.0884f;  // 128^-1/2

using Values = std::vector<__nv_bfloat16>;

struct Shape {
  int heads;
  int kv_heads;
  int head_dim;
};
// Qwen2.5-1.5B and -0.5B, attention without groups, one key head for all.
constexpr Shape kShapes[] = {{12, 2, 128}, {14, 2, 64}, {3, 3, 64}, {7, 1, 128}};

// Rows [first, first + count) of a prompt.
struct Chunk {
  int prompt;
  int first;
  int count;
};

class Prompts {
 public:
  Prompts(const Shape& shape, const std::vector<int>& tokens, uint64_t seed)
      : shape_(shape), tokens_(tokens) {
    for (const int count : tokens) {
      first_token_.push_back(total_);
      total_ += count;
    }
    const int64_t dim = shape.head_dim;
    q_ = NormalBf16(total_ * shape.heads * dim, 1, seed).ToHost();
    keys_values_ = NormalBf16(int64_t{total_} * shape.kv_heads * 2 * dim, 1, seed + 1).ToHost();
  }

  // The results of these rows, chunk after chunk. Nothing but the context of a chunk is cached:
  // the rest of its last block is no numbers.
  Values Run(const std::vector<Chunk>& chunks) const {
    int blocks = 0;
    int stride = 0;
    for (const Chunk& chunk : chunks) {
      blocks += Blocks(chunk);
      stride = std::max(stride, Blocks(chunk));
    }
    std::vector<int32_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    Rng rng = TestRng(blocks);
    for (int i = 0; i < blocks; ++i) std::swap(order[i], order[i + rng.NextBelow(blocks - i)]);

    Values q;
    std::vector<uint8_t> cache(int64_t{blocks} * block_bytes(), 0xFF);
    std::vector<int32_t> tables;
    std::vector<PrefillTile> tiles;
    const int32_t* next = order.data();
    for (const Chunk& chunk : chunks) {
      const int first_row = static_cast<int>(tables.size()) / stride;
      for (int begin = 0; begin < chunk.count; begin += kPrefillTileRows) {
        tiles.push_back({.first_row = first_row + begin,
                         .rows = std::min(kPrefillTileRows, chunk.count - begin),
                         .first_position = chunk.first + begin,
                         .first_key = 0});
      }
      const int64_t width = row_width();
      const auto begin = q_.begin() + (first_token_[chunk.prompt] + chunk.first) * width;
      q.insert(q.end(), begin, begin + chunk.count * width);
      FillCache(chunk, next, &cache);
      for (int i = 0; i < chunk.count; ++i) {
        // No more than the row attends itself.
        std::vector<int32_t> table(next, next + Blocks({chunk.prompt, chunk.first + i, 1}));
        table.resize(stride, -1);
        tables.insert(tables.end(), table.begin(), table.end());
      }
      next += Blocks(chunk);
    }
    std::stable_sort(tiles.begin(), tiles.end(), [](const PrefillTile& a, const PrefillTile& b) {
      return a.first_position > b.first_position;
    });
    const DeviceBuffer<__nv_bfloat16> device_q(q);
    const DeviceBuffer<uint8_t> device_cache(cache);
    const DeviceBuffer<int32_t> device_tables(tables);
    const DeviceBuffer<PrefillTile> device_tiles(tiles);
    DeviceBuffer<__nv_bfloat16> out(static_cast<int64_t>(q.size()));
    out.Fill(0xFF);
    R1_CHECK_CUDA(GqaPrefillBf16Sm90({.rows = static_cast<int>(tables.size()) / stride,
                                      .heads = shape_.heads,
                                      .kv_heads = shape_.kv_heads,
                                      .head_dim = shape_.head_dim,
                                      .q = device_q.data(),
                                      .cache = device_cache.data(),
                                      .block_tables = device_tables.data(),
                                      .table_stride = stride,
                                      .tiles = device_tiles.data(),
                                      .tile_count = static_cast<int>(tiles.size()),
                                      .scale = kScale,
                                      .out = out.data()},
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
    const int dim = shape_.head_dim;
    double worst = 0;
    int64_t index = 0;
    for (int p = 0; p < static_cast<int>(tokens_.size()); ++p) {
      for (int row = 0; row < tokens_[p]; ++row) {
        for (int head = 0; head < shape_.heads; ++head) {
          if (index++ % step != 0) continue;
          const auto begin =
              out.begin() + (first_token_[p] + row) * row_width() + int64_t{head} * dim;
          worst = std::max(
              worst, RelativeError(ToFloats(Values(begin, begin + dim)), Oracle(p, row, head)));
        }
      }
    }
    return worst;
  }

 private:
  int64_t row_width() const { return int64_t{shape_.heads} * shape_.head_dim; }
  int64_t block_bytes() const {
    return int64_t{shape_.kv_heads} * GroupedHeadBytes(shape_.head_dim);
  }
  static int Blocks(const Chunk& chunk) {
    return (chunk.first + chunk.count + kGroupedBlockTokens - 1) / kGroupedBlockTokens;
  }
  // Keys, then values, of a token's key head.
  const __nv_bfloat16* KeyValue(int prompt, int token, int kv_head) const {
    const int64_t row = int64_t{first_token_[prompt]} + token;
    return &keys_values_[(row * shape_.kv_heads + kv_head) * 2 * shape_.head_dim];
  }

  void FillCache(const Chunk& chunk, const int32_t* table, std::vector<uint8_t>* cache) const {
    const int dim = shape_.head_dim;
    for (int t = 0; t < chunk.first + chunk.count; ++t) {
      for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
        const __nv_bfloat16* const source = KeyValue(chunk.prompt, t, kv_head);
        uint8_t* const head = &(*cache)[table[t / kGroupedBlockTokens] * block_bytes() +
                                        int64_t{kv_head} * GroupedHeadBytes(dim)];
        for (int c = 0; c < dim; ++c) {
          const int offset = GroupedOffset(t % kGroupedBlockTokens, c);
          std::memcpy(head + offset, source + c, sizeof(*source));
          std::memcpy(head + GroupedKeyBytes(dim) + offset, source + dim + c, sizeof(*source));
        }
      }
    }
  }

  std::vector<double> Oracle(int prompt, int row, int head) const {
    const int dim = shape_.head_dim;
    const auto floats = [](const __nv_bfloat16* values, int count) {
      return ToFloats(Values(values, values + count));
    };
    const std::vector<float> q =
        floats(&q_[(first_token_[prompt] + row) * row_width() + int64_t{head} * dim], dim);
    std::vector<std::vector<float>> rows;
    for (int t = 0; t <= row; ++t) {
      rows.push_back(floats(KeyValue(prompt, t, head / (shape_.heads / shape_.kv_heads)), 2 * dim));
    }
    AttentionOracleArgs args = {
        .q = q.data(), .key_width = dim, .value_width = dim, .scale = kScale};
    for (const std::vector<float>& own : rows) {
      args.keys.push_back(own.data());
      args.values.push_back(own.data() + dim);
    }
    return AttentionOracle(args);
  }

  const Shape shape_;
  const std::vector<int> tokens_;
  std::vector<int> first_token_;
  int total_ = 0;
  Values q_, keys_values_;
};

std::string Name(const Shape& shape) {
  return std::to_string(shape.heads) + " heads on " + std::to_string(shape.kv_heads) + " of " +
         std::to_string(shape.head_dim);
}

class GqaPrefillGpuTest : public GpuTest {};

TEST_F(GqaPrefillGpuTest, SmallPromptsMatchTheOracle) {
  for (const Shape& shape : kShapes) {
    const Prompts prompts(shape, {1, 2, 63, 64, 65, 127, 128, 129, 200}, 3);
    const double error = prompts.WorstError(prompts.RunWhole(), 3);
    EXPECT_LT(error, kTolerance) << Name(shape);
    std::printf("gqa_prefill %s: worst relative error of a row %.2e\n", Name(shape).c_str(), error);
  }
}

TEST_F(GqaPrefillGpuTest, SmallChunksChangeNoBit) {
  const Prompts prompts({6, 2, 128}, {129, 300, 1}, 7);
  const Values whole = prompts.RunWhole();
  for (const int size : {7, 64, 100, 128, 200})
    EXPECT_TRUE(SameBits(prompts.RunInChunks(size), whole)) << "chunks of " << size;
}

TEST_F(GqaPrefillGpuTest, LongPromptsMatchInAnyChunks) {
  for (const Shape& shape : kShapes) {
    const Prompts prompts(shape, {4100, 1500, 1, 130}, 11);
    const Values whole = prompts.RunWhole();
    const double error = prompts.WorstError(whole, 997);
    EXPECT_LT(error, kTolerance) << Name(shape);
    EXPECT_TRUE(SameBits(whole, prompts.RunWhole())) << "a second run differs: " << Name(shape);
    for (const int size : {333, 1024})
      EXPECT_TRUE(SameBits(prompts.RunInChunks(size), whole)) << Name(shape) << " " << size;
    std::printf("gqa_prefill %s, up to 4100 tokens: worst relative error of a row %.2e\n",
                Name(shape).c_str(), error);
  }
}

TEST_F(GqaPrefillGpuTest, SmallCallsOutsideTheLimitsAreRefused) {
  const DeviceBuffer<__nv_bfloat16> data(1 << 16);
  const DeviceBuffer<int32_t> table(std::vector<int32_t>{0});
  const DeviceBuffer<PrefillTile> tiles(std::vector<PrefillTile>{{0, 1, 0, 0}});
  const GqaPrefillBf16Args good = {.rows = 1,
                                   .heads = 2,
                                   .kv_heads = 1,
                                   .head_dim = 64,
                                   .q = data.data(),
                                   .cache = reinterpret_cast<const uint8_t*>(data.data()),
                                   .block_tables = table.data(),
                                   .table_stride = 1,
                                   .tiles = tiles.data(),
                                   .tile_count = 1,
                                   .scale = 1,
                                   .out = data.data() + (1 << 15)};
  const auto refused = [&](auto change) {
    GqaPrefillBf16Args args = good;
    change(args);
    return GqaPrefillBf16Sm90(args, nullptr) == cudaErrorInvalidValue;
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& args) { args.rows = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.tile_count = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.kv_heads = 0; }));
  EXPECT_TRUE(refused([](auto& args) { args.heads = 3, args.kv_heads = 2; }));
  EXPECT_TRUE(refused([](auto& args) { args.head_dim = 96; }));
  EXPECT_TRUE(refused([](auto& args) { args.scale = 0; }));
}

}  // namespace
}  // namespace r1::kernels
