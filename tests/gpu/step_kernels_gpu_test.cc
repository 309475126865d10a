// The small kernels between the products, against double precision: residual stream and norm, what
// latent and grouped-query attention do with their projections, block copies, packing of parts of
// matrices.
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/cache_copy_sm90.h"
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "kernels/cuda/packed_weights.h"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "kernels/rope.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

constexpr double kTolerance = 3e-3;  // results are rounded to bf16
constexpr float kEps = 1e-5f;

std::vector<float> NormalFloats(int64_t size, float std, uint64_t seed) {
  return size > 0 ? ToFloats(NormalBf16(size, std, seed)) : std::vector<float>();
}

std::vector<double> Normed(const std::vector<double>& x, const float* weight) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + kEps);
  std::vector<double> y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * weight[i]);
  return y;
}

void Append(std::vector<double>& all, const std::vector<double>& some) {
  all.insert(all.end(), some.begin(), some.end());
}

class ResidualNormGpuTest : public GpuTest {};

TEST_F(ResidualNormGpuTest, SmallBatchesMatch) {
  for (const int hidden : {128, 2048, 2056, 7168, 16384}) {
    const int rows = 5;
    const int64_t size = int64_t{rows} * hidden;
    const std::vector<float> before = NormalFloats(size, 2, 1);
    const std::vector<float> weight = NormalFloats(hidden, 1, 2);
    const auto delta = NormalBf16(size, 1, 3);
    const std::vector<float> delta_floats = ToFloats(delta);
    const DeviceBuffer<float> residual(before);
    const DeviceBuffer<float> device_weight(weight);
    const DeviceBuffer<int32_t> row_ids(std::vector<int32_t>{4, 0, 4});
    DeviceBuffer<__nv_bfloat16> y(size);
    const ResidualNormBf16Args args = {.rows = rows,
                                       .hidden = hidden,
                                       .residual = residual.data(),
                                       .delta = delta.data(),
                                       .weight = device_weight.data(),
                                       .eps = kEps,
                                       .y = y.data()};
    std::vector<double> sums;
    std::vector<std::vector<double>> normed;
    for (int row = 0; row < rows; ++row) {
      std::vector<double> x;
      for (int64_t i = int64_t{row} * hidden; i < int64_t{row + 1} * hidden; ++i)
        x.push_back(before[i] + delta_floats[i]);
      Append(sums, x);
      normed.push_back(Normed(x, weight.data()));
    }
    // Chosen rows first: they leave the residual stream alone.
    y.Fill(0xFF);
    ResidualNormBf16Args chosen = args;
    chosen.rows = 3;
    chosen.row_ids = row_ids.data();
    R1_CHECK_CUDA(ResidualNormBf16Sm90(chosen, nullptr));
    std::vector<double> expected;
    for (const int row : {4, 0, 4}) Append(expected, normed[row]);
    std::vector<float> found = ToFloats(y);
    found.resize(int64_t{3} * hidden);
    EXPECT_LE(RelativeError(found, expected), kTolerance) << hidden;
    EXPECT_TRUE(SameBits(residual.ToHost(), before));

    y.Fill(0xFF);
    R1_CHECK_CUDA(ResidualNormBf16Sm90(args, nullptr));
    expected.clear();
    for (const std::vector<double>& row : normed) Append(expected, row);
    EXPECT_LE(RelativeError(ToFloats(y), expected), kTolerance) << hidden;
    EXPECT_LE(RelativeError(residual.ToHost(), sums), 1e-6) << hidden;
  }
}

TEST_F(ResidualNormGpuTest, SmallBatchesTakeADeltaInParts) {
  const int hidden = 136, rows = 3, parts = 2;
  const std::vector<float> before = NormalFloats(rows * hidden, 2, 1);
  const std::vector<float> delta = NormalFloats(parts * rows * hidden, 1, 2);
  const DeviceBuffer<float> residual(before);
  const DeviceBuffer<float> device_delta(delta);
  const DeviceBuffer<float> weight(std::vector<float>(hidden, 1));
  DeviceBuffer<__nv_bfloat16> y(rows * hidden);
  R1_CHECK_CUDA(ResidualNormBf16Sm90({.rows = rows,
                                      .hidden = hidden,
                                      .residual = residual.data(),
                                      .delta_parts = device_delta.data(),
                                      .part_count = parts,
                                      .part_stride = rows * hidden,
                                      .weight = weight.data(),
                                      .eps = kEps,
                                      .y = y.data()},
                                     nullptr));
  std::vector<double> sums, expected;
  const std::vector<float> ones(hidden, 1);
  for (int row = 0; row < rows; ++row) {
    std::vector<double> x;
    for (int i = row * hidden; i < (row + 1) * hidden; ++i)
      x.push_back(double{before[i]} + delta[i] + delta[rows * hidden + i]);
    Append(sums, x);
    Append(expected, Normed(x, ones.data()));
  }
  EXPECT_LE(RelativeError(residual.ToHost(), sums), 1e-6);
  EXPECT_LE(RelativeError(ToFloats(y), expected), kTolerance);
}

TEST_F(ResidualNormGpuTest, SmallBatchesTakeExpertsResults) {
  const int hidden = 264, rows = 5, active = 9, shared = 2, slots = active + shared;
  const std::vector<float> before = NormalFloats(rows * hidden, 2, 1);
  const DeviceBuffer<__nv_bfloat16> results = NormalBf16(int64_t{rows} * slots * hidden, 1, 2);
  const std::vector<float> weights = NormalFloats(rows * active, 1, 3);
  std::vector<int> places;  // 7 and the number of results have no common divisor
  for (int i = 0; i < rows * slots; ++i) places.push_back(i * 7 % (rows * slots));
  const DeviceBuffer<float> residual(before);
  const DeviceBuffer<float> device_weights(weights);
  const DeviceBuffer<int> device_places(places);
  const DeviceBuffer<float> weight(std::vector<float>(hidden, 1));
  const DeviceBuffer<__nv_bfloat16> y(rows * hidden);
  R1_CHECK_CUDA(ResidualNormBf16Sm90({.rows = rows,
                                      .hidden = hidden,
                                      .residual = residual.data(),
                                      .experts = {.results = results.data(),
                                                  .places = device_places.data(),
                                                  .weights = device_weights.data(),
                                                  .active = active,
                                                  .shared = shared},
                                      .weight = weight.data(),
                                      .eps = kEps,
                                      .y = y.data()},
                                     nullptr));
  const std::vector<float> host_results = ToFloats(results);
  std::vector<double> sums, expected;
  const std::vector<float> ones(hidden, 1);
  for (int row = 0; row < rows; ++row) {
    std::vector<double> x(before.begin() + row * hidden, before.begin() + (row + 1) * hidden);
    for (int slot = 0; slot < slots; ++slot) {
      const double factor = slot < active ? weights[row * active + slot] : 1;
      const int64_t first = int64_t{places[row * slots + slot]} * hidden;
      for (int i = 0; i < hidden; ++i) x[i] += factor * host_results[first + i];
    }
    Append(sums, x);
    Append(expected, Normed(x, ones.data()));
  }
  EXPECT_LE(RelativeError(residual.ToHost(), sums), 1e-6);
  EXPECT_LE(RelativeError(ToFloats(y), expected), kTolerance);
}

TEST_F(ResidualNormGpuTest, SmallBatchesBeginWithTheEmbeddings) {
  const int hidden = 256;
  const std::vector<int32_t> ids = {3, 0, 6};
  const auto embedding = NormalBf16(7 * hidden, 1, 4);
  const std::vector<float> table = ToFloats(embedding);
  const DeviceBuffer<float> weight(std::vector<float>(hidden, 1));
  const DeviceBuffer<int32_t> tokens(ids);
  DeviceBuffer<float> residual(3 * hidden);
  DeviceBuffer<__nv_bfloat16> y(3 * hidden);
  residual.Fill(0xFF);
  R1_CHECK_CUDA(ResidualNormBf16Sm90({.rows = 3,
                                      .hidden = hidden,
                                      .residual = residual.data(),
                                      .tokens = tokens.data(),
                                      .embedding = embedding.data(),
                                      .weight = weight.data(),
                                      .eps = kEps,
                                      .y = y.data()},
                                     nullptr));
  std::vector<float> expected;
  for (const int32_t id : ids)
    expected.insert(expected.end(), table.begin() + id * hidden, table.begin() + (id + 1) * hidden);
  EXPECT_TRUE(SameBits(residual.ToHost(), expected));
}

class MlaInputGpuTest : public GpuTest {};

// Rotation with the table's row, in double precision.
std::vector<double> Rotated(const std::vector<double>& x, const float* table_row,
                            bool interleaved) {
  const size_t width = x.size();
  std::vector<double> y;
  for (size_t i = 0; i < width; ++i) {
    const size_t partner = interleaved ? i ^ 1 : (i + width / 2) % width;
    y.push_back(x[i] * table_row[i] + x[partner] * table_row[width + i]);
  }
  return y;
}

std::vector<double> Rotated(const float* x, const float* table_row, bool interleaved) {
  return Rotated(std::vector<double>(x, x + kRotaryChannels), table_row, interleaved);
}

std::vector<float> Frequencies(int dim) {
  std::vector<float> frequencies;
  for (int i = 0; i < dim / 2; ++i)
    frequencies.push_back(static_cast<float>(std::pow(1e4, -2.0 * i / dim)));
  return frequencies;
}

void ExpectInputsMatch(bool interleaved, int heads, int query_rank) {
  const std::vector<int32_t> positions = {0, 5, 63, 64, 200};
  const std::vector<int32_t> slots = {130, 5, 63, -1, 64};
  const int rows = static_cast<int>(positions.size());
  const int nope = 64;
  const int head_width = nope + kRotaryChannels;
  const int width = query_rank + heads * head_width + kCacheChannels;
  const int latent_at = width - kCacheChannels;
  const std::vector<float> table =
      MakeRopeTable(Frequencies(kRotaryChannels), 1.5f, interleaved, 256);
  const std::vector<float> latent_norm = NormalFloats(kLatentChannels, 1, 5);
  const std::vector<float> query_norm = NormalFloats(query_rank, 1, 6);
  const auto input = NormalBf16(int64_t{rows} * width, 1, 7);
  const std::vector<float> x = ToFloats(input);
  const DeviceBuffer<int32_t> device_positions(positions);
  const DeviceBuffer<int32_t> device_slots(slots);
  const DeviceBuffer<float> device_table(table);
  const DeviceBuffer<float> device_latent_norm(latent_norm);
  const DeviceBuffer<float> device_query_norm(query_norm);
  DeviceBuffer<uint8_t> cache(3 * kCacheBlockBytes);
  DeviceBuffer<__nv_bfloat16> query_normed(int64_t{rows} * query_rank);
  DeviceBuffer<__nv_bfloat16> rotated(int64_t{rows} * heads * kCacheChannels);
  cache.Fill(0xFF);
  query_normed.Fill(0xFF);
  rotated.Fill(0xFF);
  R1_CHECK_CUDA(MlaInputBf16Sm90({.rows = rows,
                                  .positions = device_positions.data(),
                                  .rope_table = device_table.data(),
                                  .interleaved = interleaved,
                                  .eps = kEps,
                                  .latent = input.data() + latent_at,
                                  .latent_stride = width,
                                  .latent_norm = device_latent_norm.data(),
                                  .cache = cache.data(),
                                  .slots = device_slots.data(),
                                  .query_latent = query_rank > 0 ? input.data() : nullptr,
                                  .query_latent_stride = width,
                                  .query_rank = query_rank,
                                  .query_norm = device_query_norm.data(),
                                  .query_normed = query_normed.data(),
                                  .query_normed_stride = query_rank,
                                  .query = input.data() + query_rank + nope,
                                  .query_stride = width,
                                  .query_head_stride = head_width,
                                  .heads = heads,
                                  .rotated = rotated.data() + kLatentChannels,
                                  .rotated_stride = int64_t{heads} * kCacheChannels,
                                  .rotated_head_stride = kCacheChannels},
                                 nullptr));

  const std::vector<uint8_t> bytes = cache.ToHost();
  const std::vector<float> rotated_floats = ToFloats(rotated);
  std::vector<double> expected, expected_heads, expected_queries;
  std::vector<float> found, found_heads;
  int written = 0;
  for (int row = 0; row < rows; ++row) {
    const float* const own = &x[int64_t{row} * width];
    const float* const table_row = &table[int64_t{positions[row]} * 2 * kRotaryChannels];
    if (slots[row] >= 0) {
      Append(expected,
             Normed({own + latent_at, own + latent_at + kLatentChannels}, latent_norm.data()));
      Append(expected, Rotated(own + latent_at + kLatentChannels, table_row, interleaved));
      for (int channel = 0; channel < kCacheChannels; ++channel) {
        __nv_bfloat16 value;
        std::memcpy(&value,
                    &bytes[slots[row] / kLatentBlockTokens * kCacheBlockBytes +
                           CacheOffset(slots[row] % kLatentBlockTokens, channel)],
                    sizeof(value));
        found.push_back(ToFloat(value));
      }
      written += kCacheChannels * 2;
    }
    for (int head = 0; head < heads; ++head) {
      Append(expected_heads,
             Rotated(own + query_rank + head * head_width + nope, table_row, interleaved));
      const int64_t at = (int64_t{row} * heads + head) * kCacheChannels;
      for (int i = 0; i < kLatentChannels; ++i) ASSERT_TRUE(std::isnan(rotated_floats[at + i]));
      found_heads.insert(found_heads.end(), &rotated_floats[at + kLatentChannels],
                         &rotated_floats[at + kLatentChannels] + kRotaryChannels);
    }
    if (query_rank > 0)
      Append(expected_queries, Normed({own, own + query_rank}, query_norm.data()));
  }
  EXPECT_LE(RelativeError(found, expected), kTolerance);
  EXPECT_LE(RelativeError(found_heads, expected_heads), kTolerance);
  if (query_rank > 0) {
    EXPECT_LE(RelativeError(ToFloats(query_normed), expected_queries), kTolerance);
  }
  EXPECT_GE(std::count(bytes.begin(), bytes.end(), 0xFF),
            static_cast<int64_t>(bytes.size()) - written);
}

TEST_F(MlaInputGpuTest, SmallInputsMatch) {
  ExpectInputsMatch(true, 16, 0);
  ExpectInputsMatch(false, 16, 0);
  ExpectInputsMatch(true, 32, 128);
  ExpectInputsMatch(false, 128, 1536);
}

class GqaInputGpuTest : public GpuTest {};

struct GqaInputCase {
  int heads;
  int kv_heads;
  int head_dim;
  bool has_bias;
  bool has_norm;
  bool interleaved;
};

void ExpectGqaInputsMatch(const GqaInputCase& c) {
  const std::vector<int32_t> positions = {0, 5, 63, 64, 200};
  const std::vector<int32_t> slots = {130, 5, 63, -1, 64};
  const int rows = static_cast<int>(positions.size());
  const int all_heads = c.heads + 2 * c.kv_heads;
  const int width = all_heads * c.head_dim;
  const int stride = width + 8;
  const std::vector<float> table = MakeRopeTable(Frequencies(c.head_dim), 1.5f, c.interleaved, 256);
  const std::vector<float> bias = NormalFloats(width, 1, 5);
  const std::vector<float> norms[2] = {NormalFloats(c.head_dim, 1, 6),
                                       NormalFloats(c.head_dim, 1, 7)};
  const auto input = NormalBf16(int64_t{rows} * stride, 1, 8);
  const std::vector<float> x = ToFloats(input);
  const DeviceBuffer<int32_t> device_positions(positions);
  const DeviceBuffer<int32_t> device_slots(slots);
  const DeviceBuffer<float> device_table(table);
  const DeviceBuffer<float> device_bias(bias);
  const DeviceBuffer<float> query_norm(norms[0]);
  const DeviceBuffer<float> key_norm(norms[1]);
  const int head_bytes = GroupedHeadBytes(c.head_dim);
  DeviceBuffer<uint8_t> cache(3 * c.kv_heads * head_bytes);
  DeviceBuffer<__nv_bfloat16> query(int64_t{rows} * c.heads * c.head_dim);
  cache.Fill(0xFF);
  query.Fill(0xFF);
  R1_CHECK_CUDA(GqaInputBf16Sm90({.rows = rows,
                                  .heads = c.heads,
                                  .kv_heads = c.kv_heads,
                                  .head_dim = c.head_dim,
                                  .input = input.data(),
                                  .input_stride = stride,
                                  .bias = c.has_bias ? device_bias.data() : nullptr,
                                  .query_norm = c.has_norm ? query_norm.data() : nullptr,
                                  .key_norm = c.has_norm ? key_norm.data() : nullptr,
                                  .eps = kEps,
                                  .positions = device_positions.data(),
                                  .rope_table = device_table.data(),
                                  .interleaved = c.interleaved,
                                  .query = query.data(),
                                  .cache = cache.data(),
                                  .slots = device_slots.data()},
                                 nullptr));

  const std::vector<uint8_t> bytes = cache.ToHost();
  std::vector<double> expected_queries, expected_cache;
  std::vector<float> found_cache;
  for (int row = 0; row < rows; ++row) {
    const float* const table_row = &table[int64_t{positions[row]} * 2 * c.head_dim];
    for (int head = 0; head < all_heads; ++head) {
      const bool is_query = head < c.heads;
      const bool is_value = head >= c.heads + c.kv_heads;
      std::vector<double> own;
      for (int i = 0; i < c.head_dim; ++i) {
        const int column = head * c.head_dim + i;
        own.push_back(double{x[row * stride + column]} + (c.has_bias ? bias[column] : 0));
      }
      if (!is_value && c.has_norm) own = Normed(own, norms[is_query ? 0 : 1].data());
      if (!is_value) own = Rotated(own, table_row, c.interleaved);
      if (is_query) Append(expected_queries, own);
      if (is_query || slots[row] < 0) continue;
      Append(expected_cache, own);
      const int kv_head = (head - c.heads) % c.kv_heads;
      for (int i = 0; i < c.head_dim; ++i) {
        __nv_bfloat16 value;
        std::memcpy(&value,
                    &bytes[(slots[row] / kGroupedBlockTokens * c.kv_heads + kv_head) * head_bytes +
                           (is_value ? GroupedKeyBytes(c.head_dim) : 0) +
                           GroupedOffset(slots[row] % kGroupedBlockTokens, i)],
                    sizeof(value));
        found_cache.push_back(ToFloat(value));
      }
    }
  }
  EXPECT_LE(RelativeError(ToFloats(query), expected_queries), kTolerance);
  EXPECT_LE(RelativeError(found_cache, expected_cache), kTolerance);
  EXPECT_GE(std::count(bytes.begin(), bytes.end(), 0xFF),
            static_cast<int64_t>(bytes.size()) - static_cast<int64_t>(2 * found_cache.size()));
}

TEST_F(GqaInputGpuTest, SmallInputsMatch) {
  ExpectGqaInputsMatch({12, 2, 128, true, false, false});
  ExpectGqaInputsMatch({16, 8, 128, false, true, false});
  ExpectGqaInputsMatch({14, 2, 64, true, false, true});
  ExpectGqaInputsMatch({3, 1, 64, true, true, false});
  ExpectGqaInputsMatch({5, 5, 128, false, false, true});
}

class CacheCopyGpuTest : public GpuTest {};

TEST_F(CacheCopyGpuTest, SmallCopiesReachEveryLayer) {
  const int layers = 3, blocks = 5, block_bytes = 1040;
  std::vector<uint8_t> before(layers * blocks * block_bytes);
  Rng rng = TestRng(1);
  for (uint8_t& byte : before) byte = static_cast<uint8_t>(rng.NextBelow(256));
  const DeviceBuffer<uint8_t> cache(before);
  const std::vector<CacheBlockCopy> copies = {{0, 3}, {0, 4}};
  const DeviceBuffer<CacheBlockCopy> device_copies(copies);
  R1_CHECK_CUDA(CacheCopySm90({.cache = cache.data(),
                               .layer_bytes = blocks * block_bytes,
                               .block_bytes = block_bytes,
                               .layers = layers,
                               .copies = device_copies.data(),
                               .count = 2},
                              nullptr));
  std::vector<uint8_t> expected = before;
  for (int layer = 0; layer < layers; ++layer) {
    const auto first = expected.begin() + layer * blocks * block_bytes;
    for (const CacheBlockCopy& copy : copies)
      std::copy_n(first + copy.source * block_bytes, block_bytes,
                  first + copy.target * block_bytes);
  }
  EXPECT_EQ(cache.ToHost(), expected);
}

class PackingGpuTest : public GpuTest {};

TEST_F(PackingGpuTest, SmallPartsAndTransposedMatricesArePackedLikeWholeOnes) {
  // [2 matrices][96 rows of which the last 40][64 columns], and their transposed.
  const int rows = 40, columns = 64, all_rows = 96;
  const auto source = NormalBf16(2 * all_rows * columns, 1, 8);
  const std::vector<__nv_bfloat16> host = source.ToHost();
  const int64_t matrix = all_rows * columns;
  const int64_t packed_bytes = PackedBytes(rows, columns);
  DeviceBuffer<uint8_t> packed(2 * packed_bytes);
  packed.Fill(0xFF);
  R1_CHECK_CUDA(PackStridedBf16Sm90({.data = source.data() + (all_rows - rows) * columns,
                                     .matrix_stride = matrix,
                                     .row_stride = columns,
                                     .column_stride = 1},
                                    2, rows, columns, packed.data(), nullptr));
  std::vector<uint8_t> bytes = packed.ToHost();
  for (int m = 0; m < 2; ++m) {
    for (int row = 0; row < kPackedBlockRows; ++row) {
      for (int column = 0; column < columns; ++column) {
        uint16_t expected = 0;
        if (row < rows)
          std::memcpy(&expected, &host[m * matrix + (all_rows - rows + row) * columns + column], 2);
        uint16_t found;
        std::memcpy(&found, &bytes[m * packed_bytes + PackedOffset(row, column, columns)], 2);
        ASSERT_EQ(found, expected) << m << " " << row << " " << column;
      }
    }
  }
  // 64 rows of 64 columns, transposed.
  R1_CHECK_CUDA(PackStridedBf16Sm90({.data = source.data(), .row_stride = 1, .column_stride = 64},
                                    1, 64, 64, packed.data(), nullptr));
  bytes = packed.ToHost();
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < 64; ++column) {
      ASSERT_EQ(std::memcmp(&bytes[PackedOffset(row, column, 64)], &host[column * 64 + row], 2), 0);
    }
  }
}

TEST_F(PackingGpuTest, SmallNumbersAreRoundedToNearestEven) {
  const std::vector<float> floats = {1.0f, 1.00390625f, 1.01171875f, -3.14159265f, 1e-30f};
  const DeviceBuffer<float> source(floats);
  DeviceBuffer<__nv_bfloat16> target(5);
  R1_CHECK_CUDA(RoundToBf16Sm90(source.data(), 5, target.data(), nullptr));
  const std::vector<float> rounded = ToFloats(target);
  EXPECT_EQ(rounded[0], 1.0f);
  EXPECT_EQ(rounded[1], 1.0f);
  EXPECT_EQ(rounded[2], 1.015625f);
  EXPECT_EQ(rounded[3], -3.140625f);
  EXPECT_NEAR(rounded[4] / 1e-30f, 1, 1.0 / 256);
}

}  // namespace
}  // namespace r1::kernels
