// The gradient of a model on given sequences, summed up in one number for each parameter: what a
// comparison with another implementation looks at. Torch-free.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "learner/policy/packed_batch.h"
#include "learner/policy/policy.h"

namespace r1::learner {

// Name and L2 norm for every parameter of policy.spec(), in its order: of the gradient of the mean
// cross-entropy over all targets of all batches. InvalidArgument when there are none.
[[nodiscard]] absl::StatusOr<std::vector<std::pair<std::string, double>>> GradientNorms(
    Policy& policy, std::span<const PackedBatch> batches);

}  // namespace r1::learner
