#include "learner/append_file.h"

namespace r1::learner {

absl::StatusOr<std::unique_ptr<AppendFile>> AppendFile::Open(FileSystem& filesystem,
                                                             const std::string& path) {
  std::unique_ptr<AppendFile> file(new AppendFile(filesystem, path));
  const bool existed = filesystem.Exists(path);
  R1_ASSIGN_OR_RETURN(file->file_, filesystem.OpenForAppend(path));
  if (existed) {
    R1_ASSIGN_OR_RETURN(file->bytes_, filesystem.Size(path));
  } else {
    R1_RETURN_IF_ERROR(filesystem.SyncDirectory(ParentPath(path)));
  }
  return file;
}

absl::Status AppendFile::Append(absl::string_view record) {
  if (torn_) {
    R1_RETURN_IF_ERROR(filesystem_.Truncate(path_, bytes_));
    torn_ = false;
  }
  if (absl::Status status = file_->Append(record); !status.ok()) {
    torn_ = true;
    return status;
  }
  bytes_ += record.size();
  return absl::OkStatus();
}

absl::Status AppendFile::Sync() { return file_->Sync(); }

}  // namespace r1::learner
