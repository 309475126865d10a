// The checkpoints of a run: one folder each, complete or not there. A save goes to
// "<name>.tmp-<nonce>", every file and folder is synced, the MANIFEST is written last, the folder
// gets its name, and the parent is synced; only then are older checkpoints removed. At start the
// newest intact one wins; damage is reported by file and never trained on.
//
// What is in a checkpoint: learner/checkpoint_files.h. Every byte on disk: docs/formats.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "learner/checkpoint_files.h"

namespace r1::learner {

// "02_rl_step_000120": stage_index, stage_name, step. Saving the same step again (after its stage
// is done, for instance) makes revision 2, "02_rl_step_000120.r2", and removes the first. Names
// sort by age.
struct CheckpointName {
  uint32_t stage_index = 0;
  std::string stage_name;
  int64_t step = 0;
  int revision = 1;

  std::string ToString() const;
  // nullopt for any other name: temporaries, folders that were set aside, files of somebody else.
  static std::optional<CheckpointName> Parse(absl::string_view name);
};

struct LoadedCheckpoint {
  std::string name;
  CheckpointContents contents;
  std::vector<std::vector<v1::Group>> groups;  // accepted and not yet trained, by rank
  // Newer ones that were damaged, and what was wrong: "<name>: <file>: <problem>".
  std::vector<std::string> damaged;
  std::vector<std::string> problems;
};

// Not thread-safe. Borrows the file system. One process saves and recovers at a time (the run
// directory's lock); ranks write their shards at the same time. One process: Save. Several ranks on
// a shared file system:
//   std::string temporary;
//   if (rank == 0) temporary = BeginSave(…);        // "" when it failed
//   collectives.Broadcast(temporary);
//   if (rank == 0) status = WriteModel(temporary, contents);
//   status.Update(WriteShard(temporary, rank, groups));
//   collectives.Barrier();
//   if (rank == 0) Commit(temporary, ranks);        // refuses when a part is missing
class CheckpointStore {
 public:
  struct Options {
    std::string folder;            // <run>/checkpoints
    int keep = 2;                  // newest complete ones that stay, at least 2
    bool keep_stage_ends = false;  // besides, the last one of every stage stays
    CheckpointFileOptions files = {};
  };
  CheckpointStore(FileSystem& filesystem, Options options);

  // The checkpoint of contents.state's stage and step. Returns its path. On an error (full disk,
  // I/O) the temporary folder is removed if that is possible, and earlier checkpoints are as they
  // were.
  [[nodiscard]] absl::StatusOr<std::string> Save(const CheckpointContents& contents,
                                                 const std::vector<v1::Group>& groups);

  // The four parts of a save by several ranks. BeginSave makes the temporary folder. WriteModel and
  // WriteShard return when their files are on disk. Commit returns the checkpoint's path;
  // FailedPrecondition names a part that is missing. After an error of any part, rank 0 calls
  // Abandon (Commit does so itself).
  [[nodiscard]] absl::StatusOr<std::string> BeginSave(const v1::CheckpointState& state);
  [[nodiscard]] absl::Status WriteModel(const std::string& temporary,
                                        const CheckpointContents& contents);
  [[nodiscard]] absl::Status WriteShard(const std::string& temporary, int rank,
                                        const std::vector<v1::Group>& groups);
  [[nodiscard]] absl::StatusOr<std::string> Commit(const std::string& temporary, int ranks);
  void Abandon(const std::string& temporary);

  // At the start of a run: removes what interrupted saves left, loads the newest intact checkpoint,
  // and renames damaged newer ones to "<name>.damaged", so that this run's future never meets them.
  // NotFound: there is none. DataLoss: there are some, and none is intact (nothing is renamed).
  // FailedPrecondition: the newest has another format_version.
  [[nodiscard]] absl::StatusOr<LoadedCheckpoint> Recover();
  // The same without changing anything.
  [[nodiscard]] absl::StatusOr<LoadedCheckpoint> LoadNewest() const;
  // This one. NotFound, DataLoss, FailedPrecondition.
  [[nodiscard]] absl::StatusOr<LoadedCheckpoint> Load(const std::string& name) const;

  // The one at which a stage ended. NotFound: the stage has not come to its end, or its checkpoints
  // are gone. DataLoss, FailedPrecondition.
  [[nodiscard]] absl::StatusOr<LoadedCheckpoint> LoadStageEnd(uint32_t stage_index) const;

  // Removes those of this stage and of later ones, newest first.
  [[nodiscard]] absl::Status RemoveFrom(uint32_t stage_index);

  // Names, oldest first. Empty when the folder does not exist.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> List() const;

 private:
  absl::StatusOr<std::vector<CheckpointName>> Names() const;
  absl::StatusOr<std::string> CommitParts(const std::string& temporary, int ranks);
  absl::Status WritePart(const std::string& temporary, const std::string& part,
                         std::vector<ManifestEntry> entries);
  absl::Status RemoveTemporaries();
  absl::Status RemoveOld();
  absl::Status Remove(const std::vector<std::string>& names);
  std::string NextNonce();

  FileSystem& filesystem_;
  const Options options_;
  int nonces_ = 0;
};

}  // namespace r1::learner
