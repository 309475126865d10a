// The safetensors reader: whatever the bytes, an error or tensors that tile the data part exactly,
// each with the number of bytes that its dtype and shape say, which read the same from a file and
// after they are written again. Input: a file.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "common/safetensors.h"
#include "common/status.h"

namespace {

using Tensors = std::vector<r1::TensorView>;

bool AreSame(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].name != b[i].name || a[i].dtype != b[i].dtype || a[i].shape != b[i].shape ||
        a[i].bytes != b[i].bytes) {
      return false;
    }
  }
  return true;
}

// The file is in memory only.
void CheckRead(absl::string_view file, const absl::StatusOr<Tensors>& parsed) {
  const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
  R1_CHECK(descriptor >= 0);
  R1_CHECK(write(descriptor, file.data(), file.size()) == static_cast<ssize_t>(file.size()));
  const auto read = r1::ReadSafetensors(absl::StrCat("/proc/self/fd/", descriptor));
  close(descriptor);
  R1_CHECK(read.ok() == (parsed.ok() && !file.empty()));
  if (!read.ok()) return;
  R1_CHECK(AreSame(read->tensors, *parsed));
  for (const r1::TensorView& tensor : read->tensors) r1::ReleasePages(tensor.bytes);
  R1_CHECK(AreSame(read->tensors, *parsed));
}

void CheckWritten(const Tensors& tensors) {
  std::string file = r1::SafetensorsFront(tensors);
  for (const r1::TensorView& tensor : tensors)
    file.append(tensor.bytes.data(), tensor.bytes.size());
  const auto again = r1::ParseSafetensors(file, "again");
  R1_CHECK(again.ok());
  R1_CHECK(AreSame(*again, tensors));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  const auto tensors = r1::ParseSafetensors(file, "fuzz");
  CheckRead(file, tensors);
  if (!tensors.ok()) {
    R1_CHECK(!tensors.status().message().empty());
    return 0;
  }
  const char* at = nullptr;
  for (const r1::TensorView& tensor : *tensors) {
    R1_CHECK(tensor.bytes.size() ==
             static_cast<uint64_t>(tensor.elements() * r1::DTypeBytes(tensor.dtype)));
    R1_CHECK(tensor.bytes.data() >= file.data());
    R1_CHECK(tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
    R1_CHECK(at == nullptr || tensor.bytes.data() == at);
    at = tensor.bytes.data() + tensor.bytes.size();
  }
  R1_CHECK(at == nullptr || at == file.data() + file.size());
  CheckWritten(*tensors);
  return 0;
}
