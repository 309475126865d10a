// An evaluation during a run: which prompts, how they are sampled, and the numbers that come of it.
// The samples are drawn by the run's own workers, as leases of purpose EVAL.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/prompt_source.h"
#include "common/status.h"
#include "common/tokenizer.h"
#include "proto/rollout.pb.h"
#include "proto/status.pb.h"

namespace r1::learner {

// Set names in metrics: eval/<set>/….
inline constexpr char kHeldOutSet[] = "held_out";
inline constexpr char kDevSet[] = "dev";
inline constexpr char kTextbookSet[] = "textbook";
inline constexpr char kDevTextbookSet[] = "dev_textbook";

struct EvalPlan {
  std::string set;
  Split split = Split::kEval;
  bool textbook = false;  // the task's textbook prompts, scored on the whole working
  int prompts = 0;        // as many as there are when there are fewer
  int samples_per_prompt = 1;
  double temperature = 1;
  bool greedy = true;  // one greedy sample a prompt besides
  uint32_t response_tokens_max = 0;
};

// Where prompts come from; `task` is null for data sets of files.
struct EvalSource {
  const PromptSource* prompts = nullptr;
  const Task* task = nullptr;
  const Tokenizer* tokenizer = nullptr;
  std::vector<int32_t> stop_ids = {};
};

// The leases of an evaluation, group ids from `first_group_id` on: each prompt's sampled group,
// then its greedy one. InvalidArgument when a prompt cannot be encoded, or a textbook form is asked
// for where there is no task.
[[nodiscard]] absl::StatusOr<std::vector<v1::Lease>> MakeEvalLeases(const EvalPlan& plan,
                                                                    const EvalSource& source,
                                                                    uint32_t stage_index,
                                                                    uint64_t first_group_id,
                                                                    uint64_t policy_version);

struct EvalResult {
  std::map<std::string, double> values;  // eval/<set>/…
  double pass_at_1 = 0;                  // over the sampled answers; masked ones count as wrong
};

// The numbers of all groups of the plan's leases, in their order.
EvalResult SummarizeEval(const EvalPlan& plan, const std::vector<v1::Group>& groups);

// A sample as people and files see it.
v1::SampleRecord MakeSampleRecord(const std::string& stage, int64_t step,
                                  const std::string& purpose, const PromptRow& prompt,
                                  const v1::Group& group, const v1::Sample& sample);

}  // namespace r1::learner
