// safetensors files (huggingface/safetensors, format 0.4): 8-byte little-endian header length, JSON header, data.
// Reader: memory-mapped, read-only; the header is bounded (100 MB) and every offset, overlap, overflow and dtype is
// checked before a byte is used. Writer: metadata {"format":"pt"}, tensors in the given order.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/weights.h"

namespace r1 {

// Header of a file whose data part has `data_bytes` bytes; views into `data`. InvalidArgument or DataLoss name the
// tensor and the offending value. Exposed for the fuzzer; ReadSafetensors is what callers want.
[[nodiscard]] absl::StatusOr<std::vector<TensorView>> ParseSafetensors(absl::string_view file_bytes, const std::string& path);

struct MappedSafetensors {
  std::vector<TensorView> tensors;  // in file order
  std::shared_ptr<const void> storage;
};

// Maps one file. NotFound, Unavailable, InvalidArgument, DataLoss.
[[nodiscard]] absl::StatusOr<MappedSafetensors> ReadSafetensors(const std::string& path);

// One file, synced. Byte-identical for equal input.
[[nodiscard]] absl::Status WriteSafetensors(FileSystem& filesystem, const std::string& path,
                                            const std::vector<TensorView>& tensors);

// model.safetensors, or the shards of model.safetensors.index.json, of a Hugging Face folder, checked against the spec
// and put in its order. Tensors that the spec does not know are an error, but for multi-token-prediction layers.
[[nodiscard]] absl::StatusOr<WeightsSnapshot> ReadModelFolder(const std::string& folder, const ModelSpec& spec);

}  // namespace r1
