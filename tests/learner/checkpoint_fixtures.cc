#include "tests/learner/checkpoint_fixtures.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/hash.h"

namespace r1::learner {
namespace {

// Tensors of random numbers in memory of their own.
std::shared_ptr<const WeightsSnapshot> RandomTensors(const std::vector<std::string>& names,
                                                     uint64_t version, uint64_t seed) {
  auto storage = std::make_shared<std::vector<std::vector<float>>>();
  auto snapshot = std::make_shared<WeightsSnapshot>();
  Rng rng(seed, 0, RngPurpose::kTest, version, 0);
  for (const std::string& name : names) {
    const int64_t columns = 3 + static_cast<int64_t>(storage->size());
    std::vector<float> values(static_cast<size_t>(4 * columns));
    for (float& value : values) value = static_cast<float>(rng.NextUniform());
    storage->push_back(std::move(values));
    const std::vector<float>& data = storage->back();
    snapshot->tensors.push_back(
        {name,
         DType::kF32,
         {4, columns},
         absl::string_view(reinterpret_cast<const char*>(data.data()), data.size() * 4)});
  }
  snapshot->policy_version = version;
  snapshot->storage = storage;
  return snapshot;
}

void CollectFiles(FileSystem& files, const std::string& folder, const std::string& prefix,
                  std::map<std::string, std::string>& found) {
  const std::vector<std::string> names = *files.List(folder);
  for (const std::string& name : names) {
    const std::string path = JoinPath(folder, name);
    auto data = files.Read(path, 1 << 30);
    if (data.ok()) {
      found[prefix + name] = *data;
    } else {
      CollectFiles(files, path, prefix + name + "/", found);
    }
  }
}

}  // namespace

uint64_t TestSeed() {
  const char* text = std::getenv("R1_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

Rng TestRng(uint64_t stream) { return Rng(TestSeed(), 0, RngPurpose::kTest, stream, 0); }

std::vector<v1::Group> RandomGroups(uint64_t seed, int count) {
  Rng rng(seed, 1, RngPurpose::kTest, 0, 0);
  std::vector<v1::Group> groups(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    v1::Group& group = groups[static_cast<size_t>(i)];
    group.set_group_id(static_cast<uint64_t>(i));
    v1::Sample* sample = group.add_samples();
    for (int t = 0; t < 5; ++t) sample->add_token_ids(static_cast<int>(rng.NextBelow(32)));
    sample->set_text("<think>1+1=2</think>");
    sample->set_reward(rng.NextUniform());
  }
  return groups;
}

CheckpointContents MakeContents(uint32_t stage_index, const std::string& stage, int64_t step) {
  const auto seed = static_cast<uint64_t>(step);
  CheckpointContents contents;
  contents.state.set_run_id("0123456789abcdef");
  contents.state.set_stage_index(stage_index);
  contents.state.set_stage_name(stage);
  contents.state.set_step(step);
  contents.state.set_policy_version(seed + 7);
  contents.state.add_planned()->set_group_id(seed);
  contents.hf_config_json =
      R"({"model_type":"deepseek_v3","bos_token_id":1,"eos_token_id":2,"hidden_size":4})";
  contents.tokenizer_json = R"({"model":{"type":"BPE"}})";
  contents.tokenizer_config_json =
      R"({"bos_token":"<bos>","eos_token":"<eos>","model_max_length":256})";
  contents.weights = RandomTensors(
      {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}, seed + 7, seed);
  const auto optimizer = RandomTensors({"adam.m", "adam.v"}, 0, seed);
  contents.optimizer = optimizer->tensors;
  contents.optimizer_storage = optimizer;
  contents.reference = RandomTensors({"model.norm.weight"}, 0, seed + 1000);
  contents.leased = {RandomTensors({"model.norm.weight"}, seed + 5, seed),
                     RandomTensors({"model.norm.weight"}, seed + 6, seed)};
  return contents;
}

std::string Fingerprint(const CheckpointContents& contents,
                        const std::vector<std::vector<v1::Group>>& groups) {
  std::string all = contents.state.SerializeAsString();
  const auto add_text = [&](const std::string& text) { absl::StrAppend(&all, "|", text); };
  const auto add_tensors = [&](const std::vector<TensorView>& tensors) {
    for (const TensorView& tensor : tensors) {
      absl::StrAppend(&all, "|", tensor.name, ":", DTypeName(tensor.dtype));
      for (const int64_t size : tensor.shape) absl::StrAppend(&all, ",", size);
      all.append(tensor.bytes.data(), tensor.bytes.size());
    }
  };
  add_text(contents.hf_config_json);
  add_text(contents.tokenizer_json);
  add_text(contents.tokenizer_config_json);
  add_text(absl::StrCat(contents.weights->policy_version));
  add_tensors(contents.weights->tensors);
  add_tensors(contents.optimizer);
  if (contents.reference != nullptr) add_tensors(contents.reference->tensors);
  for (const auto& version : contents.leased) {
    add_text(absl::StrCat(version->policy_version));
    add_tensors(version->tensors);
  }
  for (const auto& of_rank : groups) {
    add_text("rank");
    for (const v1::Group& group : of_rank) add_text(group.SerializeAsString());
  }
  return Sha256Hex(all);
}

CheckpointStore MakeStore(FileSystem& files, int keep) {
  return CheckpointStore(files, {.folder = kFolder, .keep = keep, .files = {}});
}

std::map<std::string, std::string> FilesOf(FileSystem& files, const std::string& folder) {
  std::map<std::string, std::string> found;
  CollectFiles(files, folder, "", found);
  return found;
}

void Overwrite(FileSystem& files, const std::string& path, const std::string& data) {
  const auto file = files.Create(path);
  R1_CHECK(file.ok());
  R1_CHECK((*file)->Append(data).ok());
}

std::string Sealed(const std::string& lines) {
  return absl::StrCat(lines, "MANIFEST ", lines.size(), " ",
                      absl::Hex(Crc32c(lines), absl::kZeroPad8), "\n");
}

}  // namespace r1::learner
