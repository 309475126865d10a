// The safetensors reader: whatever the bytes, an error or tensors that tile the data part exactly,
// each with the number of bytes that its dtype and shape say. Input: a file.

#include <cstddef>
#include <cstdint>

#include "common/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  const auto tensors = r1::ParseSafetensors(file, "fuzz");
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
  return 0;
}
