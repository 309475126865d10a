// Files as a seam: production code asks a FileSystem, fault-injection tests bring their own. Paths
// are plain strings. Errors: NotFound, Unavailable (I/O, disk full), InvalidArgument.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// A file being written. Not thread-safe. Close before the destructor to see its error.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  [[nodiscard]] virtual absl::Status Append(absl::string_view data) = 0;
  // fsync: the bytes are on disk afterwards.
  [[nodiscard]] virtual absl::Status Sync() = 0;
  [[nodiscard]] virtual absl::Status Close() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Creates or truncates.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) = 0;
  // Creates or continues at the end.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(
      const std::string& path) = 0;
  // The whole file; ResourceExhausted when it is longer than bytes_max.
  [[nodiscard]] virtual absl::StatusOr<std::string> Read(const std::string& path,
                                                         uint64_t bytes_max) = 0;
  [[nodiscard]] virtual absl::StatusOr<uint64_t> Size(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
  // Names in a folder, sorted, without . and ..
  [[nodiscard]] virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;
  // With parents; fine when it exists.
  [[nodiscard]] virtual absl::Status CreateDirectories(const std::string& path) = 0;
  // Atomic within a file system; replaces a file of that name.
  [[nodiscard]] virtual absl::Status Rename(const std::string& source,
                                            const std::string& target) = 0;
  // A file, or a folder with everything in it; fine when it does not exist.
  [[nodiscard]] virtual absl::Status RemoveAll(const std::string& path) = 0;
  [[nodiscard]] virtual absl::Status Truncate(const std::string& path, uint64_t bytes) = 0;
  // fsync of a folder: creations and renames in it are on disk afterwards.
  [[nodiscard]] virtual absl::Status SyncDirectory(const std::string& path) = 0;
};

// The machine's file system; lives for ever. Thread-safe.
FileSystem& RealFileSystem();

// Write to a temporary name, sync, rename, sync the folder: afterwards the file has the old or the
// new content, never a mixture.
[[nodiscard]] absl::Status WriteFileAtomically(FileSystem& filesystem, const std::string& path,
                                               absl::string_view data);

// "a/b" + "c" = "a/b/c".
std::string JoinPath(absl::string_view folder, absl::string_view name);
// The folder of a path; "." when it has none.
std::string ParentPath(const std::string& path);

}  // namespace r1
