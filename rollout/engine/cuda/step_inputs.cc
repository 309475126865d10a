#include "rollout/engine/cuda/step_inputs.h"

#include <algorithm>
#include <unordered_set>

#include "common/status.h"
#include "rollout/engine/cuda/device_memory.h"

namespace r1::rollout {

StepInputs PlaceStepInputs(const StepShape& shape, uint8_t* base) {
  StepInputs inputs = {};
  Placement placement(base);
  placement.Take(&inputs.token_ids, shape.rows);
  placement.Take(&inputs.positions, shape.rows);
  placement.Take(&inputs.contexts, shape.rows);
  placement.Take(&inputs.prefixes, shape.rows);
  placement.Take(&inputs.slots, shape.rows);
  placement.Take(&inputs.tables, int64_t{shape.rows} * shape.blocks);
  placement.Take(&inputs.prefix_tiles, shape.prefix_tiles);
  placement.Take(&inputs.prompt_tiles, shape.prompt_tiles);
  placement.Take(&inputs.prompt_pieces, shape.prompt_pieces);
  placement.Take(&inputs.draw_rows, shape.draws);
  placement.Take(&inputs.temperatures, shape.draws);
  placement.Take(&inputs.draw_positions, shape.draws);
  placement.Take(&inputs.rngs, shape.draws);
  inputs.bytes = placement.bytes();
  return inputs;
}

StepResults PlaceStepResults(int draws, uint8_t* base) {
  StepResults results = {};
  Placement placement(base);
  placement.Take(&results.tokens, draws);
  placement.Take(&results.logprobs, draws);
  results.bytes = placement.bytes();
  return results;
}

void FillStepInputs(const StepBatch& batch, int block_tokens, const StepShape& shape,
                    const StepInputs& inputs) {
  R1_CHECK(batch.rows() <= shape.rows);
  R1_CHECK(static_cast<int>(batch.draws.fused.rows.size()) <= shape.draws);
  for (int row = 0; row < shape.rows; ++row) {
    const bool pads = row >= batch.rows();
    const int source = pads ? 0 : row;
    const int position = batch.positions[source];
    const int32_t* const table = batch.block_tables[source];
    const int blocks = (batch.contexts[source] + block_tokens - 1) / block_tokens;
    R1_CHECK(blocks <= shape.blocks);
    inputs.token_ids[row] = batch.token_ids[source];
    inputs.positions[row] = position;
    inputs.contexts[row] = batch.contexts[source];
    inputs.prefixes[row] = batch.prefixes[source];
    inputs.slots[row] =
        pads ? -1 : table[position / block_tokens] * block_tokens + position % block_tokens;
    int32_t* const own_table = inputs.tables + int64_t{row} * shape.blocks;
    std::copy_n(table, blocks, own_table);
    std::fill(own_table + blocks, own_table + shape.blocks, 0);
  }
  const FusedDraws& draws = batch.draws.fused;
  for (int draw = 0; draw < shape.draws; ++draw) {
    const int source = draw < static_cast<int>(draws.rows.size()) ? draw : 0;
    inputs.draw_rows[draw] = draws.rows[source];
    inputs.temperatures[draw] = draws.temperatures[source];
    inputs.draw_positions[draw] = draws.positions[source];
    inputs.rngs[draw] = draws.rngs[source];
  }
}

bool IsDecodeStep(const StepBatch& batch) {
  if (static_cast<int>(batch.draws.fused.rows.size()) != batch.rows()) return false;
  for (int row = 0; row < batch.rows(); ++row) {
    if (batch.draws.fused.rows[row] != row || batch.is_prompt(row)) return false;
  }
  // Rows of one sequence are neighbours.
  return std::adjacent_find(batch.block_tables.begin(), batch.block_tables.end()) ==
         batch.block_tables.end();
}

std::vector<kernels::RowTile> CutPrefixes(const StepBatch& batch, int rows, int block_tokens,
                                          int rows_max) {
  std::vector<kernels::RowTile> tiles;
  const auto source = [&](int row) { return row < batch.rows() ? row : 0; };
  const auto share = [&](int a, int b) {
    const int prefix = batch.prefixes[a];
    const int32_t* const table = batch.block_tables[a];
    return batch.prefixes[b] == prefix &&
           std::equal(table, table + prefix / block_tokens, batch.block_tables[b]);
  };
  for (int row = 0; row < batch.rows(); ++row) {
    if (batch.contexts[row] <= batch.prefixes[row]) return {};
  }
  bool are_shared = false;
  for (int first = 0; first < rows;) {
    const int row = source(first);
    int end = first + 1;
    while (end < rows && share(row, source(end))) ++end;
    if (batch.prefixes[row] > 0) {
      const int shared = end - first;
      const int count = (shared + rows_max - 1) / rows_max;
      for (int tile = 0; tile < count; ++tile) {
        const int begin = shared * tile / count;
        tiles.push_back({.first = first + begin, .count = shared * (tile + 1) / count - begin});
      }
      are_shared |= shared > 1;
    }
    first = end;
  }
  return are_shared ? tiles : std::vector<kernels::RowTile>();
}

namespace {

// Rows [first, end) of one prompt.
void AddTiles(const StepBatch& batch, int first, int end, PromptRows* prompts) {
  PromptRows::Pass& pass = prompts->passes.back();
  for (int row = first; row < end; row += kernels::kPrefillTileRows) {
    prompts->tiles.push_back({.first_row = row,
                              .rows = std::min(kernels::kPrefillTileRows, end - row),
                              .first_position = batch.positions[row],
                              .first_key = pass.context_rows});
  }
  pass.tile_end = static_cast<int>(prompts->tiles.size());
}

void AddContext(const StepBatch& batch, int row, int block_tokens, PromptRows* prompts) {
  PromptRows::Pass& pass = prompts->passes.back();
  const int context = batch.contexts[row];
  for (int token = 0; token < context; token += block_tokens) {
    prompts->pieces.push_back({.block = batch.block_tables[row][token / block_tokens],
                               .tokens = std::min(block_tokens, context - token),
                               .first_row = pass.context_rows + token});
  }
  pass.context_rows += context;
  pass.piece_end = static_cast<int>(prompts->pieces.size());
}

}  // namespace

PromptRows CutPrompts(const StepBatch& batch, int block_tokens, int context_rows_max) {
  PromptRows prompts;
  for (int first = 0, end; first < batch.rows(); first = end) {
    const bool is_prompt = batch.is_prompt(first);
    const auto continues = [&](int row) {
      return batch.is_prompt(row) == is_prompt &&
             (!is_prompt || batch.block_tables[row] == batch.block_tables[first]);
    };
    for (end = first + 1; end < batch.rows() && continues(end);) ++end;
    if (!is_prompt) {
      prompts.others.push_back({.first = first, .count = end - first});
      continue;
    }
    const bool multiplies_out = context_rows_max > 0;
    if (prompts.passes.empty() ||
        (multiplies_out &&
         prompts.passes.back().context_rows + batch.contexts[end - 1] > context_rows_max)) {
      const int tiles = static_cast<int>(prompts.tiles.size());
      const int pieces = static_cast<int>(prompts.pieces.size());
      prompts.passes.push_back({.tile_begin = tiles, .piece_begin = pieces});
    }
    AddTiles(batch, first, end, &prompts);
    if (multiplies_out) AddContext(batch, end - 1, block_tokens, &prompts);
  }
  for (const PromptRows::Pass& pass : prompts.passes) {
    std::stable_sort(prompts.tiles.begin() + pass.tile_begin, prompts.tiles.begin() + pass.tile_end,
                     [](const kernels::PrefillTile& a, const kernels::PrefillTile& b) {
                       return a.first_position + a.rows > b.first_position + b.rows;
                     });
  }
  return prompts;
}

int GraphRows(int rows) {
  if (rows <= 4) return rows;
  const int step = rows <= 16 ? 4 : rows <= 64 ? 8 : rows <= 256 ? 16 : 64;
  return (rows + step - 1) / step * step;
}

int GraphContext(int tokens) {
  int size = 256;
  while (size < tokens) size = size % 3 == 0 ? size / 3 * 4 : size / 2 * 3;
  return size;
}

int GraphPrefixTiles(int tiles, int rows) {
  if (tiles == 0) return 0;
  int size = (rows + 7) / 8;
  while (size < tiles) size *= 2;
  return size;
}

std::vector<int> CopyRuns(const std::vector<BlockCopy>& copies) {
  std::vector<int> ends;
  std::unordered_set<int32_t> sources;
  std::unordered_set<int32_t> targets;
  for (size_t i = 0; i < copies.size(); ++i) {
    if (targets.contains(copies[i].source) || targets.contains(copies[i].target) ||
        sources.contains(copies[i].target)) {
      ends.push_back(static_cast<int>(i));
      sources.clear();
      targets.clear();
    }
    sources.insert(copies[i].source);
    targets.insert(copies[i].target);
  }
  if (!copies.empty()) ends.push_back(static_cast<int>(copies.size()));
  return ends;
}

}  // namespace r1::rollout
