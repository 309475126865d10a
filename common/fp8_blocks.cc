#include "common/fp8_blocks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace r1 {
namespace {

constexpr int64_t kBlockMax = 1 << 20;

int64_t DivideUp(int64_t size, int64_t block) { return (size + block - 1) / block; }

absl::Status CheckGrid(const TensorView& weight, const TensorView& scales, Fp8Blocks blocks) {
  if (weight.shape.size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", weight.name,
                                                   ": expected a matrix, as F8_E4M3 weights are, "
                                                   "found shape ",
                                                   ShapeText(weight.shape)));
  }
  if (!IsFloat(scales.dtype) || scales.dtype == DType::kF8E4M3) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", scales.name,
                                                   ": expected dtype F32, BF16 or F16, found ",
                                                   DTypeName(scales.dtype)));
  }
  const std::vector<int64_t> grid = {DivideUp(weight.shape[0], blocks.rows),
                                     DivideUp(weight.shape[1], blocks.columns)};
  if (scales.shape == grid) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", scales.name, ": expected shape ", ShapeText(grid),
                   " for a weight of ", ShapeText(weight.shape), " in blocks of ", blocks.rows,
                   " x ", blocks.columns, ", found ", ShapeText(scales.shape)));
}

}  // namespace

absl::StatusOr<std::optional<Fp8Blocks>> ParseFp8Blocks(const std::string& hf_config_json,
                                                        const std::string& where) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(hf_config_json, where));
  const nlohmann::json* quantization = JsonFields(config, where).FindOrNull("quantization_config");
  if (quantization == nullptr) return std::optional<Fp8Blocks>();
  const std::string inside = absl::StrCat(where, ": quantization_config");
  if (!quantization->is_object()) {
    return JsonFields(config, where).Error("quantization_config", "an object");
  }
  const JsonFields fields(*quantization, inside);
  R1_ASSIGN_OR_RETURN(const std::string method, fields.String("quant_method"));
  if (method != "fp8") return fields.Error("quant_method", "\"fp8\", the only one supported");
  const nlohmann::json* size = fields.FindOrNull("weight_block_size");
  const auto is_size = [](const nlohmann::json& value) {
    return value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
           value.get<uint64_t>() <= kBlockMax;
  };
  if (size == nullptr || !size->is_array() || size->size() != 2 || !is_size((*size)[0]) ||
      !is_size((*size)[1])) {
    return fields.Error("weight_block_size", "two sizes, [rows, columns]");
  }
  return std::optional<Fp8Blocks>(Fp8Blocks{(*size)[0].get<int64_t>(), (*size)[1].get<int64_t>()});
}

absl::Status DequantizeFp8(const TensorView& weight, const TensorView& scales, Fp8Blocks blocks,
                           std::span<float> values, int64_t begin) {
  R1_CHECK(weight.dtype == DType::kF8E4M3);
  R1_CHECK(begin >= 0);
  const int64_t end = begin + static_cast<int64_t>(values.size());
  R1_CHECK(end <= weight.elements());
  R1_RETURN_IF_ERROR(CheckGrid(weight, scales, blocks));
  std::vector<float> grid(static_cast<size_t>(scales.elements()));
  ToFloats(scales.dtype, scales.bytes, grid);
  ToFloats(weight.dtype, weight.bytes.substr(static_cast<size_t>(begin), values.size()), values);
  const int64_t columns = weight.shape[1];
  for (int64_t at = begin; at < end;) {
    const int64_t row = at / columns, column = at % columns;
    const int64_t block = column / blocks.columns;
    const float scale = grid[static_cast<size_t>(row / blocks.rows * scales.shape[1] + block)];
    // Up to the end of the block in this row.
    const int64_t stop =
        std::min(row * columns + std::min((block + 1) * blocks.columns, columns), end);
    for (; at < stop; ++at) values[static_cast<size_t>(at - begin)] *= scale;
  }
  return absl::OkStatus();
}

}  // namespace r1
