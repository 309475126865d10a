#include "rewards/code/sandbox/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace r1::rewards::code {

absl::StatusOr<OwnedFd> MakeEmptyMemoryFile(const char* name) {
  OwnedFd file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.is_open()) {
    return absl::UnavailableError(absl::StrCat("memfd_create: ", strerror(errno)));
  }
  return file;
}

absl::Status SealMemoryFile(int fd) {
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return absl::UnavailableError(absl::StrCat("seal a memfd: ", strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<OwnedFd> MakeMemoryFile(const char* name, absl::string_view data) {
  R1_ASSIGN_OR_RETURN(OwnedFd file, MakeEmptyMemoryFile(name));
  for (size_t at = 0; at < data.size();) {
    const ssize_t written =
        pwrite(file.get(), data.data() + at, data.size() - at, static_cast<off_t>(at));
    if (written <= 0)
      return absl::UnavailableError(absl::StrCat("fill a memfd: ", strerror(errno)));
    at += static_cast<size_t>(written);
  }
  R1_RETURN_IF_ERROR(SealMemoryFile(file.get()));
  return file;
}

}  // namespace r1::rewards::code
