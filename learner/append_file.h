// A file that grows by whole records. A record is there completely or not at all as long as the
// process lives: when an append fails half-way (full disk), the half is cut off before the next
// one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/filesystem.h"

namespace r1::learner {

// Not thread-safe. Borrows the file system. Nothing is buffered: another process reads what was
// appended.
class AppendFile {
 public:
  // Continues at the end of the file, or makes it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AppendFile>> Open(FileSystem& filesystem,
                                                                        const std::string& path);

  [[nodiscard]] absl::Status Append(absl::string_view record);
  // What was appended survives a power cut afterwards.
  [[nodiscard]] absl::Status Sync();
  uint64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  AppendFile(FileSystem& filesystem, std::string path) : filesystem_(filesystem), path_(path) {}

  FileSystem& filesystem_;
  const std::string path_;
  std::unique_ptr<WritableFile> file_;
  uint64_t bytes_ = 0;  // of whole records
  bool torn_ = false;   // there may be more in the file
};

}  // namespace r1::learner
