// Block-scaled F8_E4M3 weights (DeepSeek-V3, 2412.19437 §3.3): a weight [rows, columns] comes with
// a scale for each block of 128 x 128 elements, which its values are multiplied by although the
// tensor is called "_scale_inv". Blocks at the lower and right edge may be ragged.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "common/status.h"
#include "common/weights.h"

namespace r1 {

struct Fp8Blocks {
  int64_t rows = 128;
  int64_t columns = 128;
};

// From quantization_config of a config.json; nullopt when it has none. InvalidArgument for another
// quantization than this one.
[[nodiscard]] absl::StatusOr<std::optional<Fp8Blocks>> ParseFp8Blocks(
    const std::string& hf_config_json, const std::string& where);

// The weight's values times their scales, values.size() of them from element `begin` on.
// InvalidArgument when the weight is not a matrix of F8_E4M3, or the scales are not a grid of F32,
// BF16 or F16 for it.
[[nodiscard]] absl::Status DequantizeFp8(const TensorView& weight, const TensorView& scales,
                                         Fp8Blocks blocks, std::span<float> values,
                                         int64_t begin = 0);

}  // namespace r1
