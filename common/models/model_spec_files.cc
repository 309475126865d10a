// ReadModelSpec: config.json and generation_config.json of a Hugging Face folder.

#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/json.h"
#include "common/models/config_fields.h"
#include "common/models/model_spec.h"

namespace r1 {
namespace {

constexpr uint64_t kConfigBytesMax = 1 << 20;

// The config of the weights as ReadModelFolder gives them, and as checkpoints will hold them:
// dequantised.
std::string WithoutQuantization(const std::string& config_json) {
  auto config = nlohmann::ordered_json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || config.erase("quantization_config") == 0) return config_json;
  return absl::StrCat(config.dump(2), "\n");
}

}  // namespace

absl::StatusOr<ModelSpec> ReadModelSpec(const std::string& folder) {
  FileSystem& files = RealFileSystem();
  const std::string path = JoinPath(folder, "config.json");
  R1_ASSIGN_OR_RETURN(const std::string config_json, files.Read(path, kConfigBytesMax));
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(config_json);
  if (!spec.ok()) return Annotate(spec.status(), path);
  spec->hf_config_json = WithoutQuantization(config_json);

  const std::string generation_path = JoinPath(folder, "generation_config.json");
  if (!files.Exists(generation_path)) return spec;
  R1_ASSIGN_OR_RETURN(const std::string text, files.Read(generation_path, kConfigBytesMax));
  R1_ASSIGN_OR_RETURN(const nlohmann::json generation, ParseJson(text, generation_path));
  if (!generation.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(generation_path, ": expected an object, found ", DescribeJson(generation)));
  }
  const JsonFields fields(generation, generation_path);
  if (fields.FindOrNull("eos_token_id") == nullptr) return spec;
  R1_ASSIGN_OR_RETURN(spec->eos_ids, ReadEosIds(fields));
  return spec;
}

}  // namespace r1
