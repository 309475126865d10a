// A versioned set of named tensors in host memory: what the learner publishes, workers load and
// checkpoints hold.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/dtype.h"
#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1 {

// A tensor inside somebody else's memory: contiguous, little-endian, row-major.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  absl::string_view bytes;

  int64_t elements() const;
  // fp32 tensors only.
  std::span<const float> f32() const;
};

// "[2, 3]", for messages.
std::string ShapeText(const std::vector<int64_t>& shape);

// Immutable once made; shared between threads. The order of tensors is that of ModelSpec::weights.
struct WeightsSnapshot {
  uint64_t policy_version = 0;
  std::vector<TensorView> tensors;
  std::shared_ptr<const void> storage;  // keeps the bytes alive

  uint64_t bytes_total() const;
  // XXH3 over names, shapes and tensor hashes in order: WeightManifest.digest.
  uint64_t Digest() const;
};

// Checks names, shapes and dtypes against the spec, both ways: a missing, extra or misshapen tensor
// is an InvalidArgument that names it, both shapes and `where` (a file or a peer).
[[nodiscard]] absl::Status CheckWeights(const ModelSpec& spec, const WeightsSnapshot& weights,
                                        absl::string_view where);

}  // namespace r1
