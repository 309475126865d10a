#include "rollout/engine/runner.h"

namespace r1::rollout {

void StepBatch::Clear() {
  copies.clear();
  token_ids.clear();
  positions.clear();
  contexts.clear();
  prefixes.clear();
  prompts.clear();
  block_tables.clear();
  draws.Clear();
}

}  // namespace r1::rollout
