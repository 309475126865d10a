// config.json of a model: an error that can be printed, or a spec whose weights are named once,
// found again, of positive and bounded size, and whose angles are numbers. Input: the file's text.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/models/model_spec.h"
#include "common/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto spec = r1::ParseModelSpec(text);
  if (!spec.ok()) {
    R1_CHECK(!spec.status().message().empty());
    R1_CHECK(r1::IsValidUtf8(spec.status().message()));
    return 0;
  }
  R1_CHECK(spec->hf_config_json == text);
  R1_CHECK(spec->parameters() > 0);
  R1_CHECK(spec->active_parameters() > 0);
  R1_CHECK(spec->active_parameters() <= spec->parameters());
  for (size_t i = 0; i < spec->weights.size(); ++i) {
    const r1::WeightSpec& weight = spec->weights[i];
    R1_CHECK(weight.elements() > 0);
    R1_CHECK(*spec->FindWeight(weight.role, weight.layer, weight.expert) == static_cast<int>(i));
  }
  for (const r1::LayerSpec& layer : spec->layers) {
    R1_CHECK(layer.dense.has_value() != layer.moe.has_value());
    R1_CHECK(layer.mla.has_value() != layer.gqa.has_value());
    const double scale = layer.mla ? layer.mla->softmax_scale : layer.gqa->softmax_scale;
    R1_CHECK(std::isfinite(scale));
    R1_CHECK(scale > 0);
    R1_CHECK(std::isfinite(layer.rope().magnitude));
    R1_CHECK(layer.rope().inverse_frequencies.size() * 2 == static_cast<size_t>(layer.rope().dim));
  }
  for (const float frequency : spec->layers[0].rope().inverse_frequencies) {
    R1_CHECK(std::isfinite(frequency));
  }
  return 0;
}
