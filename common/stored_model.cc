#include "common/stored_model.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/filesystem.h"
#include "common/json.h"
#include "common/safetensors.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr uint64_t kIndexBytesMax = uint64_t{1} << 28;
constexpr uint64_t kConfigBytesMax = uint64_t{1} << 24;
constexpr absl::string_view kScaleSuffix = "_scale_inv";

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

}  // namespace

absl::StatusOr<StoredModel> StoredModel::Open(const std::string& folder) {
  StoredModel model;
  model.folder_ = folder;
  const std::string single = JoinPath(folder, kSingleFile);
  const std::string index = JoinPath(folder, kIndexFile);
  if (RealFileSystem().Exists(single)) {  // it wins over an index, as in transformers
    R1_RETURN_IF_ERROR(model.AddFile(single));
  } else if (RealFileSystem().Exists(index)) {
    R1_RETURN_IF_ERROR(model.AddShards(index));
  } else {
    return NoSafetensors(folder);
  }
  model.blocks_ = model.ReadQuantization();
  return model;
}

absl::Status StoredModel::AddFile(const std::string& path) {
  R1_ASSIGN_OR_RETURN(MappedSafetensors mapped, ReadSafetensors(path));
  for (TensorView& tensor : mapped.tensors) {
    const auto [there, added] = index_.emplace(tensor.name, tensors_.size());
    if (!added) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", Quoted(tensor.name),
                                                     " is also in ", tensors_[there->second].file));
    }
    tensors_.push_back({std::move(tensor), path});
  }
  mappings_.push_back(std::move(mapped.storage));
  return absl::OkStatus();
}

absl::Status StoredModel::AddShards(const std::string& index_path) {
  R1_ASSIGN_OR_RETURN(const auto shards, ReadWeightMap(index_path));
  std::set<std::string> files;
  for (const auto& [name, file] : shards) files.insert(file);
  for (const std::string& file : files) R1_RETURN_IF_ERROR(AddFile(JoinPath(folder_, file)));
  for (const auto& [name, file] : shards) {
    const StoredTensor* stored = FindOrNull(name);
    if (stored != nullptr && stored->file == JoinPath(folder_, file)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        index_path, ": weight_map says that tensor ", Quoted(name), " is in ", Quoted(file),
        stored == nullptr ? ", which lacks it" : absl::StrCat(", found it in ", stored->file)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Fp8Blocks>> StoredModel::ReadQuantization() const {
  const std::string path = JoinPath(folder_, "config.json");
  if (!RealFileSystem().Exists(path)) return std::optional<Fp8Blocks>();
  R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path, kConfigBytesMax));
  return ParseFp8Blocks(text, path);
}

const StoredTensor* StoredModel::FindOrNull(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::string StoredModel::ScaleName(absl::string_view name) {
  return absl::StrCat(name, kScaleSuffix);
}

bool StoredModel::IsScale(const StoredTensor& tensor) const {
  absl::string_view weight = tensor.view.name;
  if (!absl::ConsumeSuffix(&weight, kScaleSuffix)) return false;
  const StoredTensor* stored = FindOrNull(weight);
  return stored != nullptr && stored->view.dtype == DType::kF8E4M3;
}

absl::Status StoredModel::ReadFloats(const StoredTensor& tensor, std::span<float> values,
                                     int64_t begin) const {
  const TensorView& view = tensor.view;
  const std::string where = absl::StrCat(tensor.file, ": tensor ", Quoted(view.name));
  if (!IsFloat(view.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": expected dtype F32, BF16, F16 or F8_E4M3, found ", DTypeName(view.dtype)));
  }
  if (view.dtype != DType::kF8E4M3) {
    const auto width = static_cast<size_t>(DTypeBytes(view.dtype));
    ToFloats(view.dtype,
             view.bytes.substr(static_cast<size_t>(begin) * width, values.size() * width), values);
    return absl::OkStatus();
  }
  const StoredTensor* scales = FindOrNull(ScaleName(view.name));
  if (scales == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected its scales in tensor ",
                                                   ScaleName(view.name), ", found no such tensor"));
  }
  R1_RETURN_IF_ERROR(blocks_.status());
  if (!blocks_->has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": is F8_E4M3, but ", JoinPath(folder_, "config.json"),
                     " has no quantization_config, which says the size of its blocks"));
  }
  return Annotate(DequantizeFp8(view, scales->view, **blocks_, values, begin), tensor.file);
}

}  // namespace r1
