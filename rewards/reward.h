// Rule rewards: a pure function of one sample. One file a reward; registered by name; a stage's
// config lists names and weights. Work is bounded by counters, never by time, so that a score is
// the same on every machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/registry.h"
#include "common/status.h"

namespace r1::rewards {

// What a reward may look at. Borrowed for the call.
struct RewardInput {
  absl::string_view prompt;
  absl::string_view response;    // decoded, stop token's text (<eos>) left out
  absl::string_view prediction = {};  // when not empty: the bare answer, found by somebody else
  bool finished = true;          // the model ended its turn; false: cut at response_tokens_max
  bool think_prefilled = false;  // the prompt already opened <think>
  absl::string_view answer;      // gold
  absl::string_view columns_json;
  // Identity of the sample, for rewards that are random by design.
  uint64_t run_seed = 0;
  uint32_t stage_index = 0;
  uint64_t group_id = 0;
  uint32_t sample_index = 0;
};

struct Score {
  double value = 0;    // in [0, 1] for all built-in rewards
  std::string reason;  // why: "match", "mismatch", "unfinished", "no_answer_open", …; never empty
  bool masked = false;  // could not be judged (unparseable gold, infra_error): the sample is not
                        // trained, and counted
};

// Thread-safe: Score may be called from several threads at once.
class Reward {
 public:
  virtual ~Reward() = default;
  // Asked once before the first sample: an error (FailedPrecondition: this machine lacks something)
  // stops the program before it works in vain.
  [[nodiscard]] virtual absl::Status Prepare() const { return absl::OkStatus(); }
  virtual Score ScoreSample(const RewardInput& input) const = 0;
  // False when equal inputs may score differently (wall-clock limits, remote judges).
  virtual bool deterministic() const { return true; }
};

using RewardRegistry = Registry<std::unique_ptr<Reward>()>;

// InvalidArgument names the unknown reward, the nearest one and all known ones.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const std::string& name);

}  // namespace r1::rewards
