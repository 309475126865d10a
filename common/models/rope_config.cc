#include "common/models/rope_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/models/config_fields.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr int kPositionsLimit = 1 << 30;
// Bounds that keep every frequency a finite fp32 number.
constexpr double kThetaMax = 1e30;
constexpr double kNumberMax = 1e6;

// What transformers knows about. Keys that a scaling does not read are ignored, as there; any other
// key may ask for something that we do not compute.
constexpr const char* kKnownKeys[] = {
    "attention_factor", "beta_fast",
    "beta_slow",        "factor",
    "high_freq_factor", "low_freq_factor",
    "mscale",           "mscale_all_dim",
    "rope_theta",       "original_max_position_embeddings",
    "rope_type",        "partial_rotary_factor",
    "truncate",         "type",
};

// The scaling's own dictionary, or an empty one.
struct RopeDictionary {
  json object = json::object();
  std::string key = "rope_parameters";
  JsonFields fields() const { return {object, absl::StrCat("config.json: ", key)}; }
};

absl::StatusOr<RopeDictionary> FindDictionary(const JsonFields& config) {
  RopeDictionary found;
  bool any = false;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json* value = config.FindOrNull(key);
    if (value == nullptr) continue;
    if (!value->is_object()) return config.Error(key, "an object or null");
    if (any && *value != found.object) {
      return config.Error(key, "the same as rope_parameters, or only one of the two");
    }
    found = {*value, key};
    any = true;
  }
  for (const auto& [key, value] : found.object.items()) {
    if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), key) == std::end(kKnownKeys)) {
      return found.fields().Error(
          key, absl::StrCat("no such key; known are ", absl::StrJoin(kKnownKeys, ", ")));
    }
  }
  R1_RETURN_IF_ERROR(Expect(found.fields(), "partial_rotary_factor", {1}));
  return found;
}

// "type" in published configs, "rope_type" in newer ones; some say both.
absl::StatusOr<std::string> ReadType(const JsonFields& fields) {
  R1_ASSIGN_OR_RETURN(const std::string key, KeyAmong(fields, {"rope_type", "type"}));
  R1_ASSIGN_OR_RETURN(const std::string type, fields.String(key, "default"));
  for (const char* known : {"default", "linear", "yarn", "llama3"}) {
    if (type == known) return type;
  }
  return fields.Error(key,
                      "\"default\", \"linear\", \"yarn\" or \"llama3\" (others are not supported)");
}

absl::StatusOr<double> ReadTheta(const JsonFields& fields, double missing) {
  R1_ASSIGN_OR_RETURN(const double theta, fields.PositiveNumber("rope_theta", missing));
  if (theta >= 1 && theta <= kThetaMax) return theta;
  return fields.Error("rope_theta", absl::StrCat("a number in 1..", kThetaMax));
}

absl::StatusOr<double> ReadNumber(const JsonFields& fields, const std::string& key,
                                  std::optional<double> missing = std::nullopt) {
  R1_ASSIGN_OR_RETURN(const double number, fields.PositiveNumber(key, missing));
  if (number >= 1 / kNumberMax && number <= kNumberMax) return number;
  return fields.Error(key, absl::StrCat("a number in ", 1 / kNumberMax, "..", kNumberMax));
}

// 0 is as good as a missing key, as in transformers.
absl::StatusOr<double> ReadNumberOrZero(const JsonFields& fields, const std::string& key,
                                        double missing) {
  const json* value = fields.FindOrNull(key);
  if (value == nullptr || (value->is_number() && *value == 0)) return missing;
  return ReadNumber(fields, key);
}

// A length beside the dictionary goes before the one inside it, as in transformers; without either
// it is max_position_embeddings.
absl::StatusOr<int> OriginalPositions(const JsonFields& config, const JsonFields& fields,
                                      int positions_max) {
  const std::string key = "original_max_position_embeddings";
  int positions = 0;
  R1_RETURN_IF_ERROR(ReadInto(positions, config.FindOrNull(key) == nullptr ? fields : config, key,
                              {1, kPositionsLimit}, positions_max));
  return positions;
}

int Stretch(int positions, double factor) {
  return static_cast<int>(std::clamp<double>(positions * factor, 1, kPositionsLimit));
}

// 2309.00071 §3.4, as DeepSeek's code writes it.
double YarnMagnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

// Frequencies between two numbers of turns within the original length go from interpolated to
// unchanged (2309.00071 §3.2).
absl::Status ScaleYarn(const JsonFields& config, const JsonFields& fields, double theta,
                       RopeConfig& rope) {
  const int dim = rope.rope.dim;
  if (!(theta > 1)) return fields.Error("rope_theta", "a number above 1 for YaRN");
  R1_ASSIGN_OR_RETURN(const double factor, ReadNumber(fields, "factor"));
  R1_ASSIGN_OR_RETURN(const int original, OriginalPositions(config, fields, rope.positions_max));
  R1_ASSIGN_OR_RETURN(const double beta_fast, ReadNumberOrZero(fields, "beta_fast", 32));
  R1_ASSIGN_OR_RETURN(const double beta_slow, ReadNumberOrZero(fields, "beta_slow", 1));
  R1_ASSIGN_OR_RETURN(const double mscale, ReadNumberOrZero(fields, "mscale", 0));
  R1_ASSIGN_OR_RETURN(const double mscale_all_dim, ReadNumberOrZero(fields, "mscale_all_dim", 0));
  R1_ASSIGN_OR_RETURN(const bool truncate, fields.Bool("truncate", true));
  // The pair that turns `turns` times within the original length.
  const auto pair = [&](double turns) {
    return dim * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double first = pair(beta_fast), last = pair(beta_slow);
  const double low = std::max(truncate ? std::floor(first) : first, 0.0);
  double high = std::min<double>(truncate ? std::ceil(last) : last, dim - 1);
  if (low == high) high += 0.001;
  for (int i = 0; i < dim / 2; ++i) {
    const double plain = 1 / std::pow(theta, 2.0 * i / dim);
    const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    rope.rope.inverse_frequencies[static_cast<size_t>(i)] =
        static_cast<float>(plain / factor * ramp + plain * (1 - ramp));
  }
  const double magnitude =
      mscale > 0 && mscale_all_dim > 0
          ? YarnMagnitude(factor, mscale) / YarnMagnitude(factor, mscale_all_dim)
          : YarnMagnitude(factor, 1);
  R1_ASSIGN_OR_RETURN(const double stated, ReadNumber(fields, "attention_factor", magnitude));
  rope.rope.magnitude = static_cast<float>(stated);
  rope.positions_max = std::max(rope.positions_max, Stretch(original, factor));
  return absl::OkStatus();
}

// Long wavelengths are stretched, short ones kept, with a smooth passage between them.
absl::Status ScaleLlama3(const JsonFields& config, const JsonFields& fields, RopeConfig& rope) {
  R1_ASSIGN_OR_RETURN(const double factor, ReadNumber(fields, "factor"));
  R1_ASSIGN_OR_RETURN(const double low, ReadNumber(fields, "low_freq_factor"));
  R1_ASSIGN_OR_RETURN(const double high, ReadNumber(fields, "high_freq_factor"));
  R1_ASSIGN_OR_RETURN(const int original, OriginalPositions(config, fields, rope.positions_max));
  if (!(high > low)) return fields.Error("high_freq_factor", "more than low_freq_factor");
  for (float& frequency : rope.rope.inverse_frequencies) {
    const double plain = frequency;
    const double turns = original * plain / (2 * std::numbers::pi);  // within the original length
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = static_cast<float>((1 - kept) * plain / factor + kept * plain);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeConfig> ReadRope(const JsonFields& config, int dim, bool interleaved,
                                    int positions_max) {
  R1_ASSIGN_OR_RETURN(const RopeDictionary dictionary, FindDictionary(config));
  const JsonFields fields = dictionary.fields();
  R1_ASSIGN_OR_RETURN(const double outer_theta, ReadTheta(config, 10000));
  R1_ASSIGN_OR_RETURN(const double theta, ReadTheta(fields, outer_theta));
  if (config.FindOrNull("rope_theta") != nullptr && theta != outer_theta) {
    return fields.Error("rope_theta", absl::StrCat("the rope_theta outside of it, ", outer_theta));
  }
  R1_ASSIGN_OR_RETURN(const std::string type, ReadType(fields));
  RopeConfig rope{.rope = PlainRope(dim, theta, interleaved), .positions_max = positions_max};
  if (type == "default") return rope;
  if (type == "yarn") {
    R1_RETURN_IF_ERROR(ScaleYarn(config, fields, theta, rope));
  } else if (type == "llama3") {
    R1_RETURN_IF_ERROR(ScaleLlama3(config, fields, rope));
  } else {
    R1_ASSIGN_OR_RETURN(const double factor, ReadNumber(fields, "factor"));
    for (float& frequency : rope.rope.inverse_frequencies) {
      frequency = static_cast<float>(frequency / factor);
    }
    rope.positions_max = std::max(positions_max, Stretch(positions_max, factor));
  }
  R1_ASSIGN_OR_RETURN(const double factor, ReadNumber(fields, "factor"));
  R1_ASSIGN_OR_RETURN(const double mscale_all_dim, ReadNumberOrZero(fields, "mscale_all_dim", 0));
  if (mscale_all_dim > 0) rope.softmax_factor = std::pow(YarnMagnitude(factor, mscale_all_dim), 2);
  return rope;
}

}  // namespace r1
