#include "rollout/engine/block_manager.h"

#include "common/status.h"

namespace r1::rollout {

BlockManager::BlockManager(int block_count, int block_tokens)
    : block_tokens_(block_tokens), references_(block_count, 0) {
  for (int32_t block = block_count - 1; block >= 0; --block) free_.push_back(block);
}

BlockTable BlockManager::Allocate(int tokens) {
  BlockTable table(BlocksFor(tokens));
  for (int32_t& block : table) block = Take();
  return table;
}

bool BlockManager::PrepareWrite(int position, BlockTable* table, std::vector<BlockCopy>* copies) {
  const size_t index = position / block_tokens_;
  if (index == table->size()) {
    if (free_.empty()) return false;
    table->push_back(Take());
    return true;
  }
  R1_CHECK(index + 1 == table->size());
  int32_t& block = table->back();
  if (references_[block] == 1) return true;
  if (free_.empty()) return false;
  const BlockCopy copy = {.source = block, .target = Take()};
  Drop(block);
  block = copy.target;
  copies->push_back(copy);
  return true;
}

BlockTable BlockManager::Fork(const BlockTable& table) {
  for (const int32_t block : table) {
    R1_CHECK(references_[block] > 0);
    ++references_[block];
  }
  return table;
}

void BlockManager::Free(BlockTable* table) {
  for (const int32_t block : *table) Drop(block);
  table->clear();
}

int32_t BlockManager::Take() {
  R1_CHECK(!free_.empty());
  const int32_t block = free_.back();
  free_.pop_back();
  R1_CHECK(references_[block] == 0);
  references_[block] = 1;
  return block;
}

void BlockManager::Drop(int32_t block) {
  R1_CHECK(references_[block] > 0);
  if (--references_[block] == 0) free_.push_back(block);
}

}  // namespace r1::rollout
