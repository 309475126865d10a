#include "rollout/engine/weight_store.h"

#include <utility>

#include "rollout/engine/layer_sizes.h"

namespace r1::rollout {
namespace {

// A matrix of the checkpoint, [rows, columns].
struct Plain {
  const float* data;
  int rows;
  int columns;
};

// Keeps the panels as `type`.
OwnedPanels Own(kernels::AlignedBuffer<float> panels, WeightType type) {
  OwnedPanels owned;
  if (type == WeightType::kFp32) {
    owned.fp32 = std::move(panels);
  } else {
    owned.bf16 = kernels::AlignedBuffer<kernels::Bf16>(panels.size());
    kernels::RoundPanels(panels.data(), panels.size(), owned.bf16.data());
  }
  return owned;
}

kernels::Panels ViewOf(const OwnedPanels& owned) {
  return owned.bf16.empty() ? kernels::Panels(owned.fp32.data())
                            : kernels::Panels(owned.bf16.data());
}

// Room for panels as `type`.
OwnedPanels Reserve(int64_t weights, WeightType type) {
  OwnedPanels owned;
  if (type == WeightType::kFp32) {
    owned.fp32 = kernels::AlignedBuffer<float>(weights);
  } else {
    owned.bf16 = kernels::AlignedBuffer<kernels::Bf16>(weights);
  }
  return owned;
}

// Fills `weights` of the room from `place` on with the panels that pack(float*) writes.
template <class Pack>
kernels::Panels PackAt(int64_t place, int64_t weights, const Pack& pack, OwnedPanels* owned) {
  if (owned->bf16.empty()) {
    pack(owned->fp32.data() + place);
  } else {
    kernels::AlignedBuffer<float> panels(weights);
    pack(panels.data());
    kernels::RoundPanels(panels.data(), weights, owned->bf16.data() + place);
  }
  return ViewOf(*owned).From(place);
}

// Bf16 panels hold pairs.
WeightType TypeFor(int columns, WeightType type) {
  return columns % 2 == 0 ? type : WeightType::kFp32;
}

OwnedMatrix PackAs(const Plain& w, WeightType type) {
  kernels::AlignedBuffer<float> panels(kernels::PackedFloats(w.rows, w.columns));
  kernels::PackMatrix(w.data, w.columns, w.rows, w.columns, panels.data());
  OwnedMatrix packed;
  packed.panels = Own(std::move(panels), TypeFor(w.columns, type));
  packed.view = {ViewOf(packed.panels), w.rows, w.columns};
  return packed;
}

// Packs one layer after another from a snapshot that CheckWeights has accepted.
class Packer {
 public:
  Packer(const ModelSpec& spec, const WeightsSnapshot& weights, WeightType type)
      : spec_(spec), weights_(weights), type_(type) {}

  PackedModel Run() {
    PackedModel model;
    model.policy_version = weights_.policy_version;
    layer_ = -1;
    model.embedding = Vector(WeightRole::kEmbedding);
    for (layer_ = 0; layer_ < static_cast<int>(spec_.layers.size()); ++layer_) {
      model.layers.push_back(Layer(spec_.layers[layer_]));
    }
    layer_ = -1;
    model.final_norm = Vector(WeightRole::kFinalNorm);
    model.head = Pack(Matrix(spec_.tie_embeddings ? WeightRole::kEmbedding : WeightRole::kHead));
    return model;
  }

 private:
  OwnedMatrix Pack(const Plain& w) const { return PackAs(w, type_); }

  // Two matrices with the same input, one above the other.
  OwnedMatrix PackStacked(const Plain& top, const Plain& bottom) const {
    R1_CHECK(top.columns == bottom.columns);
    std::vector<float> stacked(top.data, top.data + int64_t{top.rows} * top.columns);
    stacked.insert(stacked.end(), bottom.data, bottom.data + int64_t{bottom.rows} * bottom.columns);
    return Pack({stacked.data(), top.rows + bottom.rows, top.columns});
  }

  MlpWeights PackMlp(const Plain& gate, const Plain& up, const Plain& down) const {
    kernels::AlignedBuffer<float> panels(kernels::PackedGateUpFloats(gate.rows, gate.columns));
    kernels::PackGateUp(gate.data, up.data, gate.rows, gate.columns, panels.data());
    MlpWeights packed;
    packed.gate_up_panels = Own(std::move(panels), TypeFor(gate.columns, type_));
    packed.gate_up = {ViewOf(packed.gate_up_panels), gate.rows, gate.columns};
    packed.down = Pack(down);
    return packed;
  }

  Plain Matrix(WeightRole role, int expert = -1) const {
    const absl::StatusOr<int> index = spec_.FindWeight(role, layer_, expert);
    R1_CHECK(index.ok());  // the family lists every weight that its layers need
    const TensorView& tensor = weights_.tensors[*index];
    const int columns = tensor.shape.size() == 2 ? static_cast<int>(tensor.shape[1]) : 1;
    return {tensor.f32().data(), static_cast<int>(tensor.shape[0]), columns};
  }

  std::vector<float> Vector(WeightRole role) const {
    const Plain plain = Matrix(role);
    return std::vector<float>(plain.data, plain.data + int64_t{plain.rows} * plain.columns);
  }

  LayerWeights Layer(const LayerSpec& layer) const {
    LayerWeights packed;
    packed.attention_norm = Vector(WeightRole::kAttentionNorm);
    if (layer.mla.has_value()) {
      packed.mla = Mla(*layer.mla);
    } else {
      packed.gqa = Gqa(*layer.gqa);
    }
    packed.mlp_norm = Vector(WeightRole::kMlpNorm);
    if (layer.dense.has_value()) {
      packed.mlp =
          PackMlp(Matrix(WeightRole::kGate), Matrix(WeightRole::kUp), Matrix(WeightRole::kDown));
      if (layer.dense->bias) {
        packed.mlp.gate_bias = Vector(WeightRole::kGateBias);
        packed.mlp.up_bias = Vector(WeightRole::kUpBias);
        packed.mlp.down_bias = Vector(WeightRole::kDownBias);
      }
      return packed;
    }
    if (layer.moe->shared_intermediate > 0) {
      packed.mlp = PackMlp(Matrix(WeightRole::kSharedGate), Matrix(WeightRole::kSharedUp),
                           Matrix(WeightRole::kSharedDown));
    }
    packed.moe.router = PackAs(Matrix(WeightRole::kRouter), WeightType::kFp32);
    if (layer.moe->gate == MoeGate::kSigmoidBias) {
      packed.moe.router_bias = Vector(WeightRole::kRouterBias);
    }
    PackExperts(*layer.moe, &packed.moe);
    return packed;
  }

  void PackExperts(const MoeSpec& moe, MoeWeights* packed) const {
    const int hidden = spec_.hidden;
    const int64_t gate_up_weights = kernels::PackedGateUpFloats(moe.intermediate, hidden);
    const int64_t down_weights = kernels::PackedFloats(hidden, moe.intermediate);
    packed->gate_up_panels = Reserve(moe.experts * gate_up_weights, TypeFor(hidden, type_));
    packed->down_panels = Reserve(moe.experts * down_weights, TypeFor(moe.intermediate, type_));
    for (int e = 0; e < moe.experts; ++e) {
      const Plain gate = Matrix(WeightRole::kExpertGate, e);
      const Plain up = Matrix(WeightRole::kExpertUp, e);
      const Plain down = Matrix(WeightRole::kExpertDown, e);
      const auto pack_gate_up = [&](float* panels) {
        kernels::PackGateUp(gate.data, up.data, gate.rows, gate.columns, panels);
      };
      const auto pack_down = [&](float* panels) {
        kernels::PackMatrix(down.data, down.columns, down.rows, down.columns, panels);
      };
      packed->gate_up.push_back(
          {PackAt(e * gate_up_weights, gate_up_weights, pack_gate_up, &packed->gate_up_panels),
           gate.rows, gate.columns});
      packed->down.push_back(
          {PackAt(e * down_weights, down_weights, pack_down, &packed->down_panels), down.rows,
           down.columns});
    }
  }

  GqaWeights Gqa(const GqaSpec& a) const {
    GqaWeights packed;
    packed.input =
        Pack({QueriesKeysValues(a, WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue).data(),
              (a.heads + 2 * a.kv_heads) * a.head_dim, spec_.hidden});
    if (a.qkv_bias) {
      packed.input_bias = QueriesKeysValues(a, WeightRole::kQueryBias, WeightRole::kKeyBias,
                                            WeightRole::kValueBias);
    }
    if (a.qk_norm) {
      packed.query_head_norm = Vector(WeightRole::kQueryHeadNorm);
      packed.key_head_norm = Vector(WeightRole::kKeyHeadNorm);
    }
    packed.output = Pack(Matrix(WeightRole::kOutput));
    if (a.output_bias) packed.output_bias = Vector(WeightRole::kOutputBias);
    return packed;
  }

  // Rows of queries, then for each key head those of its keys and values. A bias is one column.
  std::vector<float> QueriesKeysValues(const GqaSpec& a, WeightRole query, WeightRole key,
                                       WeightRole value) const {
    std::vector<float> rows = Vector(query);
    const Plain keys = Matrix(key);
    const Plain values = Matrix(value);
    const int64_t head_floats = int64_t{a.head_dim} * keys.columns;
    for (int head = 0; head < a.kv_heads; ++head) {
      for (const float* data : {keys.data, values.data}) {
        rows.insert(rows.end(), data + head * head_floats, data + (head + 1) * head_floats);
      }
    }
    return rows;
  }

  // Zeros where a projection without a bias stands beside one with.
  std::vector<float> MlaInputBias(const MlaSpec& a) const {
    std::vector<float> bias = a.q_lora_rank > 0 ? Vector(WeightRole::kQueryDownBias)
                                                : std::vector<float>(QueryWidth(a), 0.0f);
    const std::vector<float> kv_down = Vector(WeightRole::kKvDownBias);
    bias.insert(bias.end(), kv_down.begin(), kv_down.end());
    return bias;
  }

  MlaWeights Mla(const MlaSpec& a) const {
    MlaWeights packed;
    if (a.projection_bias) {
      packed.input_bias = MlaInputBias(a);
      packed.output_bias = Vector(WeightRole::kOutputBias);
    }
    const Plain kv_down = Matrix(WeightRole::kKvDown);
    if (a.q_lora_rank > 0) {
      packed.input = PackStacked(Matrix(WeightRole::kQueryDown), kv_down);
      packed.query_norm = Vector(WeightRole::kQueryNorm);
      packed.query_up = Pack(Matrix(WeightRole::kQuery));
    } else {
      packed.input = PackStacked(Matrix(WeightRole::kQuery), kv_down);
    }
    packed.latent_norm = Vector(WeightRole::kKvNorm);

    const Plain kv_up = Matrix(WeightRole::kKvUp);
    const auto head_rows = [&](int head) {  // [nope + v, L]
      return kv_up.data + int64_t{head} * (a.qk_nope_head_dim + a.v_head_dim) * a.kv_lora_rank;
    };
    std::vector<float> transposed(int64_t{a.kv_lora_rank} * a.qk_nope_head_dim);
    for (int head = 0; head < a.heads; ++head) {
      for (int l = 0; l < a.kv_lora_rank; ++l) {
        for (int n = 0; n < a.qk_nope_head_dim; ++n) {
          transposed[l * a.qk_nope_head_dim + n] = head_rows(head)[n * a.kv_lora_rank + l];
        }
      }
      packed.key_absorb.push_back(Pack({transposed.data(), a.kv_lora_rank, a.qk_nope_head_dim}));
    }

    const Plain output = Matrix(WeightRole::kOutput);
    const int64_t folded_work = int64_t{a.kv_lora_rank} * spec_.hidden;
    const int64_t separate_work = int64_t{a.v_head_dim} * (a.kv_lora_rank + spec_.hidden);
    if (type_ == WeightType::kFp32 && folded_work <= separate_work) {
      packed.output = FoldedOutput(a, kv_up, output);
    } else {
      packed.output = Pack(output);
      for (int head = 0; head < a.heads; ++head) {
        const float* value_rows = head_rows(head) + int64_t{a.qk_nope_head_dim} * a.kv_lora_rank;
        packed.value_up.push_back(Pack({value_rows, a.v_head_dim, a.kv_lora_rank}));
      }
    }
    return packed;
  }

  // [D, H * L]: for each head, its columns of W_O times its W_UV.
  OwnedMatrix FoldedOutput(const MlaSpec& a, const Plain& kv_up, const Plain& output) const {
    const int columns = a.heads * a.kv_lora_rank;
    std::vector<float> folded(int64_t{output.rows} * columns);
    std::vector<double> sums(a.kv_lora_rank);
    for (int d = 0; d < output.rows; ++d) {
      for (int head = 0; head < a.heads; ++head) {
        sums.assign(a.kv_lora_rank, 0.0);
        for (int v = 0; v < a.v_head_dim; ++v) {
          const double weight = output.data[int64_t{d} * output.columns + head * a.v_head_dim + v];
          const int row = head * (a.qk_nope_head_dim + a.v_head_dim) + a.qk_nope_head_dim + v;
          const float* up = kv_up.data + int64_t{row} * a.kv_lora_rank;
          for (int l = 0; l < a.kv_lora_rank; ++l) sums[l] += weight * up[l];
        }
        float* target = &folded[int64_t{d} * columns + int64_t{head} * a.kv_lora_rank];
        for (int l = 0; l < a.kv_lora_rank; ++l) target[l] = static_cast<float>(sums[l]);
      }
    }
    return Pack({folded.data(), output.rows, columns});
  }

  const ModelSpec& spec_;
  const WeightsSnapshot& weights_;
  const WeightType type_;
  int layer_ = -1;
};

}  // namespace

absl::StatusOr<PackedModel> PackModel(const ModelSpec& spec, const WeightsSnapshot& weights,
                                      WeightType type) {
  R1_RETURN_IF_ERROR(CheckWeights(spec, weights, "engine weights"));
  return Packer(spec, weights, type).Run();
}

}  // namespace r1::rollout
