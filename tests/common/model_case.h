// The golden checkpoints of tests/golden/models (tests/golden/make_model_cases.py): a model folder,
// and what transformers computes with it.
//
// Shape letters: T tokens, V vocabulary.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/weights.h"

namespace r1 {

struct ModelCase {
  std::string folder;
  ModelSpec spec;
  WeightsSnapshot weights;
  std::vector<int32_t> ids;                  // [T]
  std::vector<float> logits;                 // [T, V]
  std::vector<float> logprobs;               // [T - 1], of ids[1], ids[2], …
  int prompt_tokens = 8;                     // of ids, which `greedy` continues
  std::vector<int32_t> greedy;               // 32 tokens
  std::map<std::string, double> grad_norms;  // of the mean of -logprobs, by parameter
  float scale() const;                       // the largest |logit|
};

// Sorted.
std::vector<std::string> ModelCaseNames();
[[nodiscard]] absl::StatusOr<ModelCase> ReadModelCase(const std::string& name);

}  // namespace r1
