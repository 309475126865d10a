// r1 score: rewards over a file of outputs, and over outputs that try to cheat them (audit).

#include <algorithm>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "cli/score_audit.h"
#include "cli/score_rewards.h"
#include "common/clock.h"
#include "common/json.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kTokensMax = int64_t{1} << 40;
constexpr size_t kExtractedBytesMax = 4096;

// The texts of a row; RewardInput borrows them.
struct RowTexts {
  std::string prompt, response, prediction, answer, language, columns;
  bool finished = true;
  bool think_prefilled = false;
  int64_t n_tokens = -1;  // not given
};

absl::StatusOr<RowTexts> ReadRow(const JsonlRow& row) {
  R1_RETURN_IF_ERROR(row.status);
  const JsonFields fields(row.object, row.where);
  RowTexts texts;
  // A bare answer, or a bare program, may stand in for the whole output.
  const bool is_bare = fields.Has("prediction") || fields.Has("code");
  R1_ASSIGN_OR_RETURN(const std::string code, fields.String("code", ""));
  R1_ASSIGN_OR_RETURN(texts.prediction, fields.String("prediction", code));
  R1_ASSIGN_OR_RETURN(texts.response,
                      is_bare ? fields.String("response", "") : fields.String("response"));
  R1_ASSIGN_OR_RETURN(texts.answer, fields.String("answer", ""));
  R1_ASSIGN_OR_RETURN(texts.prompt, fields.String("prompt", ""));
  R1_ASSIGN_OR_RETURN(texts.language, fields.String("language", ""));
  R1_ASSIGN_OR_RETURN(texts.finished, fields.Bool("finished", true));
  R1_ASSIGN_OR_RETURN(texts.think_prefilled, fields.Bool("think_prefilled", false));
  R1_ASSIGN_OR_RETURN(texts.n_tokens, fields.Integer("n_tokens", {0, kTokensMax}, texts.n_tokens));
  texts.columns = DumpJson(row.object);
  return texts;
}

rewards::RewardInput InputOf(const RowTexts& texts, int64_t line) {
  rewards::RewardInput input{.prompt = texts.prompt,
                             .response = texts.response,
                             .prediction = texts.prediction,
                             .finished = texts.finished,
                             .think_prefilled = texts.think_prefilled,
                             .answer = texts.answer,
                             .language = texts.language,
                             .columns_json = texts.columns,
                             .group_id = static_cast<uint64_t>(line)};
  if (texts.n_tokens >= 0) input.n_tokens = texts.n_tokens;
  return input;
}

ordered_json PartOf(const rewards::Score& score) {
  ordered_json part = {{"score", score.masked ? ordered_json() : ordered_json(score.value)},
                       {"reason", score.reason}};
  for (const auto& [name, value] : score.parts) part["parts"][name] = value;
  return part;
}

// The scores of one row. With several rewards `score` is their sum; it is null when one of them
// could not judge the row.
absl::StatusOr<ordered_json> ScoreRow(const JsonlRow& row,
                                      const std::vector<NamedReward>& rewards) {
  R1_ASSIGN_OR_RETURN(const RowTexts texts, ReadRow(row));
  const rewards::RewardInput input = InputOf(texts, row.line);
  const double begin = RealClock().MonotonicSeconds();
  double sum = 0;
  bool masked = false;
  std::string extracted;
  std::vector<std::string> reasons;
  ordered_json parts = ordered_json::object();
  for (const NamedReward& named : rewards) {
    const rewards::Score score = named.reward->ScoreSample(input);
    if (!score.error.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(row.where, ": ", named.name, ": ", score.error));
    }
    parts[named.name] = PartOf(score);
    reasons.push_back(score.reason);
    sum += score.value;
    masked = masked || score.masked;
    if (extracted.empty()) extracted = score.extracted.substr(0, kExtractedBytesMax);
  }
  const double seconds = RealClock().MonotonicSeconds() - begin;
  return ordered_json{{"score", masked ? ordered_json() : ordered_json(sum)},
                      {"reason", absl::StrJoin(reasons, ",")},
                      {"parts", std::move(parts)},
                      {"extracted", extracted},
                      {"time_ms", seconds * 1000}};
}

int Score(const ParsedCommand& parsed) {
  const bool is_audit = !parsed.positionals().empty();
  if (is_audit && parsed.positionals()[0] != "audit") {
    std::cerr << "r1 score: expected audit or nothing, found " << parsed.positionals()[0] << "\n";
    return kExitUsage;
  }
  const bool has_flags = is_audit ? HasFlags("score audit", parsed, {"reward"})
                                  : HasFlags("score", parsed, {"reward", "input", "output"});
  if (!has_flags) return kExitUsage;
  const absl::StatusOr<int64_t> jobs = parsed.IntegerValue("jobs", 1, 1, 1024);
  if (!jobs.ok()) return ReportError("score", jobs.status());
  const auto rewards = MakeNamedRewards(parsed.Value("reward"), parsed.Values("set"));
  if (!rewards.ok()) return ReportError("score", rewards.status());
  if (is_audit) return AuditRewards(*rewards, parsed.Has("json"));
  return MapJsonlFile(
      "score", parsed.Value("input"), parsed.Value("output"),
      [&rewards](const JsonlRow& row) { return ScoreRow(row, *rewards); }, static_cast<int>(*jobs));
}

}  // namespace

const Command& ScoreCommand() {
  static const auto* command = new Command{
      {.name = "score",
       .summary = "Scores outputs in a JSONL file: rows {id, response or prediction, answer}, or "
                  "{id, response or code, tests}, give {id, score, reason, parts, extracted, "
                  "time_ms}.",
       .positionals = {{.name = "audit",
                        .help = "instead: tries outputs that cheat, and says which of them pay",
                        .optional = true}},
       .flags = {{.name = "reward",
                  .value = "NAME[,NAME]",
                  .help = absl::StrCat("of ", absl::StrJoin(rewards::RewardRegistry::Names(), ", "),
                                       ", or a plugin's")},
                 {.name = "set",
                  .value = "NAME.KEY=VALUE",
                  .help =
                      "a setting of a reward (docs/config.md), as in repetition.ngram_size=4 or "
                      "judge.python=my_reward.py:score",
                  .repeated = true},
                 {.name = "input", .value = "FILE.jsonl", .help = "rows to score"},
                 {.name = "output", .value = "FILE.jsonl", .help = "one row for each of them"},
                 {.name = "jobs", .value = "N", .help = "rows scored at a time; 1"},
                 {.name = "json", .help = "audit: prints JSON"}}},
      &Score};
  return *command;
}

}  // namespace r1::cli
