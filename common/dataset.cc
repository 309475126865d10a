#include "common/dataset.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/permutation.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr absl::string_view kPlaceholder = "{prompt}";
constexpr char kPassRate[] = "pass_rate";

// A string, or a number as it stands in the file.
absl::StatusOr<std::string> TextOf(const JsonlRow& row, const std::string& key) {
  const JsonFields fields(row.object, row.where);
  const nlohmann::json* value = fields.FindOrNull(key);
  if (value != nullptr && value->is_number()) return DumpJson(*value);
  if (value == nullptr || !value->is_string()) return fields.Error(key, "a string or a number");
  return value->get<std::string>();
}

// What follows the last marker, without surrounding white space.
absl::StatusOr<std::string> GoldAnswer(const JsonlRow& row, const std::string& marker) {
  R1_ASSIGN_OR_RETURN(const std::string answer, TextOf(row, "answer"));
  absl::string_view gold = answer;
  if (!marker.empty()) {
    const size_t found = gold.rfind(marker);
    if (found == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(row.where, ": answer: expected the marker ", Quoted(marker),
                       " (data.answer_marker), found ", Quoted(answer)));
    }
    gold.remove_prefix(found + marker.size());
  }
  gold = absl::StripAsciiWhitespace(gold);
  if (gold.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(row.where, ": answer: expected text, found ", Quoted(answer)));
  }
  return std::string(gold);
}

}  // namespace

// Fills a Dataset. It lives for one call of Dataset::Load.
class DatasetLoader {
 public:
  DatasetLoader(const v1::DataConfig& config, const Tokenizer& tokenizer, Dataset& dataset)
      : config_(config), tokenizer_(tokenizer), dataset_(dataset) {}

  absl::Status Load() {
    R1_RETURN_IF_ERROR(SplitTemplate());
    // Evaluation rows first: training rows are compared with them.
    for (const std::string& path : config_.eval_files()) {
      R1_RETURN_IF_ERROR(LoadFile(path, /*is_evaluation=*/true));
    }
    seen_rows_.clear();
    for (const std::string& path : config_.train_files()) {
      R1_RETURN_IF_ERROR(LoadFile(path, /*is_evaluation=*/false));
    }
    if (config_.train_files().empty()) return absl::OkStatus();
    if (dataset_.size(Split::kTrain) > 0) return SortTrainingRows();
    const Dataset::LeftOut& left_out = dataset_.left_out_;
    return absl::InvalidArgumentError(absl::StrCat(
        "data.train_files: no training prompt is left: ", left_out.too_long, " are longer than ",
        config_.prompt_tokens_max(), " tokens (data.prompt_tokens_max), ", left_out.repeated,
        " repeat another, ", left_out.evaluated, " are in data.eval_files, ", left_out.pass_rate,
        " have a pass_rate outside of ", config_.pass_rate_min(), " to ", config_.pass_rate_max(),
        ", ", dataset_.size(Split::kDev) + dataset_.size(Split::kEval), " are held out"));
  }

 private:
  absl::Status SplitTemplate() {
    const absl::string_view text = config_.prompt_template();
    const size_t at = text.find(kPlaceholder);
    if (at == absl::string_view::npos || text.rfind(kPlaceholder) != at) {
      return absl::InvalidArgumentError(absl::StrCat("data.prompt_template: expected ",
                                                     kPlaceholder, " once, found ", Quoted(text)));
    }
    dataset_.before_prompt_ = std::string(text.substr(0, at));
    dataset_.after_prompt_ = std::string(text.substr(at + kPlaceholder.size()));
    dataset_.think_prefilled_ =
        absl::EndsWith(absl::StripTrailingAsciiWhitespace(dataset_.after_prompt_), "<think>");
    return absl::OkStatus();
  }

  absl::Status LoadFile(const std::string& path, bool is_evaluation) {
    R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path));
    Dataset::File file;
    file.path = path;
    uint64_t fresh_rows = 0;
    for (JsonlRow row;;) {
      R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
      if (!more) break;
      R1_RETURN_IF_ERROR(row.status);
      ++file.rows;
      R1_ASSIGN_OR_RETURN(const bool fresh, AddRow(row, is_evaluation));
      fresh_rows += fresh ? 1 : 0;
    }
    if (file.rows == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no rows"));
    if (fresh_rows == 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": all of its ", file.rows,
                                                     " rows repeat rows of the files before it"));
    }
    file.sha256 = reader->Sha256Hex();
    dataset_.files_.push_back(std::move(file));
    return absl::OkStatus();
  }

  // Whether it is not a repetition; a fresh row may still be left out.
  absl::StatusOr<bool> AddRow(const JsonlRow& jsonl, bool is_evaluation) {
    R1_ASSIGN_OR_RETURN(Dataset::Row row, ParseRow(jsonl));
    const std::string identity = absl::StrCat(row.prompt_id, row.completion);
    if (!seen_rows_.insert(Xxh3(identity)).second) {
      ++dataset_.left_out_.repeated;
      return false;
    }
    const auto ids = EncodePrompt(tokenizer_, dataset_.MakePrompt(row));
    if (!ids.ok()) return Annotate(ids.status(), jsonl.where);
    if (ids->size() > static_cast<size_t>(config_.prompt_tokens_max())) {
      ++dataset_.left_out_.too_long;
      return true;
    }
    if (is_evaluation) {
      evaluated_prompts_.insert(row.prompt);
    } else if (evaluated_prompts_.count(row.prompt) > 0) {
      ++dataset_.left_out_.evaluated;
      return true;
    }
    const Split split = SplitFor(row, is_evaluation);
    if (split == Split::kTrain && row.pass_rate &&
        (*row.pass_rate < config_.pass_rate_min() || *row.pass_rate > config_.pass_rate_max())) {
      ++dataset_.left_out_.pass_rate;
      return true;
    }
    if (split == Split::kTrain && !row.pass_rate && has_curriculum()) {
      return JsonFields(jsonl.object, jsonl.where)
          .Error(kPassRate,
                 absl::StrCat("a number from 0 to 1, for data.order = ", Quoted(config_.order())));
    }
    dataset_.rows_[static_cast<size_t>(split)].push_back(std::move(row));
    return true;
  }

  bool has_curriculum() const {
    return config_.order() == "easy_first" || config_.order() == "hard_first";
  }

  // Rows of one pass rate stay in the files' order.
  absl::Status SortTrainingRows() {
    dataset_.shuffled_ = !has_curriculum();
    if (dataset_.shuffled_) return absl::OkStatus();
    const bool easy_first = config_.order() == "easy_first";
    std::vector<Dataset::Row>& rows = dataset_.rows_[static_cast<size_t>(Split::kTrain)];
    std::stable_sort(rows.begin(), rows.end(), [&](const Dataset::Row& a, const Dataset::Row& b) {
      return easy_first ? *a.pass_rate > *b.pass_rate : *a.pass_rate < *b.pass_rate;
    });
    return absl::OkStatus();
  }

  // Of a row, where it matters.
  absl::StatusOr<std::optional<double>> PassRate(const JsonlRow& jsonl) const {
    const JsonFields fields(jsonl.object, jsonl.where);
    const nlohmann::json* value = fields.FindOrNull(kPassRate);
    const bool matters =
        has_curriculum() || config_.pass_rate_min() > 0 || config_.pass_rate_max() < 1;
    if (value == nullptr || !matters) return std::optional<double>();
    if (value->is_number()) {
      const double rate = value->get<double>();
      if (rate >= 0 && rate <= 1) return std::optional<double>(rate);
    }
    return fields.Error(kPassRate, "a number from 0 to 1");
  }

  Split SplitFor(const Dataset::Row& row, bool is_evaluation) const {
    if (is_evaluation) return Split::kEval;
    const Split split = SplitOf(row.prompt);
    // With evaluation files, the training files' tenth for evaluation is trained on.
    return split == Split::kEval && !config_.eval_files().empty() ? Split::kTrain : split;
  }

  absl::StatusOr<Dataset::Row> ParseRow(const JsonlRow& jsonl) const {
    Dataset::Row row;
    const JsonFields fields(jsonl.object, jsonl.where);
    const char* prompt_key = fields.Has("prompt") ? "prompt" : "question";
    if (!fields.Has(prompt_key)) return fields.Error("prompt", "it or \"question\"");
    R1_ASSIGN_OR_RETURN(row.prompt, fields.String(prompt_key));
    if (row.prompt.empty()) return fields.Error(prompt_key, "text");
    if (dataset_.kind_ == Dataset::Kind::kCompletions) {
      R1_ASSIGN_OR_RETURN(row.completion, Completion(fields));
      if (row.completion.empty()) return fields.Error("completion", "text");
    }
    const bool needs_answer = dataset_.kind_ == Dataset::Kind::kAnswers && !fields.Has("tests");
    if (needs_answer || fields.Has("answer")) {
      R1_ASSIGN_OR_RETURN(row.answer, GoldAnswer(jsonl, config_.answer_marker()));
    }
    row.prompt_id = PromptId(row.prompt, row.answer);
    R1_ASSIGN_OR_RETURN(row.pass_rate, PassRate(jsonl));
    nlohmann::json columns = jsonl.object;
    for (const char* key : {prompt_key, "answer"}) columns.erase(key);
    if (dataset_.kind_ == Dataset::Kind::kCompletions) columns.erase("completion");
    row.columns_json = DumpJson(columns);
    return row;
  }

  // The row's own; or, where an answer_marker parts worked answers, the working and the answer in
  // the form that the rewards look for.
  absl::StatusOr<std::string> Completion(const JsonFields& fields) const {
    if (fields.Has("completion") || config_.answer_marker().empty() || !fields.Has("answer")) {
      return fields.String("completion");
    }
    R1_ASSIGN_OR_RETURN(const std::string worked, fields.String("answer"));
    const size_t marker = worked.rfind(config_.answer_marker());
    if (marker == std::string::npos) return fields.String("completion");
    const absl::string_view text(worked);
    return absl::StrCat(
        "<think>", absl::StripAsciiWhitespace(text.substr(0, marker)), "</think><answer>",
        absl::StripAsciiWhitespace(text.substr(marker + config_.answer_marker().size())),
        "</answer>");
  }

  const v1::DataConfig& config_;
  const Tokenizer& tokenizer_;
  Dataset& dataset_;
  std::unordered_set<uint64_t> seen_rows_;
  std::unordered_set<std::string> evaluated_prompts_;
};

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Load(const v1::DataConfig& config, Kind kind,
                                                       const Tokenizer& tokenizer) {
  auto dataset = std::make_unique<Dataset>();
  dataset->kind_ = kind;
  R1_RETURN_IF_ERROR(DatasetLoader(config, tokenizer, *dataset).Load());
  return dataset;
}

uint64_t Dataset::size(Split split) const { return rows(split).size(); }

PromptRow Dataset::Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                          uint64_t index) const {
  if (split == Split::kTrain) return MakePrompt(TrainingRow(run_seed, stage_index, index));
  R1_CHECK(index < size(split));
  return MakePrompt(rows(split)[index]);
}

TextRow Dataset::Demonstration(uint64_t run_seed, uint32_t stage_index, uint64_t index) const {
  R1_CHECK(kind_ == Kind::kCompletions);
  const Row& row = TrainingRow(run_seed, stage_index, index);
  return {.prompt = absl::StrCat(before_prompt_, row.prompt, after_prompt_),
          .completion = row.completion,
          .data_begin = before_prompt_.size(),
          .data_end = before_prompt_.size() + row.prompt.size()};
}

PromptRow Dataset::MakePrompt(const Row& row) const {
  PromptRow made;
  made.prompt_id = row.prompt_id;
  made.prompt = absl::StrCat(before_prompt_, row.prompt, after_prompt_);
  made.answer = row.answer;
  made.columns_json = row.columns_json;
  made.think_prefilled = think_prefilled_;
  made.data_begin = before_prompt_.size();
  made.data_end = before_prompt_.size() + row.prompt.size();
  return made;
}

const Dataset::Row& Dataset::TrainingRow(uint64_t run_seed, uint32_t stage_index,
                                         uint64_t index) const {
  const uint64_t epoch_rows = size(Split::kTrain);
  if (!shuffled_) return rows(Split::kTrain)[index % epoch_rows];
  return rows(Split::kTrain)[PermutedIndex(index % epoch_rows, epoch_rows, run_seed, stage_index,
                                           index / epoch_rows)];
}

}  // namespace r1
