// What the GPU's runner does on the host: a step's numbers in one piece of memory, padding, sizes
// of graphs, order of block copies, and which models and options it refuses.
#include "rollout/engine/cuda/step_inputs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rollout/engine_testing.h"

namespace r1::rollout {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

// Two sequences that continue, blocks of 64 tokens.
StepBatch DecodeBatch(const BlockTable& first, const BlockTable& second) {
  StepBatch batch;
  batch.token_ids = {17, 18};
  batch.positions = {70, 5};
  batch.contexts = {71, 6};
  batch.prefixes = {64, 0};
  batch.prompts = {64, 5};
  batch.block_tables = {first.data(), second.data()};
  batch.draws.fused.rows = {0, 1};
  batch.draws.fused.temperatures = {1, 0.5f};
  batch.draws.fused.rngs = {Rng(1, 0, RngPurpose::kTest, 7, 0), Rng(1, 0, RngPurpose::kTest, 7, 1)};
  batch.draws.fused.positions = {3, 4};
  return batch;
}

TEST(StepInputsTest, PaddingRepeatsTheFirstRowAndWritesNothing) {
  const BlockTable first = {9, 4}, second = {2};
  const StepBatch batch = DecodeBatch(first, second);
  const StepShape shape = {.rows = 4, .draws = 4, .blocks = 3};
  std::vector<uint8_t> memory(PlaceStepInputs(shape, nullptr).bytes);
  const StepInputs inputs = PlaceStepInputs(shape, memory.data());
  FillStepInputs(batch, 64, shape, inputs);
  const auto ints = [](const int32_t* numbers, int count) {
    return std::vector<int32_t>(numbers, numbers + count);
  };
  EXPECT_THAT(ints(inputs.token_ids, 4), ElementsAre(17, 18, 17, 17));
  EXPECT_THAT(ints(inputs.positions, 4), ElementsAre(70, 5, 70, 70));
  EXPECT_THAT(ints(inputs.contexts, 4), ElementsAre(71, 6, 71, 71));
  EXPECT_THAT(ints(inputs.prefixes, 4), ElementsAre(64, 0, 64, 64));
  EXPECT_THAT(ints(inputs.slots, 4), ElementsAre(4 * 64 + 6, 2 * 64 + 5, -1, -1));
  EXPECT_THAT(ints(inputs.tables, 12), ElementsAreArray({9, 4, 0, 2, 0, 0, 9, 4, 0, 9, 4, 0}));
  EXPECT_THAT(ints(inputs.draw_rows, 4), ElementsAre(0, 1, 0, 0));
  EXPECT_EQ(inputs.temperatures[1], 0.5f);
  EXPECT_EQ(inputs.temperatures[3], 1.0f);
  for (const int draw : {0, 1, 3}) {
    const int source = draw == 3 ? 0 : draw;
    EXPECT_EQ(inputs.rngs[draw].UniformAt(inputs.draw_positions[draw]),
              batch.draws.fused.rngs[source].UniformAt(batch.draws.fused.positions[source]));
  }
}

TEST(StepInputsTest, OnlyOneTokenAndOneDrawAResponseIsADecodeStep) {
  const BlockTable first = {9, 4}, second = {2};
  EXPECT_TRUE(IsDecodeStep(DecodeBatch(first, second)));
  StepBatch two_draws_of_a_row = DecodeBatch(first, second);
  two_draws_of_a_row.draws.fused.rows = {1, 1};
  EXPECT_FALSE(IsDecodeStep(two_draws_of_a_row));
  StepBatch no_draw = DecodeBatch(first, second);
  no_draw.draws.fused.rows = {0};
  EXPECT_FALSE(IsDecodeStep(no_draw));
  StepBatch one_sequence = DecodeBatch(first, second);
  one_sequence.block_tables[1] = first.data();
  EXPECT_FALSE(IsDecodeStep(one_sequence));
  StepBatch end_of_a_prompt = DecodeBatch(first, second);
  end_of_a_prompt.prompts[1] = 6;
  EXPECT_FALSE(IsDecodeStep(end_of_a_prompt));
}

// Positions [first, first + count) of a sequence.
void AddTokens(const BlockTable& table, int prompt, int first, int count, StepBatch* batch) {
  for (int position = first; position < first + count; ++position) {
    batch->token_ids.push_back(1);
    batch->positions.push_back(position);
    batch->contexts.push_back(position + 1);
    batch->prompts.push_back(prompt);
    batch->block_tables.push_back(table.data());
  }
}

TEST(StepInputsTest, PromptsAreAttendedOverWholeContextsAndResponsesByThemselves) {
  const BlockTable response = {1, 2}, chunk = {3, 4, 5}, again = {6, 7}, last = {8};
  StepBatch batch;
  AddTokens(response, 20, 70, 1, &batch);
  AddTokens(response, 20, 71, 1, &batch);
  AddTokens(chunk, 1000, 10, 140, &batch);  // rows 2 … 141
  AddTokens(again, 65, 0, 70, &batch);      // preempted: rows 142 … 206 of the prompt, then 5
  AddTokens(last, 30, 29, 1, &batch);       // row 212
  const auto cut = [&](int context_rows_max) {
    const PromptRows prompts = CutPrompts(batch, 64, context_rows_max);
    std::vector<std::vector<int>> tiles, pieces, passes, others;
    for (const kernels::PrefillTile& tile : prompts.tiles)
      tiles.push_back({tile.first_row, tile.rows, tile.first_position, tile.first_key});
    for (const kernels::CachedTokens& piece : prompts.pieces)
      pieces.push_back({piece.block, piece.tokens, piece.first_row});
    for (const PromptRows::Pass& pass : prompts.passes) {
      passes.push_back(
          {pass.tile_begin, pass.tile_end, pass.piece_begin, pass.piece_end, pass.context_rows});
    }
    for (const PromptRows::Range& range : prompts.others)
      others.push_back({range.first, range.count});
    return std::vector<std::vector<std::vector<int>>>{tiles, pieces, passes, others};
  };
  EXPECT_THAT(
      cut(245),
      ElementsAre(
          ElementsAreArray<std::vector<int>>(
              {{130, 12, 138, 0}, {2, 128, 10, 0}, {142, 65, 0, 150}, {212, 1, 29, 215}}),
          ElementsAreArray<std::vector<int>>(
              {{3, 64, 0}, {4, 64, 64}, {5, 22, 128}, {6, 64, 150}, {7, 1, 214}, {8, 30, 215}}),
          ElementsAreArray<std::vector<int>>({{0, 4, 0, 6, 245}}),
          ElementsAreArray<std::vector<int>>({{0, 2}, {207, 5}})));
  // A context that is too long by itself has a pass of its own.
  const auto few = cut(100);
  EXPECT_THAT(few[0], ElementsAreArray<std::vector<int>>(
                          {{130, 12, 138, 0}, {2, 128, 10, 0}, {142, 65, 0, 0}, {212, 1, 29, 65}}));
  EXPECT_THAT(few[2], ElementsAreArray<std::vector<int>>({{0, 2, 0, 3, 150}, {2, 4, 3, 6, 95}}));
  // In the cache: nothing is brought together.
  const auto cached = cut(0);
  EXPECT_THAT(cached[0],
              ElementsAreArray<std::vector<int>>(
                  {{130, 12, 138, 0}, {2, 128, 10, 0}, {142, 65, 0, 0}, {212, 1, 29, 0}}));
  EXPECT_THAT(cached[1], ElementsAre());
  EXPECT_THAT(cached[2], ElementsAreArray<std::vector<int>>({{0, 4, 0, 0, 0}}));
}

TEST(StepInputsTest, RowsWithTheSameBlocksOfAPrefixComeInEvenTiles) {
  // Prefixes of two blocks: five rows share one pair, two share another, one has none.
  const std::vector<BlockTable> tables = {{1, 2, 10}, {1, 2, 11}, {1, 2, 12}, {1, 2, 13},
                                          {1, 2, 14}, {7},        {1, 4, 15}, {1, 4, 16}};
  StepBatch batch;
  for (const BlockTable& table : tables) {
    const bool has_prefix = table.size() > 1;
    batch.token_ids.push_back(1);
    batch.contexts.push_back(has_prefix ? 130 : 20);
    batch.prefixes.push_back(has_prefix ? 128 : 0);
    batch.block_tables.push_back(table.data());
  }
  using Tiles = std::vector<std::pair<int, int>>;
  const auto cut = [&](int rows, int rows_max) {
    Tiles tiles;
    for (const kernels::RowTile& tile : CutPrefixes(batch, rows, 64, rows_max))
      tiles.emplace_back(tile.first, tile.count);
    return tiles;
  };
  EXPECT_EQ(cut(8, 9), Tiles({{0, 5}, {6, 2}}));
  EXPECT_EQ(cut(8, 4), Tiles({{0, 2}, {2, 3}, {6, 2}}));
  EXPECT_EQ(cut(11, 9), Tiles({{0, 5}, {6, 2}, {8, 3}})) << "padding repeats the first row";
  batch.prefixes[7] = 64;
  EXPECT_EQ(cut(8, 9), Tiles({{0, 5}, {6, 1}, {7, 1}}));
  batch.contexts[2] = 128;
  EXPECT_EQ(cut(8, 9), Tiles()) << "a row with nothing behind its prefix";
  batch.token_ids.resize(2);
  batch.prefixes[1] = 64;
  EXPECT_EQ(cut(2, 9), Tiles()) << "nothing is shared";
}

TEST(StepInputsTest, GraphSizesHoldWhatTheyAreForAndWasteLittle) {
  int sizes = 0;
  for (int rows = 1; rows <= 1024; ++rows) {
    EXPECT_GE(GraphRows(rows), rows);
    EXPECT_EQ(GraphRows(GraphRows(rows)), GraphRows(rows));
    EXPECT_LE(GraphRows(rows) - rows, std::max(3, rows / 2));
    sizes += GraphRows(rows) == rows;
  }
  EXPECT_LE(sizes, 40);
  for (int rows = 1; rows <= 1024; ++rows) {
    EXPECT_EQ(GraphPrefixTiles(0, rows), 0);
    for (int tiles = 1; tiles <= rows; tiles *= 2) {
      EXPECT_GE(GraphPrefixTiles(tiles, rows), tiles);
      EXPECT_LE(GraphPrefixTiles(tiles, rows), std::max(2 * tiles, (rows + 7) / 8));
    }
  }
  for (int tokens = 1; tokens < 100'000; tokens += 7) {
    EXPECT_GE(GraphContext(tokens), tokens);
    EXPECT_TRUE(tokens <= 256 || GraphContext(tokens) < 1.5 * tokens);
  }
}

TEST(StepInputsTest, CopiesThatDependOnEachOtherAreApart) {
  EXPECT_THAT(CopyRuns({}), ElementsAre());
  EXPECT_THAT(CopyRuns({{1, 2}, {1, 3}, {4, 5}}), ElementsAre(3));
  EXPECT_THAT(CopyRuns({{1, 2}, {2, 3}}), ElementsAre(1, 2));          // reads what was written
  EXPECT_THAT(CopyRuns({{1, 2}, {3, 2}}), ElementsAre(1, 2));          // writes it again
  EXPECT_THAT(CopyRuns({{1, 2}, {3, 1}, {5, 6}}), ElementsAre(1, 3));  // writes what was read
}

TEST(CudaEngineOptionsTest, ModelsAndOptionsThatTheGpuLacksAreRefusedByName) {
  const auto refused = [](const ModelSpec& spec, EngineOptions options) {
    options.device = "cuda";
    const absl::Status status = Engine::Create(spec, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused(SmallSpec(), {}), HasSubstr("32"));
  ModelSpec spec = SmallSpec();
  spec.hidden = 256;
  EXPECT_THAT(refused(spec, {}), HasSubstr("kv_lora_rank 512"));
  EXPECT_THAT(refused(spec, {.block_tokens = 16}), HasSubstr("block_tokens: expected 64"));
  ModelSpec grouped = RandomFamilySpec("qwen2", 1);
  grouped.hidden = 256;
  EXPECT_THAT(refused(grouped, {}), HasSubstr("layer 0: the GPU's grouped-query attention"));
  EXPECT_THAT(refused(grouped, {}), HasSubstr("head_dim of 64 or 128"));
  for (LayerSpec& layer : grouped.layers) layer.gqa->head_dim = layer.gqa->rope.dim = 64;
  grouped.layers[0].gqa->output_bias = true;
  EXPECT_THAT(refused(grouped, {}), HasSubstr("output projection with a bias"));
  grouped.layers[0].gqa->output_bias = false;
  grouped.layers.push_back(grouped.layers[0]);
  grouped.layers.back().gqa->kv_heads *= 2;
  for (LayerSpec& layer : grouped.layers) layer.dense->intermediate = 64;
  EXPECT_THAT(refused(grouped, {}), HasSubstr("all layers have attention of one kind"));
  EXPECT_THAT(refused(spec, {.prefill_tokens_max = 1 << 16}), HasSubstr("32768 together"));
}

// Where there is no GPU, that is all that is missing.
TEST(CudaEngineOptionsTest, TheSmallPresetFits) {
  const ModelSpec spec = *ParseModelSpec(*PresetConfigJson("moe_small", 32, 1, 2));
  const absl::Status status = Engine::Create(spec, {.device = "cuda:0"}).status();
  EXPECT_NE(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(CheckEngine(spec, {.device = "cuda:0"}).code(), status.code());
  EXPECT_TRUE(CheckEngine(spec, {.device = "auto"}).ok());
  EXPECT_EQ(CheckEngine(spec, {.device = "cuda:x"}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace r1::rollout
