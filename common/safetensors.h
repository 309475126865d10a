// safetensors files (huggingface/safetensors, format 0.4): 8-byte little-endian header length, JSON
// header, data. Reader: memory-mapped, read-only; the header is bounded (100 MB) and every offset,
// overlap, overflow and dtype is checked before a byte is used. Writer: metadata {"format":"pt"},
// tensors in the given order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/weights.h"

namespace r1 {

// The tensors of a whole file's bytes, in file order, as views into `file_bytes`. Errors name the
// path, the tensor and the offending value: DataLoss for a file that is shorter than it says,
// InvalidArgument for the rest. Exposed for the fuzzer; ReadSafetensors is what callers want.
[[nodiscard]] absl::StatusOr<std::vector<TensorView>> ParseSafetensors(absl::string_view file_bytes,
                                                                       const std::string& path);

struct MappedSafetensors {
  std::vector<TensorView> tensors;  // in file order; their bytes may lie at any alignment
  std::shared_ptr<const void> storage;
};

// Maps one file. NotFound, Unavailable, InvalidArgument, DataLoss. The file must not be cut while
// the mapping is alive.
[[nodiscard]] absl::StatusOr<MappedSafetensors> ReadSafetensors(const std::string& path);

// Lets the kernel drop the pages of bytes in a mapped file, which are read again from the file when
// they are touched; what streams through a large model calls it to stay small.
void ReleasePages(absl::string_view mapped_bytes);

// What stands before the data of these tensors: the length and the header, padded to a multiple of
// 8 bytes. Their bytes are not looked at.
std::string SafetensorsFront(const std::vector<TensorView>& tensors);

// One file, synced. Byte-identical for equal input; the data begins at a multiple of 8.
[[nodiscard]] absl::Status WriteSafetensors(FileSystem& filesystem, const std::string& path,
                                            const std::vector<TensorView>& tensors);

// model.safetensors, or the shards of model.safetensors.index.json, of a Hugging Face folder, as
// fp32 (from F32, BF16, F16 or block-scaled F8_E4M3), checked against the spec and put in its
// order. Errors name the tensor, both shapes and the file: a missing, extra or misshapen tensor, a
// value that is not finite. Skipped: multi-token-prediction layers. A folder with pickles only is
// refused. Peak memory: the snapshot and one tensor.
[[nodiscard]] absl::StatusOr<WeightsSnapshot> ReadModelFolder(const std::string& folder,
                                                              const ModelSpec& spec);

}  // namespace r1
