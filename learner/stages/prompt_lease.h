// The lease of a training prompt, as every stage that samples makes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/prompt_source.h"
#include "common/status.h"
#include "common/tokenizer.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

struct LeaseSettings {
  uint32_t stage_index = 0;
  uint64_t group_id = 0;
  int samples = 1;
  double temperature = 1;
  uint32_t response_tokens_max = 0;
  std::vector<int32_t> stop_ids = {};
  uint64_t policy_version = 0;
  uint32_t learner_rank = 0;
  std::string reward_set = {};
};

// InvalidArgument: the prompt cannot be encoded.
[[nodiscard]] absl::StatusOr<v1::Lease> MakePromptLease(const Tokenizer& tokenizer,
                                                        const PromptRow& row,
                                                        const LeaseSettings& settings);

}  // namespace r1::learner
