// Rewards: each judges one sample. One file a reward; registered by name; a stage's config lists
// names, weights and settings (v1::RewardConfig). The built-in ones are pure functions of the
// sample whose work is bounded by counters, never by time, so that a score is the same on every
// machine; plugins (rewards/plugin/) promise less.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/registry.h"
#include "common/status.h"
#include "proto/config.pb.h"

namespace r1::rewards {

// What a reward may look at. Borrowed for the call.
struct RewardInput {
  absl::string_view prompt;
  absl::string_view response;         // decoded, stop token's text (<eos>) left out
  absl::string_view prediction = {};  // when not empty: the bare answer, found by somebody else
  bool finished = true;               // the model ended its turn; false: cut at its token limit
  bool think_prefilled = false;       // the prompt already opened <think>
  absl::string_view answer;           // gold
  // The row's own target language, as in v1::LanguageConsistencyRewardConfig; empty = the config's.
  absl::string_view language = {};
  // Tokens of the response, stop token included. Only a tokenizer can tell.
  std::optional<int64_t> n_tokens = {};
  absl::string_view columns_json;  // all other columns of the data row, an object
  // Identity of the sample, for rewards that are random by design.
  uint64_t run_seed = 0;
  uint32_t stage_index = 0;
  uint64_t group_id = 0;
  uint32_t sample_index = 0;
};

struct Score {
  double value = 0;  // within Reward::range(); 0 when masked
  // Why: "match", "mismatch", "unfinished", …; a printable word, never empty.
  std::string reason;
  // Could not be judged (unparseable gold, reward_error): the sample is not trained, and counted.
  bool masked = false;
  // What a person has to repair, when that is why it is masked: a field that the reward needs is
  // missing, a plugin failed.
  std::string error = {};
  // The part of the response that was judged, of rewards that look for one.
  std::string extracted = {};
  std::vector<std::pair<std::string, double>> parts = {};  // sub-scores by name
};

// The reason of a score that a plugin owes.
inline constexpr char kRewardError[] = "reward_error";
// The reason of a score that the sandbox of the reward `code` owes.
inline constexpr char kInfraError[] = "infra_error";

// A masked score whose cause a person has to repair.
inline Score ErrorScore(std::string reason, std::string error) {
  return {.reason = std::move(reason), .masked = true, .error = std::move(error)};
}

// Thread-safe: ScoreSample may be called from several threads at once.
class Reward {
 public:
  virtual ~Reward() = default;
  // Asked once before the first sample: an error (FailedPrecondition: this machine lacks something)
  // stops the program before it works in vain.
  [[nodiscard]] virtual absl::Status Prepare() const { return absl::OkStatus(); }
  virtual Score ScoreSample(const RewardInput& input) const = 0;

  struct Range {
    double min = 0;
    double max = 1;
  };
  virtual Range range() const { return {}; }
  // False when equal inputs may score differently (wall-clock limits, remote judges).
  virtual bool deterministic() const { return true; }
  // Whether a sample that it failed on stops the run, after other workers have tried, instead of
  // being left out of training.
  virtual bool stops_run_on_error() const { return false; }
};

// A factory finds the settings that belong to the reward's name filled with the schema's defaults.
using RewardRegistry =
    Registry<absl::StatusOr<std::unique_ptr<Reward>>(const v1::RewardConfig& config)>;

// The factory of a reward that has no settings, or takes the whole config.
template <typename T>
absl::StatusOr<std::unique_ptr<Reward>> MakeWithoutSettings(const v1::RewardConfig&) {
  return std::make_unique<T>();
}
template <typename T>
absl::StatusOr<std::unique_ptr<Reward>> MakeWithSettings(const v1::RewardConfig& config) {
  return std::make_unique<T>(config);
}

// The registered reward of this name, or the plugin that the config describes. Starts nothing: a
// plugin starts with its first sample. InvalidArgument names the unknown reward, the nearest one
// and all known ones, or what is wrong with a setting.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const v1::RewardConfig& config);
// With default settings.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const std::string& name);

}  // namespace r1::rewards
