#include "rollout/engine/sampler.h"

#include <algorithm>

namespace r1::rollout {

bool NeedsLogits(const GroupRequest& request) {
  return request.raw_logprobs || request.filter != TokenFilter();
}

void Draws::Clear() {
  fused.rows.clear();
  fused.temperatures.clear();
  fused.rngs.clear();
  fused.positions.clear();
  filtered.clear();
}

void AddDraws(const Sequence& sequence, int row, Draws* draws) {
  const GroupRequest& request = *sequence.request;
  for (const Sample& sample : sequence.samples) {
    const auto position = static_cast<uint32_t>(sample.token_ids.size());
    if (NeedsLogits(request)) {
      draws->filtered.push_back({.row = row,
                                 .rule = {.temperature = request.temperature,
                                          .filter = request.filter,
                                          .prompt = request.prompt_ids,
                                          .response = sample.token_ids,
                                          .raw_logprob = request.raw_logprobs,
                                          .uniform = sample.rng.UniformAt(position)},
                                 .drawn = {}});
      continue;
    }
    draws->fused.rows.push_back(row);
    draws->fused.temperatures.push_back(static_cast<float>(request.temperature));
    draws->fused.rngs.push_back(sample.rng);
    draws->fused.positions.push_back(position);
  }
}

DrawnToken DrawReader::Next(const GroupRequest& request) {
  if (NeedsLogits(request)) return draws_.filtered[filtered_++].drawn;
  const size_t i = fused_++;
  return {.id = draws_.fused.tokens[i], .logprob = draws_.fused.logprobs[i], .raw_logprob = 0};
}

void AcceptToken(const GroupRequest& request, const DrawnToken& drawn, Sample* sample) {
  sample->token_ids.push_back(drawn.id);
  sample->logprobs.push_back(drawn.logprob);
  if (request.raw_logprobs) sample->raw_logprobs.push_back(drawn.raw_logprob);
  const auto stop = std::find(request.stop_ids.begin(), request.stop_ids.end(), drawn.id);
  sample->stopped = stop != request.stop_ids.end();
  if (request.stop_when != nullptr && request.stop_when(sample->sample_index, drawn.id)) {
    sample->stopped = true;
  }
  sample->finished = sample->stopped || sample->token_ids.size() == request.response_tokens_max;
}

}  // namespace r1::rollout
