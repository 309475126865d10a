#include "learner/sampled_set.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/permutation.h"

namespace r1::learner {
namespace {

using nlohmann::ordered_json;

constexpr char kSampledSource[] = "sampled";

std::string Line(const ordered_json& row) {
  return row.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

// The prompt without the template around it.
absl::string_view OwnPrompt(const PromptRow& prompt) {
  if (prompt.data_end == 0) return prompt.prompt;
  return absl::string_view(prompt.prompt)
      .substr(prompt.data_begin, prompt.data_end - prompt.data_begin);
}

ordered_json ColumnsOf(const PromptRow& prompt) {
  ordered_json columns = ordered_json::parse(prompt.columns_json, nullptr, false);
  return columns.is_object() ? columns : ordered_json::object();
}

template <typename Json>
std::string CategoryOf(const Json& columns, const std::string& column) {
  const auto found = columns.find(column);
  return found != columns.end() && found->is_string() ? found->template get<std::string>() : "";
}

const char* FinishText(v1::FinishReason reason) {
  return reason == v1::FINISH_REASON_STOP ? "stop" : "length";
}

// What it takes to draw the sample again, and why it was kept.
ordered_json Provenance(const SampledSetIdentity& identity, const PromptRow& prompt,
                        const v1::Group& group, const v1::Sample& sample) {
  ordered_json provenance = {{"source", kSampledSource},
                             {"stage", identity.stage},
                             {"stage_index", identity.stage_index},
                             {"seed", identity.run_seed},
                             {"weights", identity.weights_digest},
                             {"isa", identity.isa},
                             {"prompt_id", prompt.prompt_id},
                             {"prompt_template", identity.prompt_template},
                             {"group_id", group.group_id()},
                             {"sample_index", sample.sample_index()},
                             {"temperature", identity.temperature},
                             {"response_tokens_max", identity.response_tokens_max},
                             {"tokens", sample.token_ids_size()},
                             {"finish_reason", FinishText(sample.finish_reason())},
                             {"reward", sample.reward()},
                             {"parts", ordered_json::array()}};
  for (const v1::RewardPart& part : sample.parts()) {
    provenance["parts"].push_back(
        {{"name", part.name()}, {"value", part.value()}, {"reason", part.reason()}});
  }
  return provenance;
}

double Mean(uint64_t sum, uint64_t count) {
  return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
}

// The texts of a mixed row on which there will be a loss.
absl::StatusOr<std::vector<std::string>> TargetTexts(const JsonlRow& row) {
  const JsonFields fields(row.object, row.where);
  std::vector<std::string> texts;
  const nlohmann::json* messages = fields.FindOrNull("messages");
  if (messages == nullptr) {
    const char* prompt_key = fields.Has("prompt") ? "prompt" : "question";
    R1_RETURN_IF_ERROR(fields.String(prompt_key).status());
    R1_ASSIGN_OR_RETURN(std::string completion, fields.String("completion"));
    texts.push_back(std::move(completion));
    return texts;
  }
  if (!messages->is_array()) return fields.Error("messages", "a list of {role, content}");
  for (const nlohmann::json& message : *messages) {
    if (!message.is_object()) return fields.Error("messages", "a list of {role, content}");
    const JsonFields parts(message, absl::StrCat(row.where, ": messages"));
    R1_ASSIGN_OR_RETURN(const std::string role, parts.String("role"));
    if (role != "assistant") continue;
    R1_ASSIGN_OR_RETURN(std::string content, parts.String("content"));
    texts.push_back(std::move(content));
  }
  if (texts.empty()) return fields.Error("messages", "at least one of role \"assistant\"");
  return texts;
}

}  // namespace

std::string SampledSet::Path(absl::string_view suffix) const {
  return JoinPath(folder_, absl::StrCat(identity_.stage, suffix));
}

absl::StatusOr<std::unique_ptr<SampledSet>> SampledSet::Open(
    FileSystem& filesystem, const std::string& folder, SampledSetIdentity identity,
    const v1::RejectionSamplingConfig& config, const v1::RejectionSamplingState& state) {
  std::unique_ptr<SampledSet> set(new SampledSet(filesystem, folder, std::move(identity), config));
  R1_RETURN_IF_ERROR(filesystem.CreateDirectories(folder));
  R1_RETURN_IF_ERROR(set->OpenFiles(state));
  for (const v1::CategoryCounts& counts : state.categories()) {
    set->counts_[{counts.source(), counts.category()}] = counts;
  }
  for (const v1::RejectionCount& rejected : state.rejected()) {
    set->rejected_[rejected.reason()] = rejected.samples();
  }
  R1_RETURN_IF_ERROR(set->RememberRows());
  return set;
}

absl::Status SampledSet::OpenFiles(const v1::RejectionSamplingState& state) {
  R1_RETURN_IF_ERROR(filesystem_.RemoveAll(Path(".report.json")));
  const auto open = [&](absl::string_view suffix, uint64_t bytes,
                        std::unique_ptr<AppendFile>& file) -> absl::Status {
    const std::string path = Path(suffix);
    R1_ASSIGN_OR_RETURN(file, AppendFile::Open(filesystem_, path));
    if (file->bytes() < bytes) {
      return absl::DataLossError(absl::StrCat(path, ": expected at least the ", bytes,
                                              " bytes of the checkpoint, found ", file->bytes()));
    }
    file.reset();
    R1_RETURN_IF_ERROR(filesystem_.Truncate(path, bytes));
    R1_ASSIGN_OR_RETURN(file, AppendFile::Open(filesystem_, path));
    return absl::OkStatus();
  };
  R1_RETURN_IF_ERROR(open(".jsonl", state.rows_bytes(), rows_));
  R1_RETURN_IF_ERROR(open(".prompts.jsonl", state.prompts_bytes(), prompts_));
  return filesystem_.SyncDirectory(folder_);
}

absl::Status SampledSet::RememberRows() {
  if (rows_->bytes() == 0) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(rows_->path()));
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) return absl::OkStatus();
    R1_RETURN_IF_ERROR(row.status);
    const JsonFields fields(row.object, row.where);
    R1_ASSIGN_OR_RETURN(const std::string prompt, fields.String("prompt"));
    R1_ASSIGN_OR_RETURN(const std::string completion, fields.String("completion"));
    selector_.Remember(prompt, completion);
  }
}

absl::StatusOr<SampledSet::GroupResult> SampledSet::AddGroup(const PromptRow& prompt,
                                                             const v1::Group& group) {
  const std::string own_prompt(OwnPrompt(prompt));
  const std::vector<SampleVerdict> verdicts = selector_.Judge(own_prompt, group);
  const ordered_json columns = ColumnsOf(prompt);
  const std::string category = CategoryOf(columns, config_.category_column());
  v1::CategoryCounts& counts = counts_[{kSampledSource, category}];
  GroupResult result;
  std::string rows;
  uint64_t judged = 0;
  for (int i = 0; i < group.samples_size(); ++i) {
    const v1::Sample& sample = group.samples(i);
    const SampleVerdict& verdict = verdicts[static_cast<size_t>(i)];
    result.passed += verdict.passed ? 1 : 0;
    judged += sample.masked() ? 0 : 1;
    if (!verdict.kept()) {
      ++rejected_[verdict.reason];
      continue;
    }
    ++result.kept;
    counts.set_tokens(counts.tokens() + static_cast<uint64_t>(sample.token_ids_size()));
    ordered_json row = {
        {"prompt", own_prompt}, {"completion", sample.text()}, {"answer", prompt.answer}};
    if (!category.empty()) row[config_.category_column()] = category;
    row["provenance"] = Provenance(identity_, prompt, group, sample);
    rows += Line(row);
  }
  counts.set_prompts(counts.prompts() + 1);
  counts.set_samples(counts.samples() + static_cast<uint64_t>(group.samples_size()));
  counts.set_passed(counts.passed() + static_cast<uint64_t>(result.passed));
  counts.set_kept(counts.kept() + static_cast<uint64_t>(result.kept));

  ordered_json prompt_row = {{"prompt", own_prompt}, {"answer", prompt.answer}};
  for (const auto& [key, value] : columns.items()) prompt_row[key] = value;
  prompt_row["samples"] = judged;
  prompt_row["pass_rate"] = Mean(static_cast<uint64_t>(result.passed), judged);
  if (!rows.empty()) R1_RETURN_IF_ERROR(rows_->Append(rows));
  R1_RETURN_IF_ERROR(prompts_->Append(Line(prompt_row)));
  return result;
}

absl::Status SampledSet::Save(v1::RejectionSamplingState& state) {
  R1_RETURN_IF_ERROR(rows_->Sync());
  R1_RETURN_IF_ERROR(prompts_->Sync());
  state.set_rows_bytes(rows_->bytes());
  state.set_prompts_bytes(prompts_->bytes());
  state.clear_categories();
  for (const auto& [key, counts] : counts_) {
    v1::CategoryCounts& saved = *state.add_categories();
    saved = counts;
    saved.set_source(key.first);
    saved.set_category(key.second);
  }
  state.clear_rejected();
  for (const auto& [reason, samples] : rejected_) {
    v1::RejectionCount& saved = *state.add_rejected();
    saved.set_reason(reason);
    saved.set_samples(samples);
  }
  return absl::OkStatus();
}

uint64_t SampledSet::kept() const {
  uint64_t kept = 0;
  for (const auto& [key, counts] : counts_) kept += counts.kept();
  return kept;
}

absl::Status SampledSet::MixSource(int index, const v1::MixSourceConfig& source, uint64_t own_rows,
                                   const CountTokens& count_tokens) {
  std::vector<std::pair<int64_t, std::string>> texts;  // line, row
  std::vector<uint64_t> tokens;
  std::vector<std::string> categories;
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(source.path()));
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) break;
    R1_RETURN_IF_ERROR(row.status);
    R1_ASSIGN_OR_RETURN(const std::vector<std::string> targets, TargetTexts(row));
    uint64_t row_tokens = 0;
    for (const std::string& target : targets) {
      const absl::StatusOr<uint64_t> counted = count_tokens(target);
      if (!counted.ok()) return Annotate(counted.status(), row.where);
      row_tokens += *counted;
    }
    categories.push_back(CategoryOf(row.object, config_.category_column()));
    tokens.push_back(row_tokens);
    texts.emplace_back(row.line, std::move(row.text));
  }
  if (texts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": holds no rows"));
  }
  const auto wanted =
      static_cast<uint64_t>(std::llround(source.weight() * static_cast<double>(own_rows)));
  for (uint64_t i = 0; i < wanted; ++i) {
    const uint64_t pass = i / texts.size();
    // Each source has a shuffle of its own.
    const uint64_t epoch = (static_cast<uint64_t>(index) << 32) + pass;
    const uint64_t at = PermutedIndex(i % texts.size(), texts.size(), identity_.run_seed,
                                      identity_.stage_index, epoch);
    ordered_json row = ordered_json::parse(texts[at].second);
    row["provenance"] = {{"source", source.name()},
                         {"path", source.path()},
                         {"line", texts[at].first},
                         {"pass", pass}};
    R1_RETURN_IF_ERROR(rows_->Append(Line(row)));
    v1::CategoryCounts& counts = counts_[{source.name(), categories[at]}];
    counts.set_kept(counts.kept() + 1);
    counts.set_tokens(counts.tokens() + tokens[at]);
  }
  return absl::OkStatus();
}

absl::Status SampledSet::Finish(const CountTokens& count_tokens) {
  const uint64_t own_rows = kept();
  if (own_rows == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "stage ", identity_.stage, ": no sample was kept, so there is nothing to learn from; ",
        "samples by the reason against them: ",
        absl::StrJoin(rejected_, ", ", absl::PairFormatter(" "))));
  }
  for (int i = 0; i < config_.mix_size(); ++i) {
    R1_RETURN_IF_ERROR(MixSource(i, config_.mix(i), own_rows, count_tokens));
  }
  R1_RETURN_IF_ERROR(rows_->Sync());
  R1_RETURN_IF_ERROR(prompts_->Sync());
  return WriteFileAtomically(filesystem_, Path(".report.json"), ReportJson());
}

std::string SampledSet::ReportJson() const {
  ordered_json report = {{"stage", identity_.stage},
                         {"init", identity_.init},
                         {"weights", identity_.weights_digest},
                         {"seed", identity_.run_seed},
                         {"temperature", identity_.temperature},
                         {"samples_per_prompt", config_.samples_per_prompt()},
                         {"rows", ordered_json::array()}};
  uint64_t rows = 0;
  uint64_t tokens = 0;
  for (const auto& [key, counts] : counts_) {
    report["rows"].push_back({{"source", key.first},
                              {"category", key.second},
                              {"prompts", counts.prompts()},
                              {"samples", counts.samples()},
                              {"passed", counts.passed()},
                              {"kept", counts.kept()},
                              {"tokens_mean", Mean(counts.tokens(), counts.kept())}});
    rows += counts.kept();
    tokens += counts.tokens();
  }
  report["total"] = {{"kept", rows}, {"tokens_mean", Mean(tokens, rows)}};
  report["rejected"] = ordered_json::object();
  for (const auto& [reason, samples] : rejected_) report["rejected"][reason] = samples;
  return report.dump(2) + "\n";
}

std::string SampledSet::Table() const {
  std::string text = absl::StrFormat("%-12s %-14s %9s %9s %9s %9s  %s\n", "source", "category",
                                     "prompts", "samples", "passed", "kept", "mean tokens");
  uint64_t rows = 0;
  uint64_t tokens = 0;
  for (const auto& [key, counts] : counts_) {
    absl::StrAppendFormat(&text, "%-12s %-14s %9d %9d %9d %9d  %11.1f\n", key.first, key.second,
                          counts.prompts(), counts.samples(), counts.passed(), counts.kept(),
                          Mean(counts.tokens(), counts.kept()));
    rows += counts.kept();
    tokens += counts.tokens();
  }
  absl::StrAppendFormat(&text, "%-57s %9d  %11.1f", "total", rows, Mean(tokens, rows));
  return text;
}

}  // namespace r1::learner
