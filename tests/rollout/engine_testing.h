// Shared by the engine's tests and its benchmark-like checks: small random models, requests, and a
// loop that drains an engine into results by sample.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/models/model_spec.h"
#include "common/weights.h"
#include "rollout/engine/engine.h"

namespace r1::rollout {

// A small random architecture: with and without query compression, dense and expert layers, expert
// groups, shared experts, tied embeddings, both rotary conventions. The same seed gives the same
// model.
ModelSpec RandomSpec(uint64_t seed);
// One fixed small architecture with two layers, dense and experts, and a vocabulary of 32.
ModelSpec SmallSpec();

// The families other than DeepSeek-V3.
inline constexpr const char* kOtherFamilies[] = {"deepseek_v2", "llama", "qwen2", "qwen3",
                                                 "qwen3_moe"};
// A small random architecture of one of them: heads shared or not, biases where the family may have
// them, scaled rotations, dense and expert layers, tied embeddings.
ModelSpec RandomFamilySpec(const std::string& family, uint64_t seed);

// Random weights: matrices normal with the spec's init_std, norms around 1, biases around 0.
WeightsSnapshot RandomWeights(const ModelSpec& spec, uint64_t seed, uint64_t policy_version = 1);

// A prompt of random tokens for a group; the group's id also picks its random streams.
GroupRequest RandomRequest(const ModelSpec& spec, uint64_t group_id, int prompt_tokens, int samples,
                           uint32_t response_tokens_max);

using SampleKey = std::pair<uint64_t, uint32_t>;  // request_id, sample_index
using Results = std::map<SampleKey, GeneratedSample>;

// An engine with weights; fails the test when it cannot be made.
std::unique_ptr<Engine> MakeEngine(const ModelSpec& spec, const WeightsSnapshot& weights,
                                   const EngineOptions& options = {});
// Submits everything, steps until idle. A sample that comes twice fails the test.
Results RunAll(Engine& engine, const std::vector<GroupRequest>& requests);

// Equal tokens and equal bits of every logprob.
bool SameSample(const GeneratedSample& a, const GeneratedSample& b);
bool SameResults(const Results& a, const Results& b);

}  // namespace r1::rollout
