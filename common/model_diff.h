// `r1 checkpoint diff`: two model folders tensor by tensor, as values, whatever their dtypes and
// shards. Streams: a few megabytes are held besides the mapped files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/stored_model.h"

namespace r1 {

struct TensorDiff {
  std::string name;
  std::string
      problem;         // "only in A", "only in B", "shape [2] and [3]"; empty: values were compared
  std::string dtypes;  // "F32" or "F32, BF16"
  int64_t elements = 0;
  int64_t elements_different = 0;
  double difference_max = 0;  // of absolute values; infinity where one is NaN and the other is not
};

struct ModelDiff {
  std::vector<TensorDiff> tensors;  // by name; all of them

  bool identical() const;  // in values
};

// F8_E4M3 weights are compared with their scales applied; scales are not tensors of their own then.
// InvalidArgument: an F8_E4M3 weight whose values cannot be read.
[[nodiscard]] absl::StatusOr<ModelDiff> DiffModels(const StoredModel& a, const StoredModel& b);

}  // namespace r1
