// Which tokens end a response of a model.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/models/model_spec.h"
#include "common/tokenizer.h"

namespace r1 {

// The tokenizer's end of sequence, then the model's eos_token_id (config.json or
// generation_config.json), each once.
inline std::vector<int32_t> StopIds(const ModelSpec& spec, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (tokenizer.eos_id() >= 0) ids.push_back(tokenizer.eos_id());
  for (const int32_t id : spec.eos_ids) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

}  // namespace r1
