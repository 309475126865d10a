// r1 score: rule rewards over a file of outputs.

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "common/json.h"
#include "rewards/reward.h"

namespace r1::cli {
namespace {

struct NamedReward {
  std::string name;
  std::unique_ptr<rewards::Reward> reward;
};

absl::StatusOr<std::vector<NamedReward>> MakeRewards(const std::string& names) {
  std::vector<NamedReward> rewards;
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(names, ',', absl::SkipEmpty()))) {
    R1_ASSIGN_OR_RETURN(std::unique_ptr<rewards::Reward> reward, rewards::MakeReward(name));
    R1_RETURN_IF_ERROR(reward->Prepare());
    rewards.push_back({name, std::move(reward)});
  }
  if (rewards.empty()) return absl::InvalidArgumentError("--reward names no reward");
  return rewards;
}

// The scores of one row; with several rewards, `score` is their sum.
absl::StatusOr<nlohmann::ordered_json> ScoreRow(const JsonlRow& row,
                                                const std::vector<NamedReward>& rewards) {
  R1_RETURN_IF_ERROR(row.status);
  const JsonFields fields(row.object, row.where);
  // A bare answer, or a bare program, may stand in for the whole output.
  R1_ASSIGN_OR_RETURN(const std::string code, fields.String("code", ""));
  R1_ASSIGN_OR_RETURN(const std::string prediction, fields.String("prediction", code));
  R1_ASSIGN_OR_RETURN(const std::string response, prediction.empty()
                                                      ? fields.String("response")
                                                      : fields.String("response", ""));
  R1_ASSIGN_OR_RETURN(const std::string answer, fields.String("answer", ""));
  R1_ASSIGN_OR_RETURN(const std::string prompt, fields.String("prompt", ""));
  R1_ASSIGN_OR_RETURN(const bool finished, fields.Bool("finished", true));
  R1_ASSIGN_OR_RETURN(const bool think_prefilled, fields.Bool("think_prefilled", false));
  const std::string columns = DumpJson(row.object);
  const rewards::RewardInput input{.prompt = prompt,
                                   .response = response,
                                   .prediction = prediction,
                                   .finished = finished,
                                   .think_prefilled = think_prefilled,
                                   .answer = answer,
                                   .columns_json = columns,
                                   .group_id = static_cast<uint64_t>(row.line)};
  double sum = 0;
  std::vector<std::string> reasons;
  nlohmann::ordered_json parts = nlohmann::ordered_json::object();
  for (const NamedReward& named : rewards) {
    const rewards::Score score = named.reward->ScoreSample(input);
    parts[named.name] = {
        {"score", score.masked ? nlohmann::ordered_json() : nlohmann::ordered_json(score.value)},
        {"reason", score.reason}};
    reasons.push_back(score.reason);
    if (!score.masked) sum += score.value;
  }
  return nlohmann::ordered_json{
      {"score", sum}, {"reason", absl::StrJoin(reasons, ",")}, {"parts", std::move(parts)}};
}

int Score(const ParsedCommand& parsed) {
  if (!HasFlags("score", parsed, {"reward", "input", "output"})) return kExitUsage;
  const auto rewards = MakeRewards(parsed.Value("reward"));
  if (!rewards.ok()) return ReportError("score", rewards.status());
  return MapJsonlFile("score", parsed.Value("input"), parsed.Value("output"),
                      [&rewards](const JsonlRow& row) { return ScoreRow(row, *rewards); });
}

}  // namespace

const Command& ScoreCommand() {
  static const auto* command = new Command{
      {.name = "score",
       .summary = "Scores outputs in a JSONL file: rows {id, response or prediction, answer}, or "
                  "{id, response or code, tests}, give "
                  "{id, score, reason, parts}.",
       .flags = {{.name = "reward",
                  .value = "NAME[,NAME]",
                  .help = absl::StrCat("one of ",
                                       absl::StrJoin(rewards::RewardRegistry::Names(), ", "))},
                 {.name = "input", .value = "FILE.jsonl", .help = "rows to score"},
                 {.name = "output", .value = "FILE.jsonl", .help = "one row for each of them"}}},
      &Score};
  return *command;
}

}  // namespace r1::cli
