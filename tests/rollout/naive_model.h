// A forward pass in float64, as plain as the published equations: keys and values of every head
// written out (nothing absorbed), no cache, no batch, loops only. The truth that the engine is held
// against; shares no code with it.
#pragma once

#include <cstdint>
#include <vector>

#include "common/models/model_spec.h"
#include "common/weights.h"

namespace r1::rollout {

class NaiveModel {
 public:
  // Both outlive the model.
  NaiveModel(const ModelSpec& spec, const WeightsSnapshot& weights)
      : spec_(spec), weights_(weights) {}

  // Log-probabilities of the next token after each token of a sequence: [tokens][V].
  std::vector<std::vector<double>> Logprobs(const std::vector<int32_t>& ids,
                                            double temperature) const;

 private:
  using Vector = std::vector<double>;
  struct Head {
    std::vector<Vector> keys;  // of every token so far
    std::vector<Vector> values;
  };

  // W x, with W the weight of a role in a layer.
  Vector Times(WeightRole role, int layer, const Vector& x, int expert = -1) const;
  Vector Norm(WeightRole role, int layer, const Vector& x, double eps) const;
  // Likewise with a bias when the model has one.
  Vector TimesPlus(WeightRole role, WeightRole bias, int layer, const Vector& x) const;
  Vector Attention(int layer, const Vector& x, int position, std::vector<Head>* heads) const;
  Vector LatentAttention(int layer, const Vector& x, int position, std::vector<Head>* heads) const;
  Vector GroupedAttention(int layer, const Vector& x, int position, std::vector<Head>* heads) const;
  Vector DenseMlp(int layer, const Vector& x) const;
  Vector SwiGlu(WeightRole gate, WeightRole up, WeightRole down, int layer, const Vector& x,
                int expert = -1) const;
  Vector Moe(int layer, const Vector& x) const;
  const TensorView& Tensor(WeightRole role, int layer, int expert = -1) const;

  const ModelSpec& spec_;
  const WeightsSnapshot& weights_;
};

}  // namespace r1::rollout
