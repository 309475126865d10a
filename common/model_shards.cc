#include "common/model_shards.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace r1 {
namespace {

uint64_t BytesOf(const TensorView& tensor) {
  return static_cast<uint64_t>(tensor.elements() * DTypeBytes(tensor.dtype));
}

}  // namespace

std::vector<ModelShard> SplitIntoShards(const std::vector<TensorView>& tensors,
                                        uint64_t bytes_max) {
  std::vector<ModelShard> shards(1);
  uint64_t bytes = 0;
  for (const TensorView& tensor : tensors) {
    if (bytes > 0 && bytes + BytesOf(tensor) > bytes_max) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().tensors.push_back(tensor);
    bytes += BytesOf(tensor);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1
                         ? "model.safetensors"
                         : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
  }
  return shards;
}

std::string ShardIndexJson(const std::vector<ModelShard>& shards) {
  uint64_t bytes_total = 0;
  nlohmann::json index;
  for (const ModelShard& shard : shards) {
    for (const TensorView& tensor : shard.tensors) {
      index["weight_map"][tensor.name] = shard.name;
      bytes_total += BytesOf(tensor);
    }
  }
  index["metadata"]["total_size"] = bytes_total;
  return index.dump(2) + "\n";
}

}  // namespace r1
