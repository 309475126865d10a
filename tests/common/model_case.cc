#include "tests/common/model_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/strip.h"
#include "common/filesystem.h"
#include "common/safetensors.h"

namespace r1 {
namespace {

constexpr char kFolder[] = R1_GOLDEN_DIR "/models";

template <typename T>
std::vector<T> Values(const TensorView& tensor) {
  std::vector<T> values(static_cast<size_t>(tensor.elements()));
  R1_CHECK(values.size() * sizeof(T) == tensor.bytes.size());
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace

float ModelCase::scale() const {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::fabs(logit));
  return largest;
}

std::vector<std::string> ModelCaseNames() {
  absl::StatusOr<std::vector<std::string>> names = RealFileSystem().List(kFolder);
  R1_CHECK(names.ok());
  std::sort(names->begin(), names->end());
  return *std::move(names);
}

absl::StatusOr<ModelCase> ReadModelCase(const std::string& name) {
  ModelCase read;
  read.folder = JoinPath(kFolder, name);
  R1_ASSIGN_OR_RETURN(read.spec, ReadModelSpec(read.folder));
  R1_ASSIGN_OR_RETURN(read.weights, ReadModelFolder(read.folder, read.spec));
  R1_ASSIGN_OR_RETURN(const MappedSafetensors expected,
                      ReadSafetensors(JoinPath(read.folder, "expected.safetensors")));
  for (const TensorView& tensor : expected.tensors) {
    absl::string_view parameter = tensor.name;
    if (absl::ConsumePrefix(&parameter, "grad_norm.")) {
      read.grad_norms[std::string(parameter)] = Values<float>(tensor)[0];
    } else if (tensor.name == "ids") {
      read.ids = Values<int32_t>(tensor);
    } else if (tensor.name == "greedy") {
      read.greedy = Values<int32_t>(tensor);
    } else if (tensor.name == "logits") {
      read.logits = Values<float>(tensor);
    } else if (tensor.name == "logprobs") {
      read.logprobs = Values<float>(tensor);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown expectation ", tensor.name));
    }
  }
  return read;
}

}  // namespace r1
