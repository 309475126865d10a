// Who owns which block of the paged KV cache. Blocks are counted, so that the samples of a group
// share their prompt's blocks; a shared block is copied before the first write (copy on write).
// Knows nothing of memory or tensors.
#pragma once

#include <cstdint>
#include <vector>

namespace r1::rollout {

// The blocks of one sequence, in the order of its tokens.
using BlockTable = std::vector<int32_t>;

// "Copy all layers of one block to another"; to be carried out in the order they were asked for,
// before anything is written to the cache.
struct BlockCopy {
  int32_t source;
  int32_t target;
};

// Not thread-safe.
class BlockManager {
 public:
  BlockManager(int block_count, int block_tokens);

  int block_tokens() const { return block_tokens_; }
  int block_count() const { return static_cast<int>(references_.size()); }
  int free_blocks() const { return static_cast<int>(free_.size()); }
  // Blocks that hold this many tokens.
  int BlocksFor(int tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }

  // A table for `tokens` tokens. The caller has made sure that there are enough free blocks.
  BlockTable Allocate(int tokens);
  // Makes the token at `position` (in the table's last block, or the first behind it) writable for
  // this table alone: appends a block, or replaces a shared one and adds a copy. False, and nothing
  // changed, when no block is free.
  [[nodiscard]] bool PrepareWrite(int position, BlockTable* table, std::vector<BlockCopy>* copies);
  // A second table that shares every block.
  BlockTable Fork(const BlockTable& table);
  // Gives up the table's blocks; those without another owner become free. Empties the table.
  void Free(BlockTable* table);

 private:
  int32_t Take();
  void Drop(int32_t block);

  int block_tokens_;
  std::vector<int32_t> references_;  // of each block; 0 = free
  std::vector<int32_t> free_;  // used last, taken first: it may still be in the processor's caches
};

}  // namespace r1::rollout
