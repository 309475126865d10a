#include "common/model_convert.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/safetensors.h"
#include "common/stored_model.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr int64_t kChunkElements = 1 << 20;
constexpr uint64_t kSmallFileBytesMax = 256 << 20;
constexpr char kConfigName[] = "config.json";

// What a model folder holds beside its weights; each is copied when it is there.
constexpr const char* kCopiedFiles[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "chat_template.json"};

absl::string_view TorchName(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16";
}

DType TargetDType(const StoredTensor& tensor, std::optional<DType> wanted) {
  const bool kept = !wanted.has_value() || !IsFloat(tensor.view.dtype) ||
                    absl::EndsWith(tensor.view.name, ".e_score_correction_bias");
  return kept ? tensor.view.dtype : *wanted;
}

// config.json with the new dtype in the dialect it is written in, and without a quantization that
// the weights no longer have. The order of its keys stays.
absl::StatusOr<std::string> ConvertConfig(const std::string& text, const std::string& path,
                                          DType dtype) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json checked, ParseJson(text, path));  // and bounded
  if (!checked.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
  }
  auto config = nlohmann::ordered_json::parse(text);
  config.erase("quantization_config");
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = std::string(TorchName(dtype));
  return config.dump(2) + "\n";
}

class Converter {
 public:
  Converter(FileSystem& filesystem, const StoredModel& model, const ConvertOptions& options,
            std::string target)
      : filesystem_(filesystem), model_(model), options_(options), target_(std::move(target)) {}

  absl::StatusOr<ConvertReport> Run() {
    R1_RETURN_IF_ERROR(filesystem_.CreateDirectories(target_));
    const std::vector<ModelShard> shards = SplitIntoShards(Plan(), options_.shard_bytes_max);
    for (const ModelShard& shard : shards) R1_RETURN_IF_ERROR(WriteShard(shard));
    if (shards.size() > 1) {
      R1_RETURN_IF_ERROR(WriteFile(kShardIndexName, ShardIndexJson(shards)));
    }
    R1_RETURN_IF_ERROR(WriteOtherFiles());
    R1_RETURN_IF_ERROR(filesystem_.SyncDirectory(target_));
    report_.shards = static_cast<int>(shards.size());
    return report_;
  }

 private:
  // The tensors to write, in the order in which they are stored, without bytes yet.
  std::vector<TensorView> Plan() const {
    std::vector<TensorView> planned;
    for (const StoredTensor& tensor : model_.tensors()) {
      if (options_.dtype.has_value() && model_.IsScale(tensor)) continue;
      planned.push_back({.name = tensor.view.name,
                         .dtype = TargetDType(tensor, options_.dtype),
                         .shape = tensor.view.shape,
                         .bytes = {}});
    }
    return planned;
  }

  absl::Status WriteFile(const std::string& name, absl::string_view text) {
    R1_ASSIGN_OR_RETURN(const auto file, filesystem_.Create(JoinPath(target_, name)));
    R1_RETURN_IF_ERROR(file->Append(text));
    R1_RETURN_IF_ERROR(file->Sync());
    return file->Close();
  }

  absl::Status WriteShard(const ModelShard& shard) {
    R1_ASSIGN_OR_RETURN(const auto file, filesystem_.Create(JoinPath(target_, shard.name)));
    R1_RETURN_IF_ERROR(file->Append(SafetensorsFront(shard.tensors)));
    for (const TensorView& planned : shard.tensors) {
      const StoredTensor& stored = *model_.FindOrNull(planned.name);
      if (IsFloat(stored.view.dtype)) {
        R1_RETURN_IF_ERROR(WriteFloats(stored, planned.dtype, *file));
      } else {
        R1_RETURN_IF_ERROR(file->Append(stored.view.bytes));
      }
      ReleasePages(stored.view.bytes);
      ++report_.tensors;
      report_.bytes += static_cast<uint64_t>(planned.elements() * DTypeBytes(planned.dtype));
    }
    R1_RETURN_IF_ERROR(file->Sync());
    return file->Close();
  }

  absl::Status WriteFloats(const StoredTensor& stored, DType dtype, WritableFile& file) {
    const TensorView& view = stored.view;
    const auto width = static_cast<size_t>(DTypeBytes(dtype));
    const int64_t elements = view.elements();
    for (int64_t begin = 0; begin < elements; begin += kChunkElements) {
      const auto count = static_cast<size_t>(std::min(kChunkElements, elements - begin));
      floats_.resize(count);
      const bool same = dtype == view.dtype;  // of F8_E4M3 the codes are looked at, unscaled
      const absl::string_view bytes =
          same ? view.bytes.substr(static_cast<size_t>(begin) * width, count * width)
               : absl::string_view();
      if (same) {
        ToFloats(dtype, bytes, floats_);
      } else {
        R1_RETURN_IF_ERROR(model_.ReadFloats(stored, floats_, begin));
      }
      R1_RETURN_IF_ERROR(CheckFinite(stored, begin, "found"));
      if (same) {
        R1_RETURN_IF_ERROR(file.Append(bytes));
        continue;
      }
      bytes_.resize(count * width);
      FromFloats(floats_, dtype, bytes_.data());
      ToFloats(dtype, bytes_, floats_);
      R1_RETURN_IF_ERROR(
          CheckFinite(stored, begin, absl::StrCat("in ", DTypeName(dtype), " one becomes")));
      R1_RETURN_IF_ERROR(file.Append(bytes_));
    }
    return absl::OkStatus();
  }

  absl::Status CheckFinite(const StoredTensor& stored, int64_t begin,
                           absl::string_view found) const {
    const auto bad = std::find_if(floats_.begin(), floats_.end(),
                                  [](float value) { return !std::isfinite(value); });
    if (bad == floats_.end()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        stored.file, ": tensor ", Quoted(stored.view.name), ": expected finite values, ", found,
        " ", std::isnan(*bad) ? "NaN" : "infinity", " at element ", begin + (bad - floats_.begin()),
        " of ", stored.view.elements()));
  }

  absl::Status WriteOtherFiles() {
    const std::string config = JoinPath(model_.folder(), kConfigName);
    if (RealFileSystem().Exists(config)) {
      R1_ASSIGN_OR_RETURN(std::string text, RealFileSystem().Read(config, kSmallFileBytesMax));
      if (options_.dtype.has_value()) {
        R1_ASSIGN_OR_RETURN(text, ConvertConfig(text, config, *options_.dtype));
      }
      R1_RETURN_IF_ERROR(WriteFile(kConfigName, text));
    }
    for (const char* name : kCopiedFiles) {
      const std::string path = JoinPath(model_.folder(), name);
      if (!RealFileSystem().Exists(path)) continue;
      R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path, kSmallFileBytesMax));
      R1_RETURN_IF_ERROR(WriteFile(name, text));
    }
    return absl::OkStatus();
  }

  FileSystem& filesystem_;
  const StoredModel& model_;
  const ConvertOptions& options_;
  const std::string target_;
  ConvertReport report_;
  std::vector<float> floats_;
  std::string bytes_;
};

}  // namespace

absl::StatusOr<ConvertReport> ConvertModelFolder(FileSystem& filesystem, const std::string& source,
                                                 const std::string& target,
                                                 const ConvertOptions& options) {
  R1_CHECK(options.shard_bytes_max > 0);
  const bool narrow = options.dtype == DType::kBF16 || options.dtype == DType::kF16;
  R1_CHECK(!options.dtype.has_value() || options.dtype == DType::kF32 || narrow);
  R1_ASSIGN_OR_RETURN(const StoredModel model, StoredModel::Open(source));
  if (filesystem.Exists(target)) {
    const auto names = filesystem.List(target);
    if (!names.ok() || !names->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(target, ": expected a folder that does not exist yet, or is empty"));
    }
  }
  const std::string temporary = absl::StrCat(target, ".tmp-", getpid());
  R1_RETURN_IF_ERROR(filesystem.RemoveAll(temporary));  // of a process that had our id
  absl::Cleanup remove = [&] {
    // Nothing more can be done about a folder that cannot be removed than to leave it.
    filesystem.RemoveAll(temporary).IgnoreError();
  };
  R1_ASSIGN_OR_RETURN(const ConvertReport report,
                      Converter(filesystem, model, options, temporary).Run());
  if (filesystem.Exists(target)) R1_RETURN_IF_ERROR(filesystem.RemoveAll(target));  // empty
  R1_RETURN_IF_ERROR(filesystem.Rename(temporary, target));
  std::move(remove).Cancel();
  R1_RETURN_IF_ERROR(filesystem.SyncDirectory(ParentPath(target)));
  return report;
}

}  // namespace r1
