// Sampling as the engine sees it: which distribution and which random number each draw uses, and
// what a drawn token means for its sample. The drawing itself is kernels/sample_head.h.
#pragma once

#include <cstdint>
#include <vector>

#include "common/rng.h"
#include "rollout/engine/sequence.h"

namespace r1::rollout {

// One draw for each sample of the sequences that reach their end in a step. Vectors of equal
// length.
struct Draws {
  std::vector<int32_t> rows;  // row of the step's batch whose successor is drawn
  std::vector<float> temperatures;
  // The uniform number of a draw is rngs[i].UniformAt(positions[i]).
  std::vector<Rng> rngs;
  std::vector<uint32_t> positions;
  std::vector<int32_t> tokens;  // results
  std::vector<float> logprobs;

  void Clear();
};

// Adds the draws of all samples of a sequence. Position of the random stream = response token.
void AddDraws(const Sequence& sequence, int row, Draws* draws);

// Appends a drawn token; the sample is finished by a stop id or its last allowed token.
void AcceptToken(const GroupRequest& request, int32_t token, float logprob, Sample* sample);

}  // namespace r1::rollout
