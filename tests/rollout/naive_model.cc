#include "tests/rollout/naive_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace r1::rollout {
namespace {

using Vector = std::vector<double>;

void AddTo(Vector& sum, const Vector& x, double factor = 1) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += factor * x[i];
}

Vector Slice(const Vector& x, int first, int count) {
  return Vector(x.begin() + first, x.begin() + first + count);
}

double Dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Angles are fp32 by convention (the models were trained so).
Vector Rotate(const RopeSpec& rope, const Vector& x, int position) {
  Vector y(x.size());
  for (int pair = 0; pair < rope.dim / 2; ++pair) {
    const int a = rope.interleaved ? 2 * pair : pair;
    const int b = rope.interleaved ? 2 * pair + 1 : pair + rope.dim / 2;
    const double angle = static_cast<float>(position) * rope.inverse_frequencies[pair];
    const double cos = rope.magnitude * std::cos(angle), sin = rope.magnitude * std::sin(angle);
    y[a] = x[a] * cos - x[b] * sin;
    y[b] = x[b] * cos + x[a] * sin;
  }
  return y;
}

Vector LogSoftmax(Vector x) {
  const double highest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double value : x) sum += std::exp(value - highest);
  for (double& value : x) value -= highest + std::log(sum);
  return x;
}

Vector Attend(const Vector& query, const std::vector<Vector>& keys,
              const std::vector<Vector>& values, double scale) {
  Vector scores;
  for (const Vector& key : keys) scores.push_back(Dot(query, key) * scale);
  scores = LogSoftmax(scores);
  Vector output(values[0].size(), 0.0);
  for (size_t t = 0; t < scores.size(); ++t) AddTo(output, values[t], std::exp(scores[t]));
  return output;
}

}  // namespace

const TensorView& NaiveModel::Tensor(WeightRole role, int layer, int expert) const {
  return weights_.tensors[*spec_.FindWeight(role, layer, expert)];
}

Vector NaiveModel::Times(WeightRole role, int layer, const Vector& x, int expert) const {
  const TensorView& w = Tensor(role, layer, expert);
  Vector y(w.shape[0], 0.0);
  for (size_t row = 0; row < y.size(); ++row) {
    for (size_t column = 0; column < x.size(); ++column) {
      y[row] += static_cast<double>(w.f32()[row * x.size() + column]) * x[column];
    }
  }
  return y;
}

Vector NaiveModel::Norm(WeightRole role, int layer, const Vector& x, double eps) const {
  const TensorView& weight = Tensor(role, layer);
  const double scale = 1 / std::sqrt(Dot(x, x) / static_cast<double>(x.size()) + eps);
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight.f32()[i];
  return y;
}

Vector NaiveModel::TimesPlus(WeightRole role, WeightRole bias, int layer, const Vector& x) const {
  Vector y = Times(role, layer, x);
  if (!spec_.FindWeight(bias, layer).ok()) return y;
  const std::span<const float> values = Tensor(bias, layer).f32();
  for (size_t i = 0; i < y.size(); ++i) y[i] += values[i];
  return y;
}

Vector NaiveModel::Attention(int layer, const Vector& x, int position,
                             std::vector<Head>* heads) const {
  return spec_.layers[layer].mla.has_value() ? LatentAttention(layer, x, position, heads)
                                             : GroupedAttention(layer, x, position, heads);
}

Vector NaiveModel::GroupedAttention(int layer, const Vector& x, int position,
                                    std::vector<Head>* heads) const {
  const GqaSpec& a = *spec_.layers[layer].gqa;
  const Vector queries = TimesPlus(WeightRole::kQuery, WeightRole::kQueryBias, layer, x);
  const Vector keys = TimesPlus(WeightRole::kKey, WeightRole::kKeyBias, layer, x);
  const Vector values = TimesPlus(WeightRole::kValue, WeightRole::kValueBias, layer, x);
  const auto rotated_head = [&](const Vector& all, int head, WeightRole norm) {
    Vector part = Slice(all, head * a.head_dim, a.head_dim);
    if (a.qk_norm) part = Norm(norm, layer, part, a.qk_norm_eps);
    return Rotate(a.rope, part, position);
  };
  heads->resize(a.kv_heads);
  for (int h = 0; h < a.kv_heads; ++h) {
    (*heads)[h].keys.push_back(rotated_head(keys, h, WeightRole::kKeyHeadNorm));
    (*heads)[h].values.push_back(Slice(values, h * a.head_dim, a.head_dim));
  }
  Vector outputs;
  for (int h = 0; h < a.heads; ++h) {
    const Vector query = rotated_head(queries, h, WeightRole::kQueryHeadNorm);
    const Head& head = (*heads)[h / (a.heads / a.kv_heads)];
    const Vector output = Attend(query, head.keys, head.values, a.softmax_scale);
    outputs.insert(outputs.end(), output.begin(), output.end());
  }
  return TimesPlus(WeightRole::kOutput, WeightRole::kOutputBias, layer, outputs);
}

Vector NaiveModel::LatentAttention(int layer, const Vector& x, int position,
                                   std::vector<Head>* heads) const {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Vector query_input = x;
  if (a.q_lora_rank > 0) {
    query_input = Norm(WeightRole::kQueryNorm, layer,
                       TimesPlus(WeightRole::kQueryDown, WeightRole::kQueryDownBias, layer, x),
                       a.latent_norm_eps);
  }
  const Vector queries = Times(WeightRole::kQuery, layer, query_input);
  const Vector down = TimesPlus(WeightRole::kKvDown, WeightRole::kKvDownBias, layer, x);
  const Vector latent =
      Norm(WeightRole::kKvNorm, layer, Slice(down, 0, a.kv_lora_rank), a.latent_norm_eps);
  const Vector shared_key =
      Rotate(a.rope, Slice(down, a.kv_lora_rank, a.qk_rope_head_dim), position);
  const Vector up = Times(WeightRole::kKvUp, layer, latent);

  heads->resize(a.heads);
  Vector outputs;
  for (int h = 0; h < a.heads; ++h) {
    Head& head = (*heads)[h];
    const int query_width = a.qk_nope_head_dim + a.qk_rope_head_dim;
    Vector query = Slice(queries, h * query_width, a.qk_nope_head_dim);
    const Vector rotated = Rotate(
        a.rope, Slice(queries, h * query_width + a.qk_nope_head_dim, a.qk_rope_head_dim), position);
    query.insert(query.end(), rotated.begin(), rotated.end());
    const int up_width = a.qk_nope_head_dim + a.v_head_dim;
    Vector key = Slice(up, h * up_width, a.qk_nope_head_dim);
    key.insert(key.end(), shared_key.begin(), shared_key.end());
    head.keys.push_back(key);
    head.values.push_back(Slice(up, h * up_width + a.qk_nope_head_dim, a.v_head_dim));
    const Vector output = Attend(query, head.keys, head.values, a.softmax_scale);
    outputs.insert(outputs.end(), output.begin(), output.end());
  }
  return TimesPlus(WeightRole::kOutput, WeightRole::kOutputBias, layer, outputs);
}

Vector NaiveModel::DenseMlp(int layer, const Vector& x) const {
  Vector hidden = TimesPlus(WeightRole::kGate, WeightRole::kGateBias, layer, x);
  const Vector ups = TimesPlus(WeightRole::kUp, WeightRole::kUpBias, layer, x);
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = hidden[i] / (1 + std::exp(-hidden[i])) * ups[i];
  return TimesPlus(WeightRole::kDown, WeightRole::kDownBias, layer, hidden);
}

Vector NaiveModel::SwiGlu(WeightRole gate, WeightRole up, WeightRole down, int layer,
                          const Vector& x, int expert) const {
  Vector hidden = Times(gate, layer, x, expert);
  const Vector ups = Times(up, layer, x, expert);
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = hidden[i] / (1 + std::exp(-hidden[i])) * ups[i];
  return Times(down, layer, hidden, expert);
}

Vector NaiveModel::Moe(int layer, const Vector& x) const {
  const MoeSpec& moe = *spec_.layers[layer].moe;
  const bool softmax = moe.gate == MoeGate::kSoftmax;
  Vector scores = Times(WeightRole::kRouter, layer, x);
  if (softmax) scores = LogSoftmax(scores);
  for (double& score : scores) score = softmax ? std::exp(score) : 1 / (1 + std::exp(-score));
  Vector choices = scores;
  for (int e = 0; !softmax && e < moe.experts; ++e)
    choices[e] += Tensor(WeightRole::kRouterBias, layer).f32()[e];

  const int group_size = moe.experts / moe.expert_groups;
  Vector group_scores;
  for (int g = 0; g < moe.expert_groups; ++g) {
    Vector members = Slice(choices, g * group_size, group_size);
    std::sort(members.rbegin(), members.rend());
    group_scores.push_back(members[0] + (!softmax && group_size > 1 ? members[1] : 0));
  }
  std::vector<int> groups(moe.expert_groups);
  std::iota(groups.begin(), groups.end(), 0);
  std::stable_sort(groups.begin(), groups.end(),
                   [&](int a, int b) { return group_scores[a] > group_scores[b]; });
  std::vector<int> candidates;
  for (int i = 0; i < moe.expert_groups_kept; ++i) {
    for (int e = 0; e < group_size; ++e) candidates.push_back(groups[i] * group_size + e);
  }
  std::sort(candidates.begin(), candidates.end());
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](int a, int b) { return choices[a] > choices[b]; });
  candidates.resize(moe.experts_per_token);

  double sum = 0;
  for (const int e : candidates) sum += scores[e];
  Vector y(x.size(), 0.0);
  for (const int e : candidates) {
    const double weight = scores[e] / (moe.normalize_weights ? sum : 1) * moe.routed_scaling_factor;
    AddTo(y,
          SwiGlu(WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown, layer, x,
                 e),
          weight);
  }
  if (moe.shared_intermediate > 0) {
    AddTo(y, SwiGlu(WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown, layer,
                    x));
  }
  return y;
}

std::vector<Vector> NaiveModel::Logprobs(const std::vector<int32_t>& ids,
                                         double temperature) const {
  std::vector<std::vector<Head>> caches(spec_.layers.size());
  std::vector<Vector> logprobs;
  for (int position = 0; position < static_cast<int>(ids.size()); ++position) {
    const std::span<const float> embedding = Tensor(WeightRole::kEmbedding, -1).f32();
    Vector x(embedding.begin() + int64_t{ids[position]} * spec_.hidden,
             embedding.begin() + int64_t{ids[position] + 1} * spec_.hidden);
    for (int layer = 0; layer < static_cast<int>(spec_.layers.size()); ++layer) {
      AddTo(x, Attention(layer, Norm(WeightRole::kAttentionNorm, layer, x, spec_.rms_norm_eps),
                         position, &caches[layer]));
      const Vector normed = Norm(WeightRole::kMlpNorm, layer, x, spec_.rms_norm_eps);
      AddTo(x,
            spec_.layers[layer].dense.has_value() ? DenseMlp(layer, normed) : Moe(layer, normed));
    }
    const Vector normed = Norm(WeightRole::kFinalNorm, -1, x, spec_.rms_norm_eps);
    Vector logits =
        Times(spec_.tie_embeddings ? WeightRole::kEmbedding : WeightRole::kHead, -1, normed);
    for (double& logit : logits) logit /= temperature;
    logprobs.push_back(LogSoftmax(logits));
  }
  return logprobs;
}

}  // namespace r1::rollout
