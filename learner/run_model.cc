#include "learner/run_model.h"

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/safetensors.h"

namespace r1::learner {
namespace {

constexpr int64_t kConfigBytesMax = 1 << 20;

absl::Status CheckVocabulary(const RunModel& model) {
  if (model.tokenizer->vocab_size() <= model.spec.vocab) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the tokenizer has ", model.tokenizer->vocab_size(),
                   " ids, but the model's vocab_size is ", model.spec.vocab));
}

}  // namespace

absl::StatusOr<RunModel> LoadRunModel(const v1::ModelConfig& config) {
  RunModel model;
  if (config.path().empty()) {
    R1_ASSIGN_OR_RETURN(const std::string tokenizer_json,
                        Tokenizer::BuiltinJson(config.tokenizer()));
    R1_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Parse(tokenizer_json));
    R1_ASSIGN_OR_RETURN(const std::string config_json,
                        PresetConfigJson(config.preset(), model.tokenizer->vocab_size(),
                                         model.tokenizer->bos_id(), model.tokenizer->eos_id()));
    R1_ASSIGN_OR_RETURN(model.spec, ParseModelSpec(config_json));
    return model;
  }
  absl::StatusOr<ModelSpec> spec = ReadModelSpec(config.path());
  if (absl::IsNotFound(spec.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.path: ", JoinPath(config.path(), "config.json"),
                     " does not exist; expected a folder in Hugging Face layout (a hub id is not "
                     "downloaded: huggingface-cli download NAME --local-dir DIR)"));
  }
  R1_RETURN_IF_ERROR(spec.status());
  model.spec = *std::move(spec);
  R1_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Load(config.path()));
  R1_RETURN_IF_ERROR(CheckVocabulary(model));
  return model;
}

absl::StatusOr<ModelSpec> LoadRunSpec(const v1::ModelConfig& config) {
  FileSystem& files = RealFileSystem();
  const bool is_there =
      config.path().empty() || files.Exists(JoinPath(config.path(), "config.json"));
  if (is_there || config.architecture().empty()) {
    R1_ASSIGN_OR_RETURN(RunModel model, LoadRunModel(config));
    return std::move(model.spec);
  }
  R1_ASSIGN_OR_RETURN(const std::string text, files.Read(config.architecture(), kConfigBytesMax));
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(text);
  if (!spec.ok()) return Annotate(spec.status(), config.architecture());
  return spec;
}

absl::StatusOr<std::optional<WeightsSnapshot>> LoadRunWeights(const v1::ModelConfig& config,
                                                              const ModelSpec& spec) {
  if (config.path().empty()) return std::optional<WeightsSnapshot>();
  R1_ASSIGN_OR_RETURN(WeightsSnapshot weights, ReadModelFolder(config.path(), spec));
  return std::optional<WeightsSnapshot>(std::move(weights));
}

}  // namespace r1::learner
