#include "rollout/scorer.h"

#include <cmath>
#include <exception>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1::rollout {
namespace {

// Rewards are foreign code as far as a worker is concerned: what they throw stops here.
absl::StatusOr<rewards::Score> Ask(const rewards::Reward& reward,
                                   const rewards::RewardInput& input) {
  try {
    return reward.ScoreSample(input);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("threw ", error.what()));
  } catch (...) {
    return absl::InternalError("threw something that is no std::exception");
  }
}

// The columns of a row that are text.
class TextColumns {
 public:
  explicit TextColumns(absl::string_view columns_json) : json_(columns_json) {}

  // Empty when the row has no such column.
  std::string Get(const std::string& name) {
    if (json_.find(absl::StrCat("\"", name, "\"")) == absl::string_view::npos) return "";
    if (!columns_.has_value()) {
      columns_ = ParseJson(json_, "columns_json").value_or(nlohmann::json::object());
    }
    const auto found = columns_->is_object() ? columns_->find(name) : columns_->end();
    return found != columns_->end() && found->is_string() ? found->get<std::string>() : "";
  }

 private:
  const absl::string_view json_;
  std::optional<nlohmann::json> columns_;  // parsed when first needed
};

bool Judges(const v1::RewardRowsConfig& rows, TextColumns& columns) {
  return rows.column().empty() || absl::c_linear_search(rows.values(), columns.Get(rows.column()));
}

void FillPart(const std::string& name, const rewards::Score& score, v1::RewardPart& part) {
  part.set_name(name);
  part.set_value(score.value);
  part.set_reason(score.reason);
  part.set_error(ReplaceInvalidUtf8(score.error));
  for (const auto& [sub_name, value] : score.parts) {
    v1::RewardSubScore& sub_score = *part.add_sub_scores();
    sub_score.set_name(sub_name);
    sub_score.set_value(value);
  }
}

}  // namespace

absl::Status Scorer::Score(const v1::Lease& lease, v1::Sample& sample) const {
  const bool stopped = sample.finish_reason() == v1::FINISH_REASON_STOP;
  std::vector<int32_t> ids(sample.token_ids().begin(), sample.token_ids().end());
  if (stopped && !ids.empty()) ids.pop_back();
  sample.set_text(tokenizer_->Decode(ids));

  const auto set = reward_sets_.find(lease.reward_set());
  if (set == reward_sets_.end()) {
    return absl::InternalError(
        absl::StrCat("no reward set '", lease.reward_set(), "' in stage ", lease.stage_index()));
  }
  TextColumns columns(lease.columns_json());
  const std::string language = columns.Get("language");
  const rewards::RewardInput input{.prompt = lease.prompt_text(),
                                   .response = sample.text(),
                                   .finished = stopped,
                                   .think_prefilled = lease.think_prefilled(),
                                   .answer = lease.answer(),
                                   .language = language,
                                   .n_tokens = sample.token_ids_size(),
                                   .columns_json = lease.columns_json(),
                                   .run_seed = run_seed_,
                                   .stage_index = lease.stage_index(),
                                   .group_id = lease.group_id(),
                                   .sample_index = sample.sample_index()};
  double total = 0;
  for (const WeightedReward& weighted : set->second) {
    if (!Judges(weighted.rows, columns)) continue;
    absl::StatusOr<rewards::Score> score = Ask(*weighted.reward, input);
    if (score.ok() && !std::isfinite(score->value)) {
      score = absl::InternalError(absl::StrCat("gave ", score->value));
    }
    if (!score.ok()) {
      return Annotate(score.status(),
                      absl::StrCat("reward ", weighted.name, ", group ", lease.group_id(),
                                   ", sample ", sample.sample_index()));
    }
    const bool failed =
        score->reason == rewards::kRewardError || score->reason == rewards::kInfraError;
    if (failed && lease.attempt() + 1 < kLeasesMax) return absl::UnavailableError(score->error);
    v1::RewardPart& part = *sample.add_parts();
    FillPart(weighted.name, *score, part);
    part.set_stops_run(failed && weighted.reward->stops_run_on_error());
    total += weighted.weight * score->value;
    if (score->masked) sample.set_masked(true);
  }
  if (sample.parts().empty()) sample.set_masked(true);
  sample.set_reward(total);
  return absl::OkStatus();
}

}  // namespace r1::rollout
