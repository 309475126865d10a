#include "rollout/engine/sampler.h"

#include <algorithm>

namespace r1::rollout {

void Draws::Clear() {
  rows.clear();
  temperatures.clear();
  rngs.clear();
  positions.clear();
}

void AddDraws(const Sequence& sequence, int row, Draws* draws) {
  for (const Sample& sample : sequence.samples) {
    draws->rows.push_back(row);
    draws->temperatures.push_back(static_cast<float>(sequence.request->temperature));
    draws->rngs.push_back(sample.rng);
    draws->positions.push_back(static_cast<uint32_t>(sample.token_ids.size()));
  }
}

void AcceptToken(const GroupRequest& request, int32_t token, float logprob, Sample* sample) {
  sample->token_ids.push_back(token);
  sample->logprobs.push_back(logprob);
  const auto stop = std::find(request.stop_ids.begin(), request.stop_ids.end(), token);
  sample->stopped = stop != request.stop_ids.end();
  sample->finished = sample->stopped || sample->token_ids.size() == request.response_tokens_max;
}

}  // namespace r1::rollout
