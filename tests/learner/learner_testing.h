// Shared by the tests of the learner's mathematics: small models with random weights, random
// sequences to train, and comparisons bit by bit.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/rng.h"
#include "learner/batcher.h"
#include "learner/collectives.h"
#include "learner/policy/policy.h"

namespace r1::learner {

// A DeepSeek-V3 small enough for central differences of every parameter.
struct TinyShape {
  int layers = 2;
  int dense_layers = 1;
  int q_lora_rank = 0;
  int shared_experts = 1;
  int experts = 4;
  int expert_groups = 1;
  int expert_groups_kept = 1;
  bool tie_embeddings = false;
  bool rope_interleave = true;
  bool normalize_weights = true;
  double routed_scaling_factor = 1;
};
ModelSpec TinySpec(const TinyShape& shape = {});

// The preset moe_tiny with a vocabulary of 32.
ModelSpec PresetSpec();

// A policy whose norms and router biases are random too, so that a test sees them.
std::unique_ptr<Policy> RandomPolicy(const ModelSpec& spec, uint64_t seed = 1,
                                     const PolicyOptions& options = {});

// Sequences of random tokens with lengths in [length_min, length_max]; targets begin in the first
// half. Advantages are normal-like numbers of both signs.
std::vector<TrainSequence> RandomSequences(const ModelSpec& spec, int count, int length_min,
                                           int length_max, uint64_t seed = 1);

PackedBatch Pack(std::span<const TrainSequence> sequences);

Rng TestRng(uint64_t seed);
// In [-1, 1).
double Signed(Rng& rng);

bool SameBits(std::span<const float> a, std::span<const float> b);
// The largest |a - b|.
double MaxDifference(std::span<const float> a, std::span<const float> b);
std::vector<float> Copy(std::span<const float> values);

// The one rank of a process that mpirun did not start.
std::unique_ptr<Collectives> OneRank();

}  // namespace r1::learner
