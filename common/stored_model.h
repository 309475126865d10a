// The tensors of a Hugging Face folder as they are stored: model.safetensors, or the shards that
// model.safetensors.index.json lists, memory-mapped and read-only, with their values as fp32 on
// request. Knows no architecture; ReadModelFolder (safetensors.h) checks a folder against one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/fp8_blocks.h"
#include "common/weights.h"

namespace r1 {

struct StoredTensor {
  TensorView view;
  std::string file;  // its path
};

// Immutable once opened; thread-safe. The files must not be cut while it is alive.
class StoredModel {
 public:
  // InvalidArgument: a file or the index cannot be used, a tensor lies in two files or not where
  // the index says, or the folder holds pickles only. NotFound, Unavailable, DataLoss.
  [[nodiscard]] static absl::StatusOr<StoredModel> Open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  // File by file (sorted by name), each in its own order.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* FindOrNull(absl::string_view name) const;

  // The scales of a block-scaled F8_E4M3 weight: "<name>_scale_inv".
  static std::string ScaleName(absl::string_view name);
  // Whether the tensor is such scales, of a weight that is stored here.
  bool IsScale(const StoredTensor& tensor) const;

  // The values as fp32, values.size() of them from element `begin` on; F8_E4M3 weights are
  // multiplied by their scales.
  // InvalidArgument names file and tensor: another dtype than these, an F8_E4M3 weight without
  // scales, scales of another grid.
  [[nodiscard]] absl::Status ReadFloats(const StoredTensor& tensor, std::span<float> values,
                                        int64_t begin = 0) const;

 private:
  absl::Status AddFile(const std::string& path);
  absl::Status AddShards(const std::string& index_path);
  absl::StatusOr<std::optional<Fp8Blocks>> ReadQuantization() const;

  std::string folder_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> place in tensors_
  std::vector<std::shared_ptr<const void>> mappings_;
  // Of config.json's quantization_config; its error matters to who reads an F8_E4M3 tensor only.
  absl::StatusOr<std::optional<Fp8Blocks>> blocks_;
};

}  // namespace r1
