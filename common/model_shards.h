// How a model's tensors are laid out in files: model.safetensors, or numbered shards with
// model.safetensors.index.json. Checkpoints and `r1 checkpoint convert` share it, so that they
// write the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/weights.h"

namespace r1 {

inline constexpr uint64_t kShardBytesMax = 5'000'000'000;
inline constexpr char kShardIndexName[] = "model.safetensors.index.json";

struct ModelShard {
  std::string name;  // "model.safetensors", "model-00001-of-00002.safetensors"
  std::vector<TensorView> tensors;
};

// Cuts between tensors, in order, into shards of at most `bytes_max` of data (a single larger
// tensor still forms one); never an empty shard. The tensors' bytes are not looked at.
std::vector<ModelShard> SplitIntoShards(const std::vector<TensorView>& tensors, uint64_t bytes_max);

// The text of model.safetensors.index.json for several shards.
std::string ShardIndexJson(const std::vector<ModelShard>& shards);

}  // namespace r1
