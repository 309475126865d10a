// Sampling as the engine sees it: which distribution and which random number each draw uses, and
// what a drawn token means for its sample. The drawing itself is kernels/sample_head.h or, for
// requests that filter tokens or want raw logprobs, filtered_sampler.h.
#pragma once

#include <cstdint>
#include <vector>

#include "common/rng.h"
#include "rollout/engine/filtered_sampler.h"
#include "rollout/engine/sequence.h"

namespace r1::rollout {

// Draws of the fused kernel. Vectors of equal length.
struct FusedDraws {
  std::vector<int32_t> rows;  // row of the step's batch whose successor is drawn
  std::vector<float> temperatures;
  // The uniform number of a draw is rngs[i].UniformAt(positions[i]).
  std::vector<Rng> rngs;
  std::vector<uint32_t> positions;
  std::vector<int32_t> tokens;  // results
  std::vector<float> logprobs;
};

struct FilteredDraw {
  int32_t row;
  SamplingRule rule;
  DrawnToken drawn;  // result
};

// One draw for each sample of the sequences that reach their end in a step.
struct Draws {
  FusedDraws fused;
  std::vector<FilteredDraw> filtered;

  void Clear();
};

// Whether the request's tokens are drawn from whole logits, and not by the fused kernel.
bool NeedsLogits(const GroupRequest& request);

// Adds the draws of all samples of a sequence. Position of the random stream = response token. The
// sequence stays as it is until the results are read.
void AddDraws(const Sequence& sequence, int row, Draws* draws);

// Gives the results in the order in which the draws were added.
class DrawReader {
 public:
  explicit DrawReader(const Draws& draws) : draws_(draws) {}
  DrawnToken Next(const GroupRequest& request);

 private:
  const Draws& draws_;
  size_t fused_ = 0;
  size_t filtered_ = 0;
};

// Appends a drawn token; the sample is finished by a stop id, the request's own stop condition or
// its last allowed token.
void AcceptToken(const GroupRequest& request, const DrawnToken& drawn, Sample* sample);

}  // namespace r1::rollout
