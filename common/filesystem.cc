#include "common/filesystem.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

absl::Status ErrnoStatus(const std::string& path, absl::string_view what, int error) {
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  return absl::UnavailableError(message);
}

absl::Status ErrorCodeStatus(const std::string& path, absl::string_view what,
                             const std::error_code& error) {
  return ErrnoStatus(path, what, error.value());
}

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(std::string path, int file) : path_(std::move(path)), file_(file) {}
  ~PosixWritableFile() override {
    if (file_ >= 0) close(file_);
  }

  absl::Status Append(absl::string_view data) override {
    while (!data.empty()) {
      const ssize_t written = write(file_, data.data(), data.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(path_, "write", errno);
      }
      data.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (fsync(file_) != 0) return ErrnoStatus(path_, "fsync", errno);
    return absl::OkStatus();
  }

  absl::Status Close() override {
    const int file = std::exchange(file_, -1);
    if (file >= 0 && close(file) != 0) return ErrnoStatus(path_, "close", errno);
    return absl::OkStatus();
  }

 private:
  std::string path_;
  int file_;
};

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    return Open(path, O_TRUNC);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override {
    return Open(path, O_APPEND);
  }

  absl::StatusOr<std::string> Read(const std::string& path, uint64_t bytes_max) override {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return ErrnoStatus(path, "open", errno);
    std::string data;
    struct stat info;
    if (fstat(file, &info) == 0 && info.st_size > 0) {  // no copies while it grows
      data.reserve(std::min(static_cast<uint64_t>(info.st_size), bytes_max));
    }
    char buffer[1 << 16];
    for (;;) {
      const ssize_t got = read(file, buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        const int error = errno;
        close(file);
        if (got < 0) return ErrnoStatus(path, "read", error);
        return data;
      }
      data.append(buffer, static_cast<size_t>(got));
      if (data.size() > bytes_max) {
        close(file);
        return absl::ResourceExhaustedError(
            absl::StrCat(path, ": longer than the limit of ", bytes_max, " bytes"));
      }
    }
  }

  absl::StatusOr<uint64_t> Size(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "stat", errno);
    return static_cast<uint64_t>(info.st_size);
  }

  bool Exists(const std::string& path) override { return access(path.c_str(), F_OK) == 0; }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    std::error_code error;
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      names.push_back(entry.path().filename().string());
    }
    if (error) return ErrorCodeStatus(path, "list", error);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status CreateDirectories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return ErrorCodeStatus(path, "create folder", error);
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& source, const std::string& target) override {
    if (rename(source.c_str(), target.c_str()) != 0)
      return ErrnoStatus(source, absl::StrCat("rename to ", target), errno);
    return absl::OkStatus();
  }

  absl::Status RemoveAll(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) return ErrorCodeStatus(path, "remove", error);
    return absl::OkStatus();
  }

  absl::Status Truncate(const std::string& path, uint64_t bytes) override {
    if (truncate(path.c_str(), static_cast<off_t>(bytes)) != 0)
      return ErrnoStatus(path, "truncate", errno);
    return absl::OkStatus();
  }

  absl::Status SyncDirectory(const std::string& path) override {
    const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return ErrnoStatus(path, "open folder", errno);
    const bool synced = fsync(folder) == 0;
    const int error = errno;
    close(folder);
    if (!synced) return ErrnoStatus(path, "fsync folder", error);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::unique_ptr<WritableFile>> Open(const std::string& path, int mode) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | mode, 0644);
    if (file < 0) return ErrnoStatus(path, "open for writing", errno);
    return std::make_unique<PosixWritableFile>(path, file);
  }
};

}  // namespace

FileSystem& RealFileSystem() {
  static auto* filesystem = new PosixFileSystem;
  return *filesystem;
}

absl::Status WriteFileAtomically(FileSystem& filesystem, const std::string& path,
                                 absl::string_view data) {
  const std::string temporary = absl::StrCat(path, ".tmp-", getpid());
  R1_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, filesystem.Create(temporary));
  R1_RETURN_IF_ERROR(file->Append(data));
  R1_RETURN_IF_ERROR(file->Sync());
  R1_RETURN_IF_ERROR(file->Close());
  R1_RETURN_IF_ERROR(filesystem.Rename(temporary, path));
  return filesystem.SyncDirectory(ParentPath(path));
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty()) return std::string(name);
  return absl::StrCat(folder, folder.back() == '/' ? "" : "/", name);
}

std::string ParentPath(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace r1
