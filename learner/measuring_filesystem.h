// A FileSystem that passes everything on and remembers size and crc32c of what was written through
// it, so that a MANIFEST needs no second pass over the files, and checks the bytes that were meant,
// not those that were stored.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/filesystem.h"
#include "common/hash.h"

namespace r1::learner {

// Not thread-safe. Borrows the file system. Measures files made by Create only.
class MeasuringFileSystem : public FileSystem {
 public:
  struct Measure {
    uint64_t bytes = 0;
    uint32_t crc32c = 0;
  };

  explicit MeasuringFileSystem(FileSystem& base) : base_(base) {}

  // By path, as it was given to Create.
  const std::map<std::string, Measure>& measures() const { return measures_; }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    R1_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, base_.Create(path));
    Measure& measure = measures_[path];
    measure = {};
    return std::make_unique<File>(std::move(file), &measure);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override {
    return base_.OpenForAppend(path);
  }
  absl::StatusOr<std::string> Read(const std::string& path, uint64_t bytes_max) override {
    return base_.Read(path, bytes_max);
  }
  absl::StatusOr<uint64_t> Size(const std::string& path) override { return base_.Size(path); }
  bool Exists(const std::string& path) override { return base_.Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return base_.List(path);
  }
  absl::Status CreateDirectories(const std::string& path) override {
    return base_.CreateDirectories(path);
  }
  absl::Status Rename(const std::string& source, const std::string& target) override {
    return base_.Rename(source, target);
  }
  absl::Status RemoveAll(const std::string& path) override { return base_.RemoveAll(path); }
  absl::Status Truncate(const std::string& path, uint64_t bytes) override {
    return base_.Truncate(path, bytes);
  }
  absl::Status SyncDirectory(const std::string& path) override { return base_.SyncDirectory(path); }

 private:
  class File : public WritableFile {
   public:
    File(std::unique_ptr<WritableFile> base, Measure* measure)
        : base_(std::move(base)), measure_(measure) {}
    absl::Status Append(absl::string_view data) override {
      measure_->bytes += data.size();
      measure_->crc32c = Crc32c(data, measure_->crc32c);
      return base_->Append(data);
    }
    absl::Status Sync() override { return base_->Sync(); }
    absl::Status Close() override { return base_->Close(); }

   private:
    std::unique_ptr<WritableFile> base_;
    Measure* measure_;
  };

  FileSystem& base_;
  std::map<std::string, Measure> measures_;
};

}  // namespace r1::learner
