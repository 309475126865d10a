#include "tests/learner/learner_testing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace r1::learner {
namespace {

ModelSpec Parse(const std::string& json) {
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(json);
  R1_CHECK(spec.ok());
  return *std::move(spec);
}

std::string PresetJson(int vocab) {
  const absl::StatusOr<std::string> json = PresetConfigJson("moe_tiny", vocab, 1, 2);
  R1_CHECK(json.ok());
  return *json;
}

}  // namespace

ModelSpec TinySpec(const TinyShape& shape) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(PresetJson(11));
  config.update({{"hidden_size", 10},
                 {"intermediate_size", 7},
                 {"num_hidden_layers", shape.layers},
                 {"first_k_dense_replace", shape.dense_layers},
                 {"kv_lora_rank", 6},
                 {"qk_nope_head_dim", 5},
                 {"qk_rope_head_dim", 4},
                 {"v_head_dim", 3},
                 {"moe_intermediate_size", 6},
                 {"n_routed_experts", shape.experts},
                 {"n_shared_experts", shape.shared_experts},
                 {"n_group", shape.expert_groups},
                 {"topk_group", shape.expert_groups_kept},
                 {"norm_topk_prob", shape.normalize_weights},
                 {"routed_scaling_factor", shape.routed_scaling_factor},
                 {"rope_interleave", shape.rope_interleave},
                 {"tie_word_embeddings", shape.tie_embeddings},
                 {"max_position_embeddings", 64}});
  if (shape.q_lora_rank > 0) config["q_lora_rank"] = shape.q_lora_rank;
  return Parse(config.dump());
}

ModelSpec PresetSpec() { return Parse(PresetJson(32)); }

std::unique_ptr<Policy> RandomPolicy(const ModelSpec& spec, uint64_t seed,
                                     const PolicyOptions& options) {
  absl::StatusOr<std::unique_ptr<Policy>> policy = Policy::Create(spec, options, seed);
  R1_CHECK(policy.ok());
  Rng rng = TestRng(seed);
  const std::vector<int64_t>& offsets = (*policy)->parameter_offsets();
  for (size_t w = 0; w < spec.weights.size(); ++w) {
    if (!spec.weights[w].is_norm()) continue;
    const std::span<float> norm = (*policy)->parameters().subspan(
        static_cast<size_t>(offsets[w]), static_cast<size_t>(spec.weights[w].elements()));
    for (float& value : norm) value += static_cast<float>(0.3 * Signed(rng));
  }
  for (float& bias : (*policy)->router_biases()) bias = static_cast<float>(0.2 * Signed(rng));
  return *std::move(policy);
}

std::vector<TrainSequence> RandomSequences(const ModelSpec& spec, int count, int length_min,
                                           int length_max, uint64_t seed) {
  Rng rng = TestRng(seed ^ 0x5E9);
  const auto vocab = static_cast<uint64_t>(spec.vocab);
  std::vector<TrainSequence> sequences;
  for (int i = 0; i < count; ++i) {
    const auto length = static_cast<size_t>(length_min) +
                        rng.NextBelow(static_cast<uint64_t>(length_max - length_min + 1));
    TrainSequence& sequence = sequences.emplace_back(
        TrainSequence{.group_id = static_cast<uint64_t>(i / 2),
                      .sample_index = static_cast<uint32_t>(i % 2),
                      .first_target = 1 + static_cast<int>(rng.NextBelow(length / 2))});
    for (size_t t = 0; t < length; ++t) {
      sequence.tokens.push_back(static_cast<int32_t>(rng.NextBelow(vocab)));
    }
    sequence.advantage = 2 * Signed(rng);
  }
  return sequences;
}

PackedBatch Pack(std::span<const TrainSequence> sequences) {
  PackedBatch batch;
  for (const TrainSequence& sequence : sequences) {
    batch.Append(sequence.tokens, sequence.first_target);
  }
  return batch;
}

Rng TestRng(uint64_t seed) { return Rng(seed, 0, RngPurpose::kTest, 0, 0); }
double Signed(Rng& rng) { return 2 * rng.NextUniform() - 1; }

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

double MaxDifference(std::span<const float> a, std::span<const float> b) {
  R1_CHECK(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    // Also catches NaN, which every comparison denies.
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

std::unique_ptr<Collectives> OneRank() {
  absl::StatusOr<std::unique_ptr<Collectives>> collectives = Collectives::Create();
  R1_CHECK(collectives.ok());
  R1_CHECK((*collectives)->size() == 1);
  return *std::move(collectives);
}

}  // namespace r1::learner
