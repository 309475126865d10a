#include "cli/evaluation/sample_log.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/json.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kFileBytesMax = uint64_t{64} << 30;
constexpr int64_t kTokensMax = int64_t{1} << 40;
constexpr int64_t kSamplesMax = 1 << 20;

absl::StatusOr<std::vector<RewardScore>> ReadScores(const JsonFields& fields) {
  const nlohmann::json* list = fields.FindOrNull("scores");
  if (list == nullptr || !list->is_array()) return fields.Error("scores", "a list");
  std::vector<RewardScore> scores;
  for (const nlohmann::json& item : *list) {
    if (!item.is_object()) return fields.Error("scores", "a list of objects");
    const JsonFields parts(item, "scores");
    RewardScore& score = scores.emplace_back();
    R1_ASSIGN_OR_RETURN(score.name, parts.String("name"));
    R1_ASSIGN_OR_RETURN(score.reason, parts.String("reason"));
    const nlohmann::json* value = parts.FindOrNull("score");
    if (value == nullptr) continue;
    if (!value->is_number()) return parts.Error("score", "a number or null");
    score.value = value->get<double>();
  }
  return scores;
}

absl::StatusOr<ScoredSample> ReadRow(absl::string_view line, const std::string& where) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json object, ParseJson(line, where));
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": no object"));
  const JsonFields fields(object, where);
  ScoredSample sample;
  R1_ASSIGN_OR_RETURN(const int64_t index, fields.Integer("index", {0, int64_t{1} << 53}));
  R1_ASSIGN_OR_RETURN(const int64_t number,
                      fields.Integer("sample", {SampleId::kGreedy, kSamplesMax}));
  sample.raw.id = {static_cast<size_t>(index), static_cast<int>(number)};
  R1_ASSIGN_OR_RETURN(sample.problem_id, fields.String("problem"));
  R1_ASSIGN_OR_RETURN(sample.raw.text, fields.String("text"));
  if (fields.FindOrNull("tokens") != nullptr) {
    R1_ASSIGN_OR_RETURN(sample.raw.tokens, fields.Integer("tokens", {0, kTokensMax}));
  }
  R1_ASSIGN_OR_RETURN(sample.raw.finish_reason, fields.String("finish_reason"));
  R1_ASSIGN_OR_RETURN(sample.raw.think_prefilled, fields.Bool("think_prefilled"));
  R1_ASSIGN_OR_RETURN(sample.scores, ReadScores(fields));
  R1_ASSIGN_OR_RETURN(sample.extracted, fields.String("extracted", ""));
  R1_ASSIGN_OR_RETURN(sample.error, fields.String("error", ""));
  return sample;
}

std::string RowOf(const ScoredSample& sample) {
  const RawSample& raw = sample.raw;
  ordered_json row = ordered_json::object();
  row["problem"] = sample.problem_id;
  row["index"] = raw.id.problem;
  row["sample"] = raw.id.sample;
  row["text"] = raw.text;
  row["tokens"] = raw.tokens ? ordered_json(*raw.tokens) : ordered_json();
  row["finish_reason"] = raw.finish_reason;
  row["think_prefilled"] = raw.think_prefilled;
  row["scores"] = ordered_json::array();
  for (const RewardScore& score : sample.scores) {
    row["scores"].push_back({{"name", score.name},
                             {"score", score.value ? ordered_json(*score.value) : ordered_json()},
                             {"reason", score.reason}});
  }
  if (!sample.extracted.empty()) row["extracted"] = sample.extracted;
  if (!sample.error.empty()) row["error"] = sample.error;
  // In ASCII: many readers of lines also break them at U+0085 and U+2028.
  return row.dump(-1, ' ', true, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SampleLog>> SampleLog::Open(const std::string& folder) {
  std::unique_ptr<SampleLog> log(new SampleLog(JoinPath(folder, "samples.jsonl")));
  R1_RETURN_IF_ERROR(log->Read());
  absl::MutexLock lock(&log->mutex_);
  R1_ASSIGN_OR_RETURN(log->file_, learner::AppendFile::Open(RealFileSystem(), log->path_));
  return log;
}

absl::Status SampleLog::Read() {
  if (!RealFileSystem().Exists(path_)) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(const std::string text, RealFileSystem().Read(path_, kFileBytesMax));
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole != text.size()) R1_RETURN_IF_ERROR(RealFileSystem().Truncate(path_, whole));
  absl::MutexLock lock(&mutex_);
  int64_t line = 0;
  for (size_t begin = 0; begin < whole;) {
    const size_t end = text.find('\n', begin);
    const std::string where = absl::StrCat(path_, ":", ++line);
    const auto row = ReadRow(absl::string_view(text).substr(begin, end - begin), where);
    if (!row.ok()) {
      return absl::DataLossError(
          absl::StrCat(row.status().message(), "; remove the line to have its sample drawn again"));
    }
    Keep(*row);
    begin = end + 1;
  }
  return absl::OkStatus();
}

absl::Status SampleLog::Append(ScoredSample sample) {
  const std::string row = RowOf(sample);
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(file_->Append(row));
  Keep(std::move(sample));
  return absl::OkStatus();
}

void SampleLog::Keep(ScoredSample sample) {
  const SampleId id = sample.raw.id;
  is_sorted_ = is_sorted_ && (samples_.empty() || samples_.rbegin()->first < id);
  samples_[id] = std::move(sample);
}

absl::Status SampleLog::Sort() {
  absl::MutexLock lock(&mutex_);
  if (is_sorted_) return absl::OkStatus();
  std::string text;
  for (const auto& [id, sample] : samples_) text += RowOf(sample);
  file_.reset();
  R1_RETURN_IF_ERROR(WriteFileAtomically(RealFileSystem(), path_, text));
  is_sorted_ = true;
  R1_ASSIGN_OR_RETURN(file_, learner::AppendFile::Open(RealFileSystem(), path_));
  return absl::OkStatus();
}

}  // namespace r1::cli
