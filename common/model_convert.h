// `r1 checkpoint convert`: a model folder written again with another element type or other shards,
// as transformers and vLLM load it. Streams: besides the mapped source, a few megabytes are held.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/filesystem.h"
#include "common/model_shards.h"
#include "common/status.h"
#include "common/weights.h"

namespace r1 {

struct ConvertOptions {
  // F32, BF16 or F16; nullopt keeps each tensor's own, and the bytes. Block-scaled F8_E4M3 weights
  // become plain ones, and their scales go. Tensors of integers stay, and so do routers' correction
  // biases, which checkpoints hold in F32 whatever the rest is.
  std::optional<DType> dtype;
  uint64_t shard_bytes_max = kShardBytesMax;
};

struct ConvertReport {
  int64_t tensors = 0;
  uint64_t bytes = 0;  // of all tensors written
  int shards = 0;
};

// `target` must not exist, or be empty; it is complete or not there at all. config.json says the
// new dtype; generation_config.json, tokenizer files and chat templates are copied.
// InvalidArgument: a target in use, a value that is not finite or does not fit F16 (tensor and
// element are named), or what StoredModel refuses. The file systems' errors.
[[nodiscard]] absl::StatusOr<ConvertReport> ConvertModelFolder(FileSystem& filesystem,
                                                               const std::string& source,
                                                               const std::string& target,
                                                               const ConvertOptions& options);

}  // namespace r1
