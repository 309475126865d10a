// What a checkpoint holds, and its files: a Hugging Face folder that transformers and vLLM load,
// with the state of the training under training/ (in a folder of its own, because loaders take
// every *.safetensors beside config.json for weights). Naming, atomicity and retention are
// learner/checkpoint.h's; docs/formats.md describes every file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/model_shards.h"
#include "common/weights.h"
#include "learner/manifest.h"
#include "proto/checkpoint.pb.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

// Everything of a checkpoint but the ranks' groups. Views borrow; the storages keep loaded ones
// alive.
struct CheckpointContents {
  v1::CheckpointState state;
  std::string hf_config_json;  // ModelSpec::hf_config_json
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  std::shared_ptr<const WeightsSnapshot> weights;  // loaded: of state.policy_version
  // Adam's moments and whatever else the stage needs, under names that the stage chooses. May be
  // empty.
  std::vector<TensorView> optimizer;
  std::shared_ptr<const void> optimizer_storage;
  std::shared_ptr<const WeightsSnapshot> reference;  // null = none. Loaded: of version 0
  // Versions that unfinished groups still need, without the one in `weights`.
  std::vector<std::shared_ptr<const WeightsSnapshot>> leased;
};

struct CheckpointFileOptions {
  // Larger models are cut between tensors into files of at most this size (a single larger tensor
  // still forms one).
  uint64_t shard_bytes_max = kShardBytesMax;
};

// All files but the groups, written and synced (their folders are not). Returns their MANIFEST
// entries. InvalidArgument when a JSON text is none; the file system's errors.
[[nodiscard]] absl::StatusOr<std::vector<ManifestEntry>> WriteModelFiles(
    FileSystem& filesystem, const std::string& folder, const CheckpointContents& contents,
    const CheckpointFileOptions& options);

// training/groups_rank_<rank>.bin, likewise.
[[nodiscard]] absl::StatusOr<ManifestEntry> WriteGroupsFile(FileSystem& filesystem,
                                                            const std::string& folder, int rank,
                                                            const std::vector<v1::Group>& groups);

struct CheckpointFiles {
  CheckpointContents contents;
  std::vector<std::vector<v1::Group>> groups;  // by rank
};

// Reads a folder that has a MANIFEST. Every size and crc32c is checked before a byte is used;
// `problems` gets one line for each file that is missing, has another size or other bytes, or
// should not be there, and the result is DataLoss then. FailedPrecondition: the checkpoint has
// another format_version.
[[nodiscard]] absl::StatusOr<CheckpointFiles> ReadCheckpointFiles(
    FileSystem& filesystem, const std::string& folder, std::vector<std::string>& problems);

// Folders of a checkpoint that exist in it, deepest first, itself last: the order in which to sync
// them.
std::vector<std::string> CheckpointFolders(FileSystem& filesystem, const std::string& folder);

}  // namespace r1::learner
