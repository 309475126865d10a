#include "common/model_diff.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/safetensors.h"

namespace r1 {
namespace {

constexpr int64_t kChunkElements = 1 << 20;

double Difference(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double difference = std::abs(a - b);
  return std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
}

// An integer tensor's element as a double, for the size of a difference; equality is that of bytes.
double IntegerAt(const TensorView& view, int64_t index) {
  const auto width = static_cast<size_t>(DTypeBytes(view.dtype));
  const char* const at = view.bytes.data() + static_cast<size_t>(index) * width;
  int32_t narrow = 0;
  int64_t wide = 0;
  switch (view.dtype) {
    case DType::kI32:
      std::memcpy(&narrow, at, sizeof(narrow));
      return narrow;
    case DType::kI64:
      std::memcpy(&wide, at, sizeof(wide));
      return static_cast<double>(wide);
    default:
      return static_cast<unsigned char>(*at);
  }
}

class Values {
 public:
  Values(const StoredModel& model, const StoredTensor& tensor) : model_(model), tensor_(tensor) {}

  absl::Status Read(int64_t begin, int64_t count) {
    floats_.resize(static_cast<size_t>(count));
    begin_ = begin;
    if (!IsFloat(tensor_.view.dtype)) return absl::OkStatus();
    return model_.ReadFloats(tensor_, floats_, begin);
  }
  double at(int64_t i) const {
    return IsFloat(tensor_.view.dtype) ? static_cast<double>(floats_[static_cast<size_t>(i)])
                                       : IntegerAt(tensor_.view, begin_ + i);
  }

 private:
  const StoredModel& model_;
  const StoredTensor& tensor_;
  std::vector<float> floats_;
  int64_t begin_ = 0;
};

absl::Status CompareValues(const StoredModel& a, const StoredTensor& tensor_a, const StoredModel& b,
                           const StoredTensor& tensor_b, TensorDiff& diff) {
  Values values_a(a, tensor_a), values_b(b, tensor_b);
  for (int64_t begin = 0; begin < diff.elements; begin += kChunkElements) {
    const int64_t count = std::min(kChunkElements, diff.elements - begin);
    R1_RETURN_IF_ERROR(values_a.Read(begin, count));
    R1_RETURN_IF_ERROR(values_b.Read(begin, count));
    for (int64_t i = 0; i < count; ++i) {
      const double difference = Difference(values_a.at(i), values_b.at(i));
      if (difference == 0) continue;
      ++diff.elements_different;
      diff.difference_max = std::max(diff.difference_max, difference);
    }
  }
  ReleasePages(tensor_a.view.bytes);
  ReleasePages(tensor_b.view.bytes);
  return absl::OkStatus();
}

}  // namespace

bool ModelDiff::identical() const {
  return std::all_of(tensors.begin(), tensors.end(), [](const TensorDiff& tensor) {
    return tensor.problem.empty() && tensor.elements_different == 0;
  });
}

absl::StatusOr<ModelDiff> DiffModels(const StoredModel& a, const StoredModel& b) {
  std::set<std::string> names;
  for (const StoredModel* model : {&a, &b}) {
    for (const StoredTensor& tensor : model->tensors()) {
      if (!model->IsScale(tensor)) names.insert(tensor.view.name);
    }
  }
  ModelDiff result;
  for (const std::string& name : names) {
    const StoredTensor* tensor_a = a.FindOrNull(name);
    const StoredTensor* tensor_b = b.FindOrNull(name);
    TensorDiff diff;
    diff.name = name;
    if (tensor_a == nullptr || tensor_b == nullptr) {
      const StoredModel& has = tensor_a == nullptr ? b : a;
      diff.problem = absl::StrCat("only in ", has.folder());
      diff.dtypes = std::string(DTypeName((tensor_a == nullptr ? tensor_b : tensor_a)->view.dtype));
    } else {
      const TensorView &view_a = tensor_a->view, &view_b = tensor_b->view;
      diff.dtypes = std::string(DTypeName(view_a.dtype));
      if (view_a.dtype != view_b.dtype)
        absl::StrAppend(&diff.dtypes, ", ", DTypeName(view_b.dtype));
      diff.elements = view_a.elements();
      if (view_a.shape != view_b.shape) {
        diff.problem =
            absl::StrCat("shape ", ShapeText(view_a.shape), " and ", ShapeText(view_b.shape));
      } else {
        R1_RETURN_IF_ERROR(CompareValues(a, *tensor_a, b, *tensor_b, diff));
      }
    }
    result.tensors.push_back(std::move(diff));
  }
  return result;
}

}  // namespace r1
