#include "cli/generation_settings.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/json.h"

namespace r1::cli {
namespace {

constexpr uint64_t kFileBytesMax = 1 << 20;

// A number that a flag or a key of generation_config.json sets.
struct Number {
  const char* flag;
  const char* key;
  double otherwise;
  double low, high;
  const char* expected;
  bool whole;
};
constexpr Number kTemperature = {"temperature", "temperature",  1, 0, 100,
                                 "0 to 100",    /*whole=*/false};
constexpr Number kTopK = {"top-k", "top_k", 0, 0, 1 << 30, "a whole number, 0 for all", true};
constexpr Number kTopP = {"top-p", "top_p", 1, 1e-12, 1, "above 0 and up to 1", false};
constexpr Number kMinP = {"min-p", "min_p", 0, 0, 1, "0 to 1", false};
constexpr Number kPenalty = {
    "repetition-penalty", "repetition_penalty", 1, 1e-3, 1e3, "0.001 to 1000", false};

class SettingsReader {
 public:
  SettingsReader(const ParsedCommand& parsed, std::string path)
      : parsed_(parsed), path_(std::move(path)) {}

  // generation_config.json may be missing.
  absl::Status ReadFile() {
    if (!RealFileSystem().Exists(path_)) return absl::OkStatus();
    R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path_, kFileBytesMax));
    R1_ASSIGN_OR_RETURN(model_, ParseJson(text, path_));
    if (model_.is_object()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": expected an object, found ", DescribeJson(model_)));
  }

  absl::StatusOr<double> Read(const Number& number) {
    double value = number.otherwise;
    if (parsed_.Has(number.flag)) {
      const std::string text = parsed_.Value(number.flag);
      if (absl::SimpleAtod(text, &value) && Fits(number, value)) return value;
      return absl::InvalidArgumentError(absl::StrCat("--", number.flag, ": expected ",
                                                     number.expected, ", found \"", text, "\""));
    }
    const JsonFields fields(model_, path_);
    const nlohmann::json* found = fields.FindOrNull(number.key);
    if (found == nullptr) return value;
    if (found->is_number()) value = found->get<double>();
    if (!found->is_number() || !Fits(number, value)) {
      return fields.Error(number.key, number.expected);
    }
    if (value != number.otherwise) {
      absl::StrAppend(&from_model_, from_model_.empty() ? "" : ", ", number.key, " ", value);
    }
    return value;
  }

  const std::string& from_model() const { return from_model_; }

 private:
  static bool Fits(const Number& number, double value) {
    return value >= number.low && value <= number.high &&
           (!number.whole || value == std::floor(value));
  }

  const ParsedCommand& parsed_;
  const std::string path_;
  nlohmann::json model_ = nlohmann::json::object();
  std::string from_model_;
};

}  // namespace

std::vector<FlagSpec> GenerationFlags() {
  return {
      {.name = "chat", .help = "a prompt is a user's message: put it through the chat template"},
      {.name = "max-tokens",
       .value = "N",
       .help = "longest response (default 1024, or what the model has positions for)"},
      {.name = "greedy", .help = "always the likeliest token; the same as --temperature 0"},
      {.name = "temperature", .value = "T", .help = "0 to 100"},
      {.name = "top-k", .value = "K", .help = "sample among the K likeliest tokens"},
      {.name = "top-p", .value = "P", .help = "sample among the likeliest that make up P"},
      {.name = "min-p", .value = "P", .help = "drop tokens below P times the likeliest"},
      {.name = "repetition-penalty",
       .value = "R",
       .help = "makes tokens of prompt and response less likely (above 1)"},
      {.name = "n", .value = "N", .help = "samples of each prompt (default 1)"},
      {.name = "seed", .value = "N", .help = "of the samples (default 0)"},
      {.name = "stop", .value = "TEXT", .help = "ends a response in front of it", .repeated = true},
      {.name = "ignore-eos", .help = "goes on behind the model's end of text"},
      {.name = "raw-logprobs",
       .help = "adds logprobs at temperature 1, without penalty and filters"},
      {.name = "dtype",
       .value = "TYPE",
       .help = "of the matrices: fp32 or bf16, which is faster (default fp32)"},
      {.name = "isa",
       .value = "NAME",
       .help = "of the kernels; bits depend on it under bf16 (default the best: see r1 version)"},
      {.name = "threads", .value = "N", .help = "engine threads (default 1)"},
      {.name = "kv-cache-mib", .value = "N", .help = "memory of the KV cache (default 2048)"}};
}

absl::StatusOr<GenerationSettings> ReadGenerationSettings(const ParsedCommand& parsed,
                                                          const std::string& model_folder) {
  GenerationSettings settings;
  SettingsReader reader(parsed, JoinPath(model_folder, "generation_config.json"));
  R1_RETURN_IF_ERROR(reader.ReadFile());
  if (parsed.Has("greedy") && parsed.Has("temperature")) {
    return absl::InvalidArgumentError("give --greedy or --temperature, not both");
  }
  if (parsed.Has("greedy")) {
    settings.temperature = 0;
  } else {
    R1_ASSIGN_OR_RETURN(settings.temperature, reader.Read(kTemperature));
  }
  R1_ASSIGN_OR_RETURN(settings.filter.repetition_penalty, reader.Read(kPenalty));
  if (settings.temperature > 0) {
    R1_ASSIGN_OR_RETURN(const double top_k, reader.Read(kTopK));
    settings.filter.top_k = static_cast<int>(top_k);
    R1_ASSIGN_OR_RETURN(settings.filter.top_p, reader.Read(kTopP));
    R1_ASSIGN_OR_RETURN(settings.filter.min_p, reader.Read(kMinP));
  }
  settings.from_model = reader.from_model();
  if (parsed.Has("max-tokens")) {
    R1_ASSIGN_OR_RETURN(settings.tokens_max, parsed.IntegerValue("max-tokens", 1, 1, 1 << 30));
  }
  R1_ASSIGN_OR_RETURN(settings.samples, parsed.IntegerValue("n", 1, 1, 1 << 16));
  R1_ASSIGN_OR_RETURN(const int64_t seed, parsed.IntegerValue("seed", 0, 0, int64_t{1} << 53));
  settings.seed = static_cast<uint64_t>(seed);
  settings.engine.weights = parsed.Value("dtype", "fp32");
  if (settings.engine.weights != "fp32" && settings.engine.weights != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--dtype: expected fp32 or bf16, found ", settings.engine.weights));
  }
  settings.engine.isa = parsed.Value("isa", "auto");
  R1_ASSIGN_OR_RETURN(const int64_t threads, parsed.IntegerValue("threads", 1, 1, 512));
  settings.engine.threads = static_cast<int>(threads);
  R1_ASSIGN_OR_RETURN(const int64_t cache, parsed.IntegerValue("kv-cache-mib", 2048, 1, 1 << 20));
  settings.engine.kv_cache_mib = static_cast<int>(cache);
  settings.stops = parsed.Values("stop");
  for (const std::string& stop : settings.stops) {
    if (stop.empty()) return absl::InvalidArgumentError("--stop: expected a text, found none");
  }
  settings.ignore_eos = parsed.Has("ignore-eos");
  settings.raw_logprobs = parsed.Has("raw-logprobs");
  settings.chat = parsed.Has("chat");
  return settings;
}

}  // namespace r1::cli
