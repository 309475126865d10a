// What the families' config.json have in common: sizes with their bounds, keys under several names,
// and values that mean other mathematics than ours.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/json.h"
#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1 {

// Bounds that keep every product of two sizes, and the sum over all weights, inside int64.
inline constexpr JsonFields::Range kWidth = {1, 1 << 17};
inline constexpr JsonFields::Range kMlpWidth = {1, 1 << 20};
inline constexpr JsonFields::Range kHeadDim = {1, 1 << 14};
inline constexpr JsonFields::Range kHeads = {1, 1 << 12};
inline constexpr JsonFields::Range kLayers = {1, 1 << 12};
inline constexpr JsonFields::Range kExperts = {1, (1 << 16) - 1};

// Reads one integer into an int field. A missing key stands for `missing`, or is an error.
[[nodiscard]] absl::Status ReadInto(int& field, const JsonFields& config, const std::string& key,
                                    JsonFields::Range range,
                                    std::optional<int64_t> missing = std::nullopt);

// InvalidArgument unless the key is absent, null, or has one of the supported values.
[[nodiscard]] absl::Status Expect(const JsonFields& config, const std::string& key,
                                  std::initializer_list<nlohmann::json> supported);

// The name under which the config has a key that dialects of transformers call differently; the
// first name when it has none of them. InvalidArgument when two of them disagree.
[[nodiscard]] absl::StatusOr<std::string> KeyAmong(const JsonFields& config,
                                                   std::initializer_list<const char*> names);

// Refuses by name what no family here computes: another class than `architecture`, activations
// other than SiLU, quantizations other than block-scaled F8_E4M3 (fp8_blocks.h), and the scales,
// caps and norms of related architectures.
[[nodiscard]] absl::Status RefuseForeign(const JsonFields& config,
                                         const std::string& hf_config_json,
                                         const std::string& architecture);

// hidden_size, vocab_size, num_hidden_layers (that many empty layers), max_position_embeddings,
// rms_norm_eps, tie_word_embeddings and eos_token_id.
[[nodiscard]] absl::Status ReadSizes(const JsonFields& config, ModelSpec& spec);

// eos_token_id: an id, a list of ids, or nothing. Negative ids, which stand for none, are dropped.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> ReadEosIds(const JsonFields& config);

// InvalidArgument at `key` when layers with that many experts have too many weights to list.
[[nodiscard]] absl::Status CheckWeightCount(const JsonFields& config, const std::string& key,
                                            int layers, int experts);

}  // namespace r1
