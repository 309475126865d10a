// Grouped-query attention on the GPU against double precision, over shuffled blocks, for contexts
// of every remainder, heads of both sizes and groups of every kind; that neither neighbours nor a
// prompt's tiles move a bit, and that tokens that do not exist play no part.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/gqa_decode_bf16_sm90.h"
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

// Probabilities and results are rounded to bf16.
constexpr double kTolerance = 4e-3;

struct Shape {
  int heads;
  int kv_heads;
  int head_dim;
};
// Qwen2.5-1.5B, -7B and -0.5B, Llama 3, attention without groups, one key head for all.
constexpr Shape kShapes[] = {{12, 2, 128}, {28, 4, 128}, {14, 2, 64},
                             {32, 8, 128}, {3, 3, 64},   {32, 1, 64}};

// The last `rows` of a sequence's `context` tokens ask.
struct Sequence {
  int context;
  int rows = 1;
  int prefix = 0;              // its first tokens, whole blocks
  bool shares_prefix = false;  // with the sequence before, whose blocks it has
};

std::vector<Sequence> SingleRows(const std::vector<int>& contexts) {
  std::vector<Sequence> sequences;
  for (const int context : contexts) sequences.push_back({.context = context});
  return sequences;
}

// What is done with the projections.
struct InputOptions {
  bool bias = false;
  bool norms = false;
  bool interleaved = false;
  bool writes = true;  // of the cache
};

// Sequences over a cache in random order.
class Batch {
 public:
  Batch(const Shape& shape, const std::vector<Sequence>& sequences, uint64_t seed)
      : shape_(shape), sequences_(sequences) {
    for (const Sequence& sequence : sequences) {
      contexts_max_ = std::max(contexts_max_, sequence.context);
      for (int i = 0; i < sequence.rows; ++i) {
        contexts_.push_back(sequence.context - sequence.rows + 1 + i);
        prefixes_.push_back(sequence.prefix);
      }
    }
    table_stride_ = (contexts_max_ + kGroupedBlockTokens - 1) / kGroupedBlockTokens;
    FillTables(seed);
    FillCache(seed + 1);
    q_ = NormalBf16(int64_t{rows()} * row_width(), 1, seed + 2);
    workspace_ = DeviceBuffer<uint8_t>(GqaDecodeBf16Sm90WorkspaceBytes(
        rows() + tile_rows_max() * static_cast<int>(sequences.size()), shape.heads, shape.head_dim,
        contexts_max_, kSmallestSplit, true));
    counters_ = DeviceBuffer<uint32_t>(std::vector<uint32_t>(rows() * shape.kv_heads, 0));
  }

  int rows() const { return static_cast<int>(contexts_.size()); }
  int row_width() const { return shape_.heads * shape_.head_dim; }
  int tile_rows_max() const { return kGqaTileHeadsMax / (shape_.heads / shape_.kv_heads); }
  void set_split_tokens(int split_tokens) { split_tokens_ = split_tokens; }

  // All rows of the sequences [first, first + count), in tiles of at most tile_rows. Rows of other
  // sequences are not written.
  std::vector<__nv_bfloat16> Run(int first, int count, int tile_rows) {
    std::vector<RowTile> tiles;
    int row = 0;
    for (int s = 0; s < first + count; ++s) {
      for (int i = 0; i < sequences_[s].rows && s >= first; i += tile_rows)
        tiles.push_back({row + i, std::min(tile_rows, sequences_[s].rows - i)});
      row += sequences_[s].rows;
    }
    return Attend([&](GqaDecodeBf16Args args) {
      const DeviceBuffer<RowTile> device_tiles(tiles);
      args.tile_count = static_cast<int>(tiles.size());
      args.tiles = device_tiles.data();
      args.tile_rows_max = tile_rows;
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, nullptr));
      R1_CHECK_CUDA(cudaDeviceSynchronize());
    });
  }
  // One row a sequence, without tiles: many are attended in pairs.
  std::vector<__nv_bfloat16> RunRows() {
    return Attend([&](GqaDecodeBf16Args args) {
      args.tile_count = rows();
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, nullptr));
      R1_CHECK_CUDA(cudaDeviceSynchronize());
    });
  }
  // One row a sequence: shared prefixes in tiles of at most tile_rows, then the rest.
  std::vector<__nv_bfloat16> RunInParts(int tile_rows) {
    std::vector<RowTile> tiles(1);  // an empty one, too
    int prefixes_max = 0;
    for (int row = 0; row < rows(); ++row) {
      prefixes_max = std::max(prefixes_max, prefixes_[row]);
      if (sequences_[row].shares_prefix && tiles.back().count < tile_rows) {
        ++tiles.back().count;
      } else {
        tiles.push_back({row, 1});
      }
    }
    return Attend([&](GqaDecodeBf16Args args) {
      const DeviceBuffer<RowTile> device_tiles(tiles);
      args.prefixes_max = prefixes_max;
      args.workspace_rows = rows();
      args.part = GqaPart::kPrefixes;
      args.tile_count = static_cast<int>(tiles.size());
      args.tiles = device_tiles.data();
      args.tile_rows_max = tile_rows;
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, nullptr));
      args.part = GqaPart::kRest;
      args.tile_count = rows();
      args.tiles = nullptr;
      args.tile_rows_max = 1;
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, nullptr));
      R1_CHECK_CUDA(cudaDeviceSynchronize());
    });
  }
  // One row a sequence, from what was projected, which comes from `seed`: by one kernel, or by
  // GqaInputBf16Sm90 and another one.
  std::vector<__nv_bfloat16> RunFromInput(uint64_t seed, const InputOptions& options, bool in_one) {
    constexpr int kPositions = 3;
    const int dim = shape_.head_dim;
    const int width = row_width() + 2 * shape_.kv_heads * dim;
    const auto input = NormalBf16(int64_t{rows()} * width, 1, seed);
    const DeviceBuffer<float> bias(ToFloats(NormalBf16(width, 1, seed + 1)));
    const DeviceBuffer<float> query_norm(ToFloats(NormalBf16(dim, 1, seed + 2)));
    const DeviceBuffer<float> key_norm(ToFloats(NormalBf16(dim, 1, seed + 3)));
    const DeviceBuffer<float> rope(ToFloats(NormalBf16(kPositions * 2 * dim, 1, seed + 4)));
    std::vector<int32_t> row_positions;
    std::vector<int32_t> row_slots;
    for (int row = 0; row < rows(); ++row) {
      row_positions.push_back(row % kPositions);
      row_slots.push_back(options.writes ? static_cast<int32_t>(Place(row, contexts_[row] - 1))
                                         : -1);
    }
    const DeviceBuffer<int32_t> positions(row_positions);
    const DeviceBuffer<int32_t> slots(row_slots);
    DeviceBuffer<__nv_bfloat16> query(int64_t{rows()} * row_width());
    const GqaInputBf16Args projected = {.rows = rows(),
                                        .heads = shape_.heads,
                                        .kv_heads = shape_.kv_heads,
                                        .head_dim = dim,
                                        .input = input.data(),
                                        .input_stride = width,
                                        .bias = options.bias ? bias.data() : nullptr,
                                        .query_norm = options.norms ? query_norm.data() : nullptr,
                                        .key_norm = options.norms ? key_norm.data() : nullptr,
                                        .eps = 1e-6f,
                                        .positions = positions.data(),
                                        .rope_table = rope.data(),
                                        .interleaved = options.interleaved,
                                        .query = query.data(),
                                        .cache = cache_.data(),
                                        .slots = slots.data()};
    return Attend([&](GqaDecodeBf16Args args) {
      R1_CHECK_CUDA(cudaDeviceSynchronize());
      args.tile_count = rows();
      if (in_one) {
        args.q = nullptr;
        args.input = projected;
      } else {
        R1_CHECK_CUDA(GqaInputBf16Sm90(projected, nullptr));
        args.q = query.data();
      }
      R1_CHECK_CUDA(GqaDecodeBf16Sm90(args, nullptr));
      R1_CHECK_CUDA(cudaDeviceSynchronize());
    });
  }
  std::vector<uint8_t> CacheBytes() const { return cache_.ToHost(); }
  std::vector<__nv_bfloat16> RunAll(int tile_rows) {
    return Run(0, static_cast<int>(sequences_.size()), tile_rows);
  }

  std::vector<double> Oracle() const {
    const std::vector<float> q = ToFloats(q_);
    const int dim = shape_.head_dim;
    std::vector<double> out;
    for (int row = 0; row < rows(); ++row) {
      for (int head = 0; head < shape_.heads; ++head) {
        const int kv_head = head / (shape_.heads / shape_.kv_heads);
        AttentionOracleArgs args = {.q = &q[int64_t{row} * row_width() + head * dim],
                                    .key_width = dim,
                                    .value_width = dim,
                                    .scale = kScale};
        for (int t = 0; t < contexts_[row]; ++t) {
          args.keys.push_back(&plain_[PlainOffset(Place(row, t), kv_head)]);
          args.values.push_back(args.keys.back() + dim);
        }
        const std::vector<double> own = AttentionOracle(args);
        out.insert(out.end(), own.begin(), own.end());
      }
    }
    return out;
  }

 private:
  // What `call` writes, which gets what every call says.
  template <typename Call>
  std::vector<__nv_bfloat16> Attend(const Call& call) {
    const DeviceBuffer<int32_t> contexts(contexts_);
    const DeviceBuffer<int32_t> prefixes(prefixes_);
    const DeviceBuffer<int32_t> tables(tables_);
    DeviceBuffer<__nv_bfloat16> out(int64_t{rows()} * row_width());
    out.Fill(0xFF);
    workspace_.Fill(0xFF);
    call({.heads = shape_.heads,
          .kv_heads = shape_.kv_heads,
          .head_dim = shape_.head_dim,
          .q = q_.data(),
          .cache = cache_.data(),
          .block_tables = tables.data(),
          .table_stride = table_stride_,
          .contexts = contexts.data(),
          .contexts_max = contexts_max_,
          .prefixes = prefixes.data(),
          .split_tokens = split_tokens_,
          .scale = kScale,
          .out = out.data(),
          .workspace = workspace_.data(),
          .counters = counters_.data()});
    const std::vector<uint32_t> counters = counters_.ToHost();
    EXPECT_EQ(std::count(counters.begin(), counters.end(), 0u),
              static_cast<int64_t>(counters.size()));
    return out.ToHost();
  }

  static constexpr float kScale = 0.0884f;  // 128^-1/2
  static constexpr int kSmallestSplit = 64;

  // Block tables, the same for all rows of a sequence.
  void FillTables(uint64_t seed) {
    std::vector<std::vector<int32_t>> own;
    for (const Sequence& sequence : sequences_) {
      std::vector<int32_t> blocks;
      if (sequence.shares_prefix)
        blocks.assign(own.back().begin(),
                      own.back().begin() + sequence.prefix / kGroupedBlockTokens);
      while (static_cast<int>(blocks.size()) * kGroupedBlockTokens < sequence.context)
        blocks.push_back(blocks_++);
      own.push_back(blocks);
    }
    std::vector<int32_t> order(blocks_);
    std::iota(order.begin(), order.end(), 0);
    Rng rng = TestRng(seed);
    for (int i = 0; i < blocks_; ++i) std::swap(order[i], order[i + rng.NextBelow(blocks_ - i)]);
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int32_t& block : own[s]) block = order[block];
      own[s].resize(table_stride_, -1);
      for (int i = 0; i < sequences_[s].rows; ++i)
        tables_.insert(tables_.end(), own[s].begin(), own[s].end());
    }
  }

  // Random keys and values of the tokens that exist. What lies behind a sequence's last token in
  // its last block must not matter, not even if it is no number.
  void FillCache(uint64_t seed) {
    const int64_t head_bytes = GroupedHeadBytes(shape_.head_dim);
    plain_ = ToFloats(NormalBf16(
        int64_t{blocks_} * kGroupedBlockTokens * shape_.kv_heads * 2 * shape_.head_dim, 1, seed));
    std::vector<uint8_t> packed(blocks_ * shape_.kv_heads * head_bytes, 0xFF);
    int row = 0;
    for (const Sequence& sequence : sequences_) {
      for (int t = 0; t < sequence.context; ++t) {
        const int64_t place = Place(row, t);
        for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
          uint8_t* const head =
              &packed[(place / kGroupedBlockTokens * shape_.kv_heads + kv_head) * head_bytes];
          const float* const source = &plain_[PlainOffset(place, kv_head)];
          for (int c = 0; c < shape_.head_dim; ++c) {
            const int offset = GroupedOffset(static_cast<int>(place % kGroupedBlockTokens), c);
            StoreBf16(source[c], head + offset);
            StoreBf16(source[shape_.head_dim + c],
                      head + GroupedKeyBytes(shape_.head_dim) + offset);
          }
        }
      }
      row += sequence.rows;
    }
    cache_ = DeviceBuffer<uint8_t>(packed);
  }

  // A float that is a bf16.
  static void StoreBf16(float value, uint8_t* target) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const auto high = static_cast<uint16_t>(bits >> 16);
    std::memcpy(target, &high, sizeof(high));
  }

  // A token of a row's sequence: block * kGroupedBlockTokens + token in the block.
  int64_t Place(int row, int token) const {
    const int64_t block = tables_[int64_t{row} * table_stride_ + token / kGroupedBlockTokens];
    return block * kGroupedBlockTokens + token % kGroupedBlockTokens;
  }
  // Of its key, before its value.
  int64_t PlainOffset(int64_t place, int kv_head) const {
    return (place * shape_.kv_heads + kv_head) * 2 * shape_.head_dim;
  }

  const Shape shape_;
  const std::vector<Sequence> sequences_;
  std::vector<int32_t> contexts_;  // of every row
  std::vector<int32_t> prefixes_;
  int contexts_max_ = 0;
  int split_tokens_ = kGqaStrictSplitTokens;
  int table_stride_ = 0;
  int blocks_ = 0;
  std::vector<int32_t> tables_;
  std::vector<float> plain_;  // [blocks * 64][N][key, value][K]
  DeviceBuffer<uint8_t> cache_;
  DeviceBuffer<__nv_bfloat16> q_;
  DeviceBuffer<uint8_t> workspace_;
  DeviceBuffer<uint32_t> counters_;
};

class GqaDecodeGpuTest : public GpuTest {};

void ExpectCloseToOracle(Batch& batch, int tile_rows, const std::string& what) {
  const std::vector<__nv_bfloat16> out = batch.RunAll(tile_rows);
  const double error = RelativeError(ToFloats(out), batch.Oracle());
  EXPECT_LT(error, kTolerance) << what;
  EXPECT_TRUE(SameBits(out, batch.RunAll(tile_rows))) << "a second run differs: " << what;
  std::printf("gqa_decode %s: relative error %.2e\n", what.c_str(), error);
}

std::string Name(const Shape& shape) {
  return std::to_string(shape.heads) + " heads, " + std::to_string(shape.kv_heads) + " of " +
         std::to_string(shape.head_dim);
}

TEST_F(GqaDecodeGpuTest, SmallContextsMatchTheOracle) {
  for (const Shape& shape : kShapes) {
    Batch batch(shape, SingleRows({1, 2, 15, 16, 17, 63, 64, 65, 127, 130, 200}), 3);
    ExpectCloseToOracle(batch, 1, Name(shape));
  }
}

TEST_F(GqaDecodeGpuTest, SmallPromptsMatchInTilesAndChangeNoBit) {
  for (const Shape& shape : kShapes) {
    Batch batch(shape, {{.context = 37, .rows = 37}, {.context = 100, .rows = 30}, {70}}, 4);
    const int tile_rows = batch.tile_rows_max();
    ExpectCloseToOracle(batch, tile_rows, Name(shape) + ", tiles of " + std::to_string(tile_rows));
    EXPECT_TRUE(SameBits(batch.RunAll(tile_rows), batch.RunAll(1))) << Name(shape);
  }
}

TEST_F(GqaDecodeGpuTest, RaggedContextsMatch) {
  Batch ragged(kShapes[0], SingleRows({1, 511, 512, 513, 1024, 1025, 5000, 64, 8191, 3}), 5);
  ExpectCloseToOracle(ragged, 1, "ragged");
  Batch many(kShapes[1], SingleRows(std::vector<int>(300, 133)), 6);
  ExpectCloseToOracle(many, 1, "300 sequences of 133");
}

TEST_F(GqaDecodeGpuTest, EverySizeOfSplitMatches) {
  Batch batch(kShapes[2], {{9000}, {.context = 2049, .rows = 40}, {2048}, {65}}, 7);
  for (const int split_tokens : {64, 192, 512, 2048}) {
    batch.set_split_tokens(split_tokens);
    ExpectCloseToOracle(batch, 1, "splits of " + std::to_string(split_tokens));
    EXPECT_TRUE(SameBits(batch.RunAll(1), batch.RunAll(batch.tile_rows_max())));
  }
  EXPECT_EQ(GqaDecodeBf16Sm90FastSplit(1, 2, 8192), 256);
  EXPECT_EQ(GqaDecodeBf16Sm90FastSplit(256, 2, 8192), kGqaSplitTokensMax);
}

TEST_F(GqaDecodeGpuTest, PromptsAcrossSplitsMatchInTilesAndChangeNoBit) {
  for (const Shape& shape : {kShapes[0], kShapes[1], kShapes[2]}) {
    Batch batch(shape,
                {{.context = 530, .rows = 25},
                 {.context = 1300, .rows = 300},
                 {.context = 600},
                 {.context = 512, .rows = 3}},
                8);
    for (const int tile_rows : {batch.tile_rows_max(), 2}) {
      ExpectCloseToOracle(batch, tile_rows,
                          Name(shape) + ", tiles of " + std::to_string(tile_rows));
      EXPECT_TRUE(SameBits(batch.RunAll(tile_rows), batch.RunAll(1))) << Name(shape);
    }
  }
}

// Neighbours that begin with the same blocks, few, many or none, and differ in length.
TEST_F(GqaDecodeGpuTest, PairsChangeNoBit) {
  for (const Shape& shape : kShapes) {
    Rng rng = TestRng(15);
    std::vector<Sequence> sequences;
    int prefix = 0;
    for (int s = 0; s < 301; ++s) {
      const bool shares = s > 0 && rng.NextBelow(3) > 0;
      if (!shares) prefix = static_cast<int>(rng.NextBelow(8)) * kGroupedBlockTokens;
      const uint64_t more =
          rng.NextBelow(3) == 0 ? 0 : rng.NextBelow(rng.NextBelow(9) ? 200 : 1500);
      sequences.push_back({.context = std::max(1, prefix + static_cast<int>(more)),
                           .prefix = prefix,
                           .shares_prefix = shares});
    }
    Batch batch(shape, sequences, 16);
    for (const int split_tokens : {kGqaStrictSplitTokens, 192, kGqaSplitTokensMax}) {
      batch.set_split_tokens(split_tokens);
      const std::vector<__nv_bfloat16> pairs = batch.RunRows();
      EXPECT_TRUE(SameBits(pairs, batch.RunAll(1)))
          << Name(shape) << ", splits of " << split_tokens;
      EXPECT_TRUE(SameBits(pairs, batch.RunRows())) << "a second run differs";
    }
  }
}

constexpr InputOptions kInputOptions[] = {
    {}, {.bias = true}, {.norms = true, .interleaved = true}, {.bias = true, .norms = true}};

// Each run has new last tokens, so that what it does not put in their places shows.
void ExpectInputInOneKernel(Batch& batch, uint64_t seed, const std::string& what) {
  for (const InputOptions& options : kInputOptions) {
    const std::vector<__nv_bfloat16> in_one = batch.RunFromInput(seed, options, true);
    const std::vector<uint8_t> cache = batch.CacheBytes();
    EXPECT_TRUE(SameBits(in_one, batch.RunFromInput(seed, options, false))) << what;
    EXPECT_EQ(cache, batch.CacheBytes()) << what;
    // A row without a slot attends its last token all the same, and writes nothing.
    InputOptions silent = options;
    silent.writes = false;
    batch.RunFromInput(seed + 100, silent, true);
    EXPECT_EQ(cache, batch.CacheBytes()) << what;
    EXPECT_TRUE(SameBits(in_one, batch.RunFromInput(seed, silent, true))) << what;
    seed += 10;
  }
}

// Few rows and pairs, last tokens in every place of a block.
TEST_F(GqaDecodeGpuTest, FromWhatWasProjectedInOneKernel) {
  for (const Shape& shape : kShapes) {
    if (shape.heads / shape.kv_heads > kGqaInputHeadsMax) continue;
    for (const int rows : {1, 7, 290}) {
      for (const int split_tokens : {64, 1024}) {
        std::vector<int> contexts;
        for (int s = 0; s < rows; ++s) contexts.push_back(1 + (s * 37 + 63) % 1200);
        Batch batch(shape, SingleRows(contexts), 17);
        batch.set_split_tokens(split_tokens);
        ExpectInputInOneKernel(batch, 1000,
                               Name(shape) + ", " + std::to_string(rows) + " rows, splits of " +
                                   std::to_string(split_tokens));
      }
    }
  }
}

TEST_F(GqaDecodeGpuTest, SmallFromWhatWasProjected) {
  for (const int rows : {3, 133}) {
    std::vector<int> contexts;
    for (int s = 0; s < rows; ++s) contexts.push_back(1 + (s * 13 + 60) % 140);
    Batch batch({12, 2, 128}, SingleRows(contexts), 18);
    ExpectInputInOneKernel(batch, 2000, std::to_string(rows) + " rows");
  }
}

TEST_F(GqaDecodeGpuTest, ManyHeadsTakeNoInput) {
  const __nv_bfloat16 projected = {};
  GqaDecodeBf16Args args = {
      .heads = 32, .kv_heads = 1, .head_dim = 64, .contexts_max = 1, .tile_count = 1};
  args.input = {.rows = 1, .heads = 32, .kv_heads = 1, .head_dim = 64, .input = &projected};
  EXPECT_EQ(GqaDecodeBf16Sm90(args, nullptr), cudaErrorInvalidValue);
}

// Groups of sequences that share their prefix, and sequences of their own in between.
std::vector<Sequence> Groups(int prefix) {
  std::vector<Sequence> sequences;
  for (const int samples : {1, 16, 5, 1, 9}) {
    for (int i = 0; i < samples; ++i) {
      sequences.push_back({.context = prefix + 1 + (37 * i + 11 * samples) % 300,
                           .prefix = prefix,
                           .shares_prefix = i > 0});
    }
    sequences.push_back({.context = 70});
  }
  return sequences;
}

void ExpectSharedPrefixesChangeNoBit(const Shape& shape, int prefix, int split_tokens) {
  Batch batch(shape, Groups(prefix), 61);
  batch.set_split_tokens(split_tokens);
  const std::string what = Name(shape) + ", prefix " + std::to_string(prefix) + ", split " +
                           std::to_string(split_tokens);
  ExpectCloseToOracle(batch, 1, what);
  const std::vector<__nv_bfloat16> alone = batch.RunAll(1);
  for (const int tile_rows : {1, std::min(3, batch.tile_rows_max()), batch.tile_rows_max()})
    EXPECT_TRUE(SameBits(alone, batch.RunInParts(tile_rows))) << what << ", tiles of " << tile_rows;
}

TEST_F(GqaDecodeGpuTest, SmallSharedPrefixesChangeNoBit) {
  ExpectSharedPrefixesChangeNoBit(kShapes[0], 128, 128);
}

TEST_F(GqaDecodeGpuTest, SharedPrefixesChangeNoBit) {
  for (const Shape& shape : kShapes) {
    for (const int prefix : {64, 256, 1024, 1280}) {
      for (const int split_tokens : {128, kGqaStrictSplitTokens})
        ExpectSharedPrefixesChangeNoBit(shape, prefix, split_tokens);
    }
  }
}

TEST_F(GqaDecodeGpuTest, SequenceHasTheSameBitsInEveryBatch) {
  std::vector<int> contexts;
  Rng rng = TestRng(12);
  for (int s = 0; s < 200; ++s) contexts.push_back(1 + static_cast<int>(rng.NextBelow(1500)));
  Batch batch(kShapes[0], SingleRows(contexts), 11);
  const std::vector<__nv_bfloat16> together = batch.RunAll(1);
  for (int s = 0; s < 200; s += 9) {
    const auto own_of = [&](const std::vector<__nv_bfloat16>& all) {
      const auto begin = all.begin() + int64_t{s} * batch.row_width();
      return std::vector<__nv_bfloat16>(begin, begin + batch.row_width());
    };
    EXPECT_TRUE(SameBits(own_of(batch.Run(s, 1, 1)), own_of(together)))
        << "sequence " << s << " of context " << contexts[s];
  }
}

}  // namespace
}  // namespace r1::kernels
