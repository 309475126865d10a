// A FileSystem in memory that fails on command, for tests of what must survive failures. It counts
// operations, can make the n-th one fail (I/O error, full disk) or end the process at it, and
// models power loss: afterwards everything that was synced is there, and of each write, creation,
// renaming and removal that was not, the test decides whether it is.
//
// What it leaves out: reordering inside one Append beyond a kept prefix, permissions, links,
// threads.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"

namespace r1 {

// Not thread-safe.
class FaultFileSystem : public FileSystem {
 public:
  enum class Fault { kIoError, kDiskFull };

  FaultFileSystem();
  ~FaultFileSystem() override;

  // Operations done so far. Every fallible call is one; RemoveAll and CreateDirectories are one for
  // each entry.
  int operations() const { return operations_; }
  // "fsync run/x", one line an operation.
  const std::vector<std::string>& log() const { return log_; }
  // The operation with this number fails once; an Append then has written half of its data.
  void FailAt(int operation, Fault fault);
  // The operation with this number and all later ones fail with Aborted and change nothing, except
  // that an Append has written half of its data.
  void KillAt(int operation) { kill_at_ = operation; }
  // Appends beyond this many bytes in all files together fail as on a full disk, until space is
  // freed.
  void SetCapacity(uint64_t bytes) { capacity_ = bytes; }
  // Planted bugs: syncs report success and do nothing.
  void IgnoreFileSyncs() { ignore_file_syncs_ = true; }
  void IgnoreDirectorySyncs() { ignore_directory_syncs_ = true; }
  // Of what programs see and of what is on the disk.
  void FlipBit(const std::string& path, uint64_t offset, int bit);

  // A new file system with what a machine finds after losing power now. `keep` is asked once for
  // every unsynced change, in a fixed order, for the share of it that reached the disk: 0 none, 1
  // all; in between, a prefix of an Append's data (other changes need 1). Always 1 = the process
  // died but the machine did not.
  using Keep = std::function<double()>;
  std::unique_ptr<FaultFileSystem> AfterPowerLoss(const Keep& keep) const;

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override;
  absl::StatusOr<std::string> Read(const std::string& path, uint64_t bytes_max) override;
  absl::StatusOr<uint64_t> Size(const std::string& path) override;
  bool Exists(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::Status CreateDirectories(const std::string& path) override;
  absl::Status Rename(const std::string& source, const std::string& target) override;
  absl::Status RemoveAll(const std::string& path) override;
  absl::Status Truncate(const std::string& path, uint64_t bytes) override;
  absl::Status SyncDirectory(const std::string& path) override;

 private:
  struct Node;
  class File;

  // Counts the operation and decides whether it fails.
  absl::Status Step(const std::string& what, const std::string& path);
  std::shared_ptr<Node> FindOrNull(const std::string& path) const;
  absl::StatusOr<std::shared_ptr<Node>> FindFile(const std::string& path) const;
  absl::StatusOr<std::shared_ptr<Node>> FindFolder(const std::string& path) const;
  absl::StatusOr<std::unique_ptr<WritableFile>> Open(const std::string& path, bool truncate);
  absl::Status RemoveEntry(Node& parent, const std::string& name, const std::string& path);

  std::shared_ptr<Node> root_;
  int operations_ = 0;
  std::vector<std::string> log_;
  std::map<int, Fault> faults_;
  int kill_at_ = std::numeric_limits<int>::max();
  uint64_t capacity_ = std::numeric_limits<uint64_t>::max();
  bool ignore_file_syncs_ = false;
  bool ignore_directory_syncs_ = false;
};

}  // namespace r1
