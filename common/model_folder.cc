// ReadModelFolder: a Hugging Face folder's safetensors, one file or shards, as one fp32 snapshot in
// the order of a ModelSpec.

#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <new>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/json.h"
#include "common/safetensors.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr uint64_t kIndexBytesMax = uint64_t{1} << 28;
// Tensors begin at cache lines of the snapshot, whatever their alignment on disk.
constexpr size_t kAlignment = 64;

struct StoredTensor {
  TensorView view;
  std::string file;
};

struct StoredModel {
  std::map<std::string, StoredTensor> tensors;
  std::vector<std::shared_ptr<const void>> mappings;
};

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status AddFile(const std::string& path, StoredModel& model) {
  R1_ASSIGN_OR_RETURN(MappedSafetensors mapped, ReadSafetensors(path));
  for (TensorView& tensor : mapped.tensors) {
    const std::string name = tensor.name;
    const auto [there, added] = model.tensors.emplace(name, StoredTensor{std::move(tensor), path});
    if (!added) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(name), " is also in ", there->second.file));
    }
  }
  model.mappings.push_back(std::move(mapped.storage));
  return absl::OkStatus();
}

// Tensor name -> shard, from the index.
absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const std::string& path) {
  R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path, kIndexBytesMax));
  R1_ASSIGN_OR_RETURN(const nlohmann::json index, ParseJson(text, path));
  const nlohmann::json* map = JsonFields(index, path).FindOrNull("weight_map");
  if (map == nullptr || !map->is_object()) {
    return JsonFields(index, path).Error("weight_map", "an object of tensor name: file name");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, file] : map->items()) {
    // A shard lies in the folder itself: a path would let an index reach other files.
    if (!file.is_string() || file.get_ref<const std::string&>().find('/') != std::string::npos ||
        !absl::EndsWith(file.get_ref<const std::string&>(), ".safetensors")) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": weight_map: ", Quoted(name),
                       ": expected the name of a .safetensors file, found ", DescribeJson(file)));
    }
    shards.emplace(name, file.get<std::string>());
  }
  return shards;
}

absl::Status AddShards(const std::string& folder, const std::string& index_path,
                       StoredModel& model) {
  R1_ASSIGN_OR_RETURN(const auto shards, ReadWeightMap(index_path));
  std::set<std::string> files;
  for (const auto& [name, file] : shards) files.insert(file);
  for (const std::string& file : files) {
    R1_RETURN_IF_ERROR(AddFile(JoinPath(folder, file), model));
  }
  for (const auto& [name, file] : shards) {
    const auto stored = model.tensors.find(name);
    if (stored == model.tensors.end() || stored->second.file != JoinPath(folder, file)) {
      return absl::InvalidArgumentError(absl::StrCat(
          index_path, ": weight_map says that tensor ", Quoted(name), " is in ", Quoted(file),
          stored == model.tensors.end() ? ", which lacks it"
                                        : absl::StrCat(", found it in ", stored->second.file)));
    }
  }
  return absl::OkStatus();
}

// Pickles run code when they are read; a folder that has nothing else is refused.
absl::Status NoSafetensors(const std::string& folder) {
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> names, RealFileSystem().List(folder));
  for (const std::string& name : names) {
    for (const absl::string_view suffix : {".bin", ".pt", ".pth", ".ckpt", ".pkl"}) {
      if (!absl::EndsWith(name, suffix)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(JoinPath(folder, name),
                       ": a Python pickle, which can run code when it is "
                       "read, is refused; convert it to safetensors (transformers: "
                       "save_pretrained(…, safe_serialization=True))"));
    }
  }
  return absl::NotFoundError(
      absl::StrCat(folder, ": expected ", kSingleFile, " or ", kIndexFile, ", found neither"));
}

absl::StatusOr<StoredModel> OpenFolder(const std::string& folder) {
  const std::string single = JoinPath(folder, kSingleFile);
  const std::string index = JoinPath(folder, kIndexFile);
  StoredModel model;
  if (RealFileSystem().Exists(single)) {  // it wins over an index, as in transformers
    R1_RETURN_IF_ERROR(AddFile(single, model));
  } else if (RealFileSystem().Exists(index)) {
    R1_RETURN_IF_ERROR(AddShards(folder, index, model));
  } else {
    return NoSafetensors(folder);
  }
  return model;
}

// Layer of "model.layers.<n>.…", or -1.
int LayerOf(absl::string_view name) {
  int layer = -1;
  if (!absl::ConsumePrefix(&name, "model.layers.")) return -1;
  if (!absl::SimpleAtoi(name.substr(0, name.find('.')), &layer)) return -1;
  return layer;
}

// Removes the layers behind the model's own: as many as the config announces, and those that are
// seen to be multi-token-prediction layers by the projection that only these have.
void RemoveMtpLayers(const ModelSpec& spec, StoredModel& model) {
  const int layers = static_cast<int>(spec.layers.size());
  std::set<int> skipped;
  for (int i = 0; i < spec.mtp_layers; ++i) skipped.insert(layers + i);
  for (const auto& [name, stored] : model.tensors) {
    if (LayerOf(name) >= layers && absl::EndsWith(name, ".eh_proj.weight")) {
      skipped.insert(LayerOf(name));
    }
  }
  for (auto tensor = model.tensors.begin(); tensor != model.tensors.end();) {
    const bool skip = skipped.count(LayerOf(tensor->first)) > 0;
    tensor = skip ? model.tensors.erase(tensor) : std::next(tensor);
  }
}

// Both ways: every weight of the spec is stored with its shape, and nothing else is stored.
absl::Status CheckStored(const ModelSpec& spec, const StoredModel& model,
                         const std::string& folder) {
  std::set<std::string> expected_names;
  for (const WeightSpec& weight : spec.weights) {
    expected_names.insert(weight.name);
    const auto stored = model.tensors.find(weight.name);
    if (stored == model.tensors.end()) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": no tensor ", weight.name,
                                                     " of shape ", ShapeText(weight.shape),
                                                     " in any of its files"));
    }
    const auto& [view, file] = stored->second;
    if (view.shape != weight.shape) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", weight.name,
                                                     ": expected shape ", ShapeText(weight.shape),
                                                     ", found ", ShapeText(view.shape)));
    }
    if (view.dtype != DType::kF32 && view.dtype != DType::kBF16 && view.dtype != DType::kF16) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", weight.name,
                                                     ": expected dtype F32, BF16 or F16, found ",
                                                     DTypeName(view.dtype)));
    }
  }
  for (const auto& [name, stored] : model.tensors) {
    if (expected_names.count(name) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        stored.file, ": tensor ", Quoted(name), " of shape ", ShapeText(stored.view.shape),
        " is not a weight of this ", spec.family, " model; does config.json belong to it?"));
  }
  return absl::OkStatus();
}

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// IEEE half to single, exactly.
float FromHalf(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t fraction = half & 0x3FF;
  if (exponent == 0x1F) return FromBits(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return FromBits(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // zero or subnormal
  return sign != 0 ? -magnitude : magnitude;
}

// The stored values as fp32; the view's bytes may lie at any alignment.
void Convert(const TensorView& view, float* target) {
  if (view.dtype == DType::kF32) {
    std::memcpy(target, view.bytes.data(), view.bytes.size());
    return;
  }
  for (int64_t i = 0; i < view.elements(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, view.bytes.data() + 2 * i, sizeof(bits));
    target[i] = view.dtype == DType::kBF16 ? FromBits(uint32_t{bits} << 16) : FromHalf(bits);
  }
}

absl::Status CheckFinite(std::span<const float> values, const StoredTensor& stored) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        stored.file, ": tensor ", stored.view.name, ": expected finite values, found ",
        std::isnan(values[i]) ? "NaN" : "infinity", " at element ", i, " of ", values.size()));
  }
  return absl::OkStatus();
}

uint64_t AlignedBytes(const WeightSpec& weight) {
  const uint64_t bytes = static_cast<uint64_t>(weight.elements()) * sizeof(float);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

absl::StatusOr<WeightsSnapshot> ReadModelFolder(const std::string& folder, const ModelSpec& spec) {
  R1_ASSIGN_OR_RETURN(StoredModel model, OpenFolder(folder));
  RemoveMtpLayers(spec, model);
  R1_RETURN_IF_ERROR(CheckStored(spec, model, folder));

  // Bounded: the files were seen to hold these shapes.
  uint64_t bytes_total = 0;
  for (const WeightSpec& weight : spec.weights) bytes_total += AlignedBytes(weight);
  auto* const memory =
      static_cast<char*>(::operator new (bytes_total, std::align_val_t{kAlignment}, std::nothrow));
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(folder, ": no memory for ", bytes_total, " bytes of fp32 weights"));
  }
  WeightsSnapshot snapshot;
  snapshot.storage = std::shared_ptr<const void>(
      memory, [memory](const void*) { ::operator delete (memory, std::align_val_t{kAlignment}); });
  uint64_t at = 0;
  for (const WeightSpec& weight : spec.weights) {
    const StoredTensor& stored = model.tensors.at(weight.name);
    const size_t elements = static_cast<size_t>(weight.elements());
    auto* const values = reinterpret_cast<float*>(memory + at);
    Convert(stored.view, values);
    R1_RETURN_IF_ERROR(CheckFinite({values, elements}, stored));
    snapshot.tensors.push_back({.name = weight.name,
                                .dtype = DType::kF32,
                                .shape = weight.shape,
                                .bytes = {memory + at, elements * sizeof(float)}});
    at += AlignedBytes(weight);
  }
  return snapshot;
}

}  // namespace r1
