#include "common/weights.h"

#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/hash.h"
#include "common/utf8.h"

namespace r1 {
namespace {

// Little-endian, so that a digest is the same on every machine.
void AppendNumber(std::string& bytes, uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(number >> shift));
}

absl::Status CheckWeight(const WeightSpec& expected, const TensorView& found,
                         absl::string_view where) {
  if (found.shape != expected.shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": tensor ", expected.name,
                                                   ": expected shape ", ShapeText(expected.shape),
                                                   ", found ", ShapeText(found.shape)));
  }
  if (found.dtype != DType::kF32) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": tensor ", expected.name, ": expected dtype F32, found ", DTypeName(found.dtype)));
  }
  const uint64_t bytes = static_cast<uint64_t>(expected.elements()) * sizeof(float);
  if (found.bytes.size() != bytes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": tensor ", expected.name, ": expected ",
                                                   bytes, " bytes, found ", found.bytes.size()));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

std::span<const float> TensorView::f32() const {
  R1_CHECK(dtype == DType::kF32);
  R1_CHECK(bytes.size() == static_cast<size_t>(elements()) * sizeof(float));
  R1_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % alignof(float) == 0);
  return {reinterpret_cast<const float*>(bytes.data()), static_cast<size_t>(elements())};
}

uint64_t WeightsSnapshot::bytes_total() const {
  uint64_t total = 0;
  for (const TensorView& tensor : tensors) total += tensor.bytes.size();
  return total;
}

uint64_t WeightsSnapshot::Digest() const {
  std::string summary;
  for (const TensorView& tensor : tensors) {
    AppendNumber(summary, tensor.name.size());
    absl::StrAppend(&summary, tensor.name, DTypeName(tensor.dtype), ":");
    AppendNumber(summary, tensor.shape.size());
    for (const int64_t size : tensor.shape) AppendNumber(summary, static_cast<uint64_t>(size));
    AppendNumber(summary, Xxh3(tensor.bytes));
  }
  return Xxh3(summary);
}

absl::Status CheckWeights(const ModelSpec& spec, const WeightsSnapshot& weights,
                          absl::string_view where) {
  std::unordered_map<std::string, const TensorView*> found;
  for (const TensorView& tensor : weights.tensors) {
    if (!found.emplace(tensor.name, &tensor).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": tensor ", Quoted(tensor.name), " occurs twice"));
    }
  }
  for (const WeightSpec& expected : spec.weights) {
    const auto tensor = found.find(expected.name);
    if (tensor == found.end()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": no tensor ", expected.name,
                                                     " of shape ", ShapeText(expected.shape)));
    }
    R1_RETURN_IF_ERROR(CheckWeight(expected, *tensor->second, where));
    found.erase(tensor);
  }
  for (const TensorView& tensor : weights.tensors) {
    if (found.count(tensor.name) == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": tensor ", Quoted(tensor.name), " of shape ", ShapeText(tensor.shape),
                     " is not a weight of this ", spec.family, " model"));
  }
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    if (weights.tensors[i].name == spec.weights[i].name) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": tensor ", i, ": expected ",
                                                   spec.weights[i].name, ", found ",
                                                   weights.tensors[i].name));
  }
  return absl::OkStatus();
}

}  // namespace r1
