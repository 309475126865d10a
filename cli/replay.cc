// r1 replay: draws the rows of a rejection_sampling stage's data set again, from the weights that
// their provenance names, and compares the texts. Rows that were mixed in from files are passed
// over.

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/models/model_spec.h"
#include "common/prompt_source.h"
#include "common/safetensors.h"
#include "common/stop_ids.h"
#include "common/tokenizer.h"
#include "rollout/engine/engine.h"

namespace r1::cli {
namespace {

constexpr int64_t kCountMax = int64_t{1} << 53;
constexpr char kPlaceholder[] = "{prompt}";

// A row that can be drawn again.
struct SampledRow {
  std::string where;
  std::string completion;
  int64_t tokens = 0;
  std::string weights;  // digest
  std::string isa;
  rollout::GroupRequest request;
};

// The prompt as the stage put it together (learner/sampled_set.cc).
absl::StatusOr<std::vector<int32_t>> PromptIds(const Tokenizer& tokenizer,
                                               const std::string& prompt,
                                               const std::string& prompt_template) {
  PromptRow row;
  row.prompt = prompt;
  if (prompt_template.empty()) return EncodePrompt(tokenizer, row);
  const size_t at = prompt_template.find(kPlaceholder);
  if (at == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_template: expected ", kPlaceholder, " in it"));
  }
  row.prompt = absl::StrCat(prompt_template.substr(0, at), prompt,
                            prompt_template.substr(at + sizeof(kPlaceholder) - 1));
  row.data_begin = at;
  row.data_end = at + prompt.size();
  return EncodePrompt(tokenizer, row);
}

absl::StatusOr<double> NumberOf(const JsonFields& fields, const std::string& key) {
  const nlohmann::json* value = fields.FindOrNull(key);
  if (value == nullptr || !value->is_number()) return fields.Error(key, "a number");
  return value->get<double>();
}

absl::StatusOr<SampledRow> ParseRow(const JsonlRow& row, const Tokenizer& tokenizer) {
  const JsonFields fields(row.object, row.where);
  SampledRow sampled;
  sampled.where = row.where;
  R1_ASSIGN_OR_RETURN(const std::string prompt, fields.String("prompt"));
  R1_ASSIGN_OR_RETURN(sampled.completion, fields.String("completion"));
  const JsonFields origin(row.object.at("provenance"), absl::StrCat(row.where, ": provenance"));
  R1_ASSIGN_OR_RETURN(sampled.weights, origin.String("weights"));
  R1_ASSIGN_OR_RETURN(sampled.isa, origin.String("isa"));
  R1_ASSIGN_OR_RETURN(sampled.tokens, origin.Integer("tokens", {1, kCountMax}));
  R1_ASSIGN_OR_RETURN(const std::string prompt_template, origin.String("prompt_template"));
  rollout::GroupRequest& request = sampled.request;
  auto ids = PromptIds(tokenizer, prompt, prompt_template);
  if (!ids.ok()) return Annotate(ids.status(), row.where);
  request.prompt_ids = *std::move(ids);
  R1_ASSIGN_OR_RETURN(request.temperature, NumberOf(origin, "temperature"));
  R1_ASSIGN_OR_RETURN(const int64_t longest, origin.Integer("response_tokens_max", {1, 1 << 20}));
  request.response_tokens_max = static_cast<uint32_t>(longest);
  R1_ASSIGN_OR_RETURN(const int64_t seed, origin.Integer("seed", {0, kCountMax}));
  request.run_seed = static_cast<uint64_t>(seed);
  R1_ASSIGN_OR_RETURN(const int64_t stage, origin.Integer("stage_index", {0, 1 << 20}));
  request.stage_index = static_cast<uint32_t>(stage);
  R1_ASSIGN_OR_RETURN(const int64_t group, origin.Integer("group_id", {0, kCountMax}));
  request.group_id = static_cast<uint64_t>(group);
  R1_ASSIGN_OR_RETURN(const int64_t sample, origin.Integer("sample_index", {0, 1 << 20}));
  request.sample_indices = {static_cast<uint32_t>(sample)};
  return sampled;
}

// The sampled ones of the file, at most `rows_max`.
absl::StatusOr<std::vector<SampledRow>> ReadRows(const std::string& path, int64_t rows_max,
                                                 const Tokenizer& tokenizer) {
  std::vector<SampledRow> rows;
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path));
  for (JsonlRow row; static_cast<int64_t>(rows.size()) < rows_max;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) break;
    R1_RETURN_IF_ERROR(row.status);
    const auto origin = row.object.find("provenance");
    const bool is_sampled = origin != row.object.end() && origin->is_object() &&
                            origin->value("source", nlohmann::json()) == "sampled";
    if (!is_sampled) continue;
    R1_ASSIGN_OR_RETURN(SampledRow sampled, ParseRow(row, tokenizer));
    rows.push_back(std::move(sampled));
  }
  if (!rows.empty()) return rows;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": expected rows with the provenance of a rejection_sampling stage"));
}

struct ReplayResult {
  size_t rows = 0;
  size_t equal = 0;
  std::vector<std::string> differences;
};

void Compare(const SampledRow& row, const rollout::GeneratedSample& sample,
             const Tokenizer& tokenizer, ReplayResult& result) {
  std::vector<int32_t> ids = sample.token_ids;
  if (sample.stopped && !ids.empty()) ids.pop_back();
  const bool equal = tokenizer.Decode(ids) == row.completion &&
                     static_cast<int64_t>(sample.token_ids.size()) == row.tokens;
  result.equal += equal ? 1 : 0;
  if (!equal) {
    result.differences.push_back(
        absl::StrCat(row.where, ": drawn again, the sample is another one"));
  }
}

absl::StatusOr<ReplayResult> Replay(const std::string& path, const std::string& folder,
                                    int64_t rows_max) {
  R1_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(folder));
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(folder));
  R1_ASSIGN_OR_RETURN(std::vector<SampledRow> rows, ReadRows(path, rows_max, *tokenizer));
  R1_ASSIGN_OR_RETURN(const WeightsSnapshot weights, ReadModelFolder(folder, spec));
  const std::string digest = absl::StrFormat("%016x", weights.Digest());
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<rollout::Engine> engine,
                      rollout::Engine::Create(spec, {.isa = rows.front().isa}));
  R1_RETURN_IF_ERROR(engine->LoadWeights(weights));
  for (size_t i = 0; i < rows.size(); ++i) {
    SampledRow& row = rows[i];
    if (row.weights != digest) {
      return absl::InvalidArgumentError(absl::StrCat(row.where, ": expected a model with weights ",
                                                     row.weights, ", found ", digest, " in ",
                                                     folder));
    }
    row.request.request_id = i;
    row.request.stop_ids = StopIds(spec, *tokenizer);
    R1_RETURN_IF_ERROR(Annotate(engine->Submit(row.request), row.where));
  }
  ReplayResult result;
  result.rows = rows.size();
  while (!engine->idle()) {
    R1_ASSIGN_OR_RETURN(const std::vector<rollout::GeneratedSample> samples, engine->Step());
    for (const rollout::GeneratedSample& sample : samples) {
      Compare(rows[sample.request_id], sample, *tokenizer, result);
    }
  }
  std::sort(result.differences.begin(), result.differences.end());
  return result;
}

int RunReplay(const ParsedCommand& parsed) {
  int64_t rows_max = kCountMax;
  if (parsed.Has("rows") && (!absl::SimpleAtoi(parsed.Value("rows"), &rows_max) || rows_max < 1)) {
    return ReportError("replay",
                       absl::InvalidArgumentError(absl::StrCat(
                           "--rows: expected a number above 0, found ", parsed.Value("rows"))));
  }
  const auto result = Replay(parsed.positionals()[0], parsed.Value("model"), rows_max);
  if (!result.ok()) return ReportError("replay", result.status());
  for (const std::string& difference : result->differences) std::cerr << difference << "\n";
  if (parsed.Has("json")) {
    std::cout << nlohmann::ordered_json{{"rows", result->rows}, {"equal", result->equal}}.dump()
              << "\n";
  } else {
    std::cout << result->equal << " of " << result->rows << " rows are the same\n";
  }
  return result->equal == result->rows ? kExitDone : kExitFailed;
}

}  // namespace

const Command& ReplayCommand() {
  static const auto* command = new Command{
      {.name = "replay",
       .summary = "Draws the rows of a rejection-sampled data set again and compares them.",
       .positionals = {{.name = "FILE", .help = "runs/…/datasets/NAME.jsonl"}},
       .flags = {{.name = "model",
                  .value = "DIR",
                  .help = "the checkpoint that the rows were sampled from"},
                 {.name = "rows", .value = "N", .help = "the first N rows; all unless given"},
                 {.name = "json", .help = "prints the counts as JSON"}}},
      [](const ParsedCommand& parsed) {
        return parsed.Has("model")
                   ? RunReplay(parsed)
                   : ReportError("replay", absl::InvalidArgumentError("--model DIR is missing"));
      }};
  return *command;
}

}  // namespace r1::cli
