#include "learner/checkpoint_files.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/model_shards.h"
#include "common/safetensors.h"
#include "learner/measuring_filesystem.h"

namespace r1::learner {
namespace {

constexpr char kTrainingFolder[] = "training";
constexpr char kVersionsFolder[] = "training/versions";
constexpr char kStateName[] = "training/state.bin";
constexpr char kOptimizerName[] = "training/optimizer.safetensors";
constexpr char kReferenceName[] = "training/reference.safetensors";
constexpr absl::string_view kGroupsStart = "training/groups_rank_";
constexpr uint64_t kJsonBytesMax = 256 << 20;
constexpr uint64_t kStateBytesMax = 256 << 20;

// --- Writing ---

absl::Status WriteFile(FileSystem& filesystem, const std::string& path, absl::string_view data) {
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, filesystem.Create(path));
  R1_RETURN_IF_ERROR(file->Append(data));
  R1_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

// The same bytes for the same message, unknown fields included.
std::string Serialize(const google::protobuf::Message& message) {
  std::string bytes;
  R1_CHECK(message.SerializeToString(&bytes));  // has no map fields, so the order is fixed
  return bytes;
}

// Keys of `source` that are listed, as a pretty JSON object with a line break at its end.
absl::StatusOr<std::string> PickKeys(const std::string& source, absl::string_view where,
                                     std::initializer_list<const char*> keys,
                                     nlohmann::json picked) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json object, ParseJson(source, where));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object"));
  }
  for (const char* key : keys) {
    if (const auto value = object.find(key); value != object.end()) picked[key] = *value;
  }
  return picked.dump(2) + "\n";
}

absl::Status WriteJsonFiles(FileSystem& filesystem, const std::string& folder,
                            const CheckpointContents& contents) {
  // What `generate` of transformers and vLLM start from: sampling at temperature 1, as in training.
  R1_ASSIGN_OR_RETURN(
      const std::string generation_config,
      PickKeys(contents.hf_config_json, "config.json",
               {"bos_token_id", "eos_token_id", "pad_token_id"}, {{"do_sample", true}}));
  R1_ASSIGN_OR_RETURN(
      const std::string special_tokens_map,
      PickKeys(contents.tokenizer_config_json, "tokenizer_config.json",
               {"bos_token", "eos_token", "pad_token", "unk_token", "additional_special_tokens"},
               nlohmann::json::object()));
  const std::array<std::pair<const char*, const std::string*>, 5> files = {{
      {"config.json", &contents.hf_config_json},
      {"generation_config.json", &generation_config},
      {"special_tokens_map.json", &special_tokens_map},
      {"tokenizer.json", &contents.tokenizer_json},
      {"tokenizer_config.json", &contents.tokenizer_config_json},
  }};
  for (const auto& [name, text] : files) {
    R1_RETURN_IF_ERROR(WriteFile(filesystem, JoinPath(folder, name), *text));
  }
  return absl::OkStatus();
}

absl::Status WriteWeights(FileSystem& filesystem, const std::string& folder,
                          const WeightsSnapshot& weights, uint64_t shard_bytes_max) {
  const std::vector<ModelShard> shards = SplitIntoShards(weights.tensors, shard_bytes_max);
  for (const ModelShard& shard : shards) {
    R1_RETURN_IF_ERROR(WriteSafetensors(filesystem, JoinPath(folder, shard.name), shard.tensors));
  }
  if (shards.size() == 1) return absl::OkStatus();
  return WriteFile(filesystem, JoinPath(folder, kShardIndexName), ShardIndexJson(shards));
}

ManifestEntry EntryOf(const std::string& folder, const std::string& path,
                      const MeasuringFileSystem::Measure& measure) {
  const std::string name = path.substr(JoinPath(folder, "").size());
  return {name, measure.bytes, measure.crc32c};
}

// --- Reading ---

// What is wrong with a file, without its path.
std::string ProblemText(const absl::Status& status) {
  return absl::IsNotFound(status) ? "is missing" : std::string(status.message());
}

using FileBytes = std::shared_ptr<const std::string>;

// The file's bytes, if they are those that the MANIFEST names. Read into memory and not mapped: an
// I/O error is then a Status and not a SIGBUS.
absl::StatusOr<std::string> ReadVerified(FileSystem& filesystem, const std::string& folder,
                                         const ManifestEntry& entry) {
  const std::string path = JoinPath(folder, entry.name);
  R1_ASSIGN_OR_RETURN(const uint64_t size, filesystem.Size(path));
  if (size < entry.bytes) {
    return absl::DataLossError(absl::StrCat("has ", size, " bytes instead of ", entry.bytes,
                                            ": bytes ", size, "-", entry.bytes - 1,
                                            " are missing"));
  }
  if (size > entry.bytes) {
    return absl::DataLossError(absl::StrCat("has ", size, " bytes instead of ", entry.bytes,
                                            ": bytes ", entry.bytes, "-", size - 1,
                                            " do not belong to it"));
  }
  const bool is_json = absl::EndsWith(entry.name, ".json");
  if ((is_json && size > kJsonBytesMax) || (entry.name == kStateName && size > kStateBytesMax)) {
    return absl::DataLossError(absl::StrCat("has ", size, " bytes, above its limit of ",
                                            is_json ? kJsonBytesMax : kStateBytesMax));
  }
  R1_ASSIGN_OR_RETURN(std::string data, filesystem.Read(path, size));
  const uint32_t crc = Crc32c(data);
  if (data.size() != size || crc != entry.crc32c) {
    return absl::DataLossError(absl::StrFormat(
        "bytes 0-%d have crc32c %08x, MANIFEST says %08x",
        std::max<int64_t>(static_cast<int64_t>(data.size()) - 1, 0), crc, entry.crc32c));
  }
  return data;
}

// Adds a problem for each name in the checkpoint that is neither listed nor a folder of a listed
// file.
void FindExtraFiles(FileSystem& filesystem, const std::string& folder,
                    const std::vector<ManifestEntry>& entries, std::vector<std::string>& problems) {
  std::set<std::string> known = {kManifestName};
  std::set<std::string> folders = {""};
  for (const ManifestEntry& entry : entries) {
    known.insert(entry.name);
    for (size_t slash = entry.name.find('/'); slash != std::string::npos;
         slash = entry.name.find('/', slash + 1)) {
      folders.insert(entry.name.substr(0, slash));
    }
  }
  for (const std::string& inner : folders) {
    const auto names = filesystem.List(inner.empty() ? folder : JoinPath(folder, inner));
    if (!names.ok()) continue;  // its files are reported as missing
    for (const std::string& name : *names) {
      const std::string relative = JoinPath(inner, name);
      if (known.count(relative) == 0 && folders.count(relative) == 0) {
        problems.push_back(absl::StrCat(relative, ": not listed in MANIFEST"));
      }
    }
  }
}

// The name's number between `start` and `end`; nullopt when the name is not of that form.
std::optional<uint64_t> NumberIn(absl::string_view name, absl::string_view start,
                                 absl::string_view end) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, start) || !absl::ConsumeSuffix(&name, end) ||
      !absl::SimpleAtoi(name, &number)) {
    return std::nullopt;
  }
  return number;
}

absl::StatusOr<std::vector<v1::Group>> ParseGroups(absl::string_view data,
                                                   const std::string& name) {
  std::vector<v1::Group> groups;
  for (size_t offset = 0; offset < data.size();) {
    uint32_t bytes = 0;
    if (data.size() - offset < sizeof(bytes)) {
      return absl::DataLossError(absl::StrCat(name, ": byte ", offset, ": half a length"));
    }
    std::memcpy(&bytes, data.data() + offset, sizeof(bytes));
    offset += sizeof(bytes);
    if (bytes > data.size() - offset || bytes > std::numeric_limits<int>::max()) {
      return absl::DataLossError(absl::StrCat(name, ": byte ", offset, ": a group of ", bytes,
                                              " bytes, but ", data.size() - offset,
                                              " bytes are left"));
    }
    if (!groups.emplace_back().ParseFromArray(data.data() + offset, static_cast<int>(bytes))) {
      return absl::DataLossError(
          absl::StrCat(name, ": bytes ", offset, "-", offset + bytes - 1, " are no Group message"));
    }
    offset += bytes;
  }
  return groups;
}

// Turns verified files into contents. Each error names the file.
class Parser {
 public:
  explicit Parser(std::map<std::string, FileBytes> files) : files_(std::move(files)) {}

  absl::StatusOr<CheckpointFiles> Parse() {
    CheckpointFiles result;
    CheckpointContents& contents = result.contents;
    R1_ASSIGN_OR_RETURN(contents.hf_config_json, Text("config.json"));
    R1_ASSIGN_OR_RETURN(contents.tokenizer_json, Text("tokenizer.json"));
    R1_ASSIGN_OR_RETURN(contents.tokenizer_config_json, Text("tokenizer_config.json"));
    R1_ASSIGN_OR_RETURN(const std::string state, Text(kStateName));
    if (!contents.state.ParseFromString(state)) {
      return absl::DataLossError(absl::StrCat(kStateName, ": no CheckpointState message"));
    }
    R1_RETURN_IF_ERROR(ParseTensors(contents));
    R1_ASSIGN_OR_RETURN(result.groups, ParseAllGroups());
    return result;
  }

 private:
  absl::StatusOr<std::string> Text(const std::string& name) const {
    const auto file = files_.find(name);
    if (file == files_.end()) return absl::DataLossError(absl::StrCat(name, ": not in MANIFEST"));
    return *file->second;
  }

  // The tensors of these files, one file after the other.
  absl::StatusOr<std::shared_ptr<WeightsSnapshot>> Tensors(const std::vector<std::string>& names,
                                                           uint64_t policy_version) const {
    auto snapshot = std::make_shared<WeightsSnapshot>();
    snapshot->policy_version = policy_version;
    auto storage = std::make_shared<std::vector<FileBytes>>();
    for (const std::string& name : names) {
      storage->push_back(files_.at(name));
      R1_ASSIGN_OR_RETURN(std::vector<TensorView> tensors,
                          ParseSafetensors(*storage->back(), name));
      std::move(tensors.begin(), tensors.end(), std::back_inserter(snapshot->tensors));
    }
    snapshot->storage = std::move(storage);
    return snapshot;
  }

  absl::Status ParseTensors(CheckpointContents& contents) const {
    std::vector<std::string> shards;  // sorted by name, which is their order
    std::map<uint64_t, std::string> versions;
    for (const auto& [name, bytes] : files_) {
      if (absl::StartsWith(name, "model") && absl::EndsWith(name, ".safetensors")) {
        shards.push_back(name);
      }
      if (const auto version = NumberIn(name, absl::StrCat(kVersionsFolder, "/"), ".safetensors")) {
        versions[*version] = name;
      }
    }
    if (shards.empty()) return absl::DataLossError("model.safetensors: not in MANIFEST");
    R1_ASSIGN_OR_RETURN(contents.weights, Tensors(shards, contents.state.policy_version()));
    if (files_.count(kReferenceName) > 0) {
      R1_ASSIGN_OR_RETURN(contents.reference, Tensors({kReferenceName}, 0));
    }
    for (const auto& [version, name] : versions) {
      R1_ASSIGN_OR_RETURN(auto leased, Tensors({name}, version));
      contents.leased.push_back(std::move(leased));
    }
    if (files_.count(kOptimizerName) > 0) {
      R1_ASSIGN_OR_RETURN(const auto optimizer, Tensors({kOptimizerName}, 0));
      contents.optimizer = optimizer->tensors;
      contents.optimizer_storage = optimizer->storage;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::vector<v1::Group>>> ParseAllGroups() const {
    std::map<uint64_t, std::string> names;
    for (const auto& [name, bytes] : files_) {
      if (const auto rank = NumberIn(name, kGroupsStart, ".bin")) names[*rank] = name;
    }
    std::vector<std::vector<v1::Group>> groups;
    for (const auto& [rank, name] : names) {
      if (rank != groups.size()) {
        return absl::DataLossError(
            absl::StrCat(kGroupsStart, groups.size(), ".bin: not in MANIFEST, but ", name, " is"));
      }
      R1_ASSIGN_OR_RETURN(groups.emplace_back(), ParseGroups(*files_.at(name), name));
    }
    return groups;
  }

  std::map<std::string, FileBytes> files_;
};

}  // namespace

absl::StatusOr<std::vector<ManifestEntry>> WriteModelFiles(FileSystem& filesystem,
                                                           const std::string& folder,
                                                           const CheckpointContents& contents,
                                                           const CheckpointFileOptions& options) {
  R1_CHECK(contents.weights != nullptr);
  MeasuringFileSystem measuring(filesystem);
  R1_RETURN_IF_ERROR(filesystem.CreateDirectories(JoinPath(folder, kTrainingFolder)));
  R1_RETURN_IF_ERROR(WriteJsonFiles(measuring, folder, contents));
  R1_RETURN_IF_ERROR(WriteWeights(measuring, folder, *contents.weights, options.shard_bytes_max));
  R1_RETURN_IF_ERROR(WriteFile(measuring, JoinPath(folder, kStateName), Serialize(contents.state)));
  if (!contents.optimizer.empty()) {
    R1_RETURN_IF_ERROR(
        WriteSafetensors(measuring, JoinPath(folder, kOptimizerName), contents.optimizer));
  }
  if (contents.reference != nullptr) {
    R1_RETURN_IF_ERROR(
        WriteSafetensors(measuring, JoinPath(folder, kReferenceName), contents.reference->tensors));
  }
  if (!contents.leased.empty()) {
    R1_RETURN_IF_ERROR(filesystem.CreateDirectories(JoinPath(folder, kVersionsFolder)));
  }
  for (const auto& version : contents.leased) {
    const std::string name =
        absl::StrCat(kVersionsFolder, "/", version->policy_version, ".safetensors");
    R1_RETURN_IF_ERROR(WriteSafetensors(measuring, JoinPath(folder, name), version->tensors));
  }
  std::vector<ManifestEntry> entries;
  for (const auto& [path, measure] : measuring.measures()) {
    entries.push_back(EntryOf(folder, path, measure));
  }
  return entries;
}

absl::StatusOr<ManifestEntry> WriteGroupsFile(FileSystem& filesystem, const std::string& folder,
                                              int rank, const std::vector<v1::Group>& groups) {
  const std::string path = JoinPath(folder, absl::StrCat(kGroupsStart, rank, ".bin"));
  R1_RETURN_IF_ERROR(filesystem.CreateDirectories(JoinPath(folder, kTrainingFolder)));
  MeasuringFileSystem measuring(filesystem);
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, measuring.Create(path));
  for (const v1::Group& group : groups) {
    const std::string message = Serialize(group);
    const uint32_t bytes = static_cast<uint32_t>(message.size());
    std::string record(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    record += message;
    R1_RETURN_IF_ERROR(file->Append(record));
  }
  R1_RETURN_IF_ERROR(file->Sync());
  R1_RETURN_IF_ERROR(file->Close());
  return EntryOf(folder, path, measuring.measures().at(path));
}

absl::StatusOr<CheckpointFiles> ReadCheckpointFiles(FileSystem& filesystem,
                                                    const std::string& folder,
                                                    std::vector<std::string>& problems) {
  const auto damaged = [&] {
    return absl::DataLossError(absl::StrCat(folder, ": ", absl::StrJoin(problems, "; ")));
  };
  const auto text = filesystem.Read(JoinPath(folder, kManifestName), kManifestBytesMax);
  if (!text.ok()) {
    problems.push_back(absl::StrCat(kManifestName, ": ", ProblemText(text.status())));
    return damaged();
  }
  const auto entries = ParseManifest(*text);
  if (absl::IsFailedPrecondition(entries.status())) return Annotate(entries.status(), folder);
  if (!entries.ok()) {
    problems.push_back(absl::StrCat(kManifestName, ": ", entries.status().message()));
    return damaged();
  }

  FindExtraFiles(filesystem, folder, *entries, problems);
  std::map<std::string, FileBytes> files;
  for (const ManifestEntry& entry : *entries) {
    auto data = ReadVerified(filesystem, folder, entry);
    if (data.ok()) {
      files[entry.name] = std::make_shared<const std::string>(*std::move(data));
    } else {
      problems.push_back(absl::StrCat(entry.name, ": ", ProblemText(data.status())));
    }
  }
  if (!problems.empty()) return damaged();

  auto result = Parser(std::move(files)).Parse();
  if (!result.ok()) {
    problems.emplace_back(result.status().message());
    return damaged();
  }
  return result;
}

std::vector<std::string> CheckpointFolders(FileSystem& filesystem, const std::string& folder) {
  std::vector<std::string> folders;
  for (const char* inner : {kVersionsFolder, kTrainingFolder}) {
    const std::string path = JoinPath(folder, inner);
    if (filesystem.Exists(path)) folders.push_back(path);
  }
  folders.push_back(folder);
  return folders;
}

}  // namespace r1::learner
