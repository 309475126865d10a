// What the engine knows about a request while it is unfinished.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/rng.h"
#include "rollout/engine/block_manager.h"
#include "rollout/engine/engine.h"

namespace r1::rollout {

struct Sample {
  uint32_t sample_index;
  Rng rng;
  std::vector<int32_t> token_ids = {};  // the response so far
  std::vector<float> logprobs = {};
  std::vector<float> raw_logprobs = {};
  bool finished = false;
  bool stopped = false;
};

// A row of tokens with its own KV cache. It begins as the prompt of a whole group; when the prompt
// has been computed, it is split into one sequence a sample. From then on, and after a preemption,
// it has exactly one sample.
struct Sequence {
  std::shared_ptr<const GroupRequest> request;
  std::vector<Sample> samples;
  BlockTable blocks;
  int computed = 0;  // leading tokens that are in the KV cache

  // Tokens whose successor is to be drawn: the prompt, then the response.
  int length() const {
    return static_cast<int>(request->prompt_ids.size() + samples.front().token_ids.size());
  }
  int32_t TokenAt(int position) const {
    const int prompt = static_cast<int>(request->prompt_ids.size());
    return position < prompt ? request->prompt_ids[position]
                             : samples.front().token_ids[position - prompt];
  }
};

}  // namespace r1::rollout
