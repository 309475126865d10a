#include "rollout/engine/cuda/device_model.h"

#include <algorithm>

#include "kernels/cuda/packed_weights.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {

using kernels::PackedBytes;

namespace {

void PlaceMla(const MlaSpec& a, int hidden, Placement& placement, DeviceAttention* weights) {
  placement.Take(&weights->input, PackedBytes(InputWidth(a), hidden));
  if (a.q_lora_rank > 0) {
    placement.Take(&weights->query_norm, a.q_lora_rank);
    placement.Take(&weights->query_up, PackedBytes(QueryWidth(a), a.q_lora_rank));
  }
  placement.Take(&weights->latent_norm, a.kv_lora_rank);
  placement.Take(&weights->key_absorb, a.heads * PackedBytes(a.kv_lora_rank, a.qk_nope_head_dim));
  placement.Take(&weights->value_up, a.heads * PackedBytes(a.v_head_dim, a.kv_lora_rank));
  if (MultipliesPromptsOut(a))
    placement.Take(&weights->kv_up, PackedBytes(a.heads * KeyValueWidth(a), a.kv_lora_rank));
  placement.Take(&weights->output, PackedBytes(hidden, a.heads * a.v_head_dim));
}

void PlaceGqa(const GqaSpec& a, int hidden, Placement& placement, DeviceAttention* weights) {
  placement.Take(&weights->input, PackedBytes(InputWidth(a), hidden));
  if (a.qkv_bias) placement.Take(&weights->input_bias, InputWidth(a));
  if (a.qk_norm) {
    placement.Take(&weights->query_norm, a.head_dim);
    placement.Take(&weights->key_norm, a.head_dim);
  }
  placement.Take(&weights->output, PackedBytes(hidden, QueryWidth(a)));
}

void PlaceMlp(const LayerSpec& layer, int hidden, bool fp8_experts, Placement& placement,
              DeviceMlp* weights) {
  int64_t matrices = 1;
  int intermediate = 0;
  if (layer.dense.has_value()) {
    intermediate = layer.dense->intermediate;
  } else {
    intermediate = layer.moe->intermediate;
    matrices = layer.moe->experts + SharedExperts(*layer.moe);
    placement.Take(&weights->router, int64_t{layer.moe->experts} * hidden);
    if (layer.moe->gate == MoeGate::kSigmoidBias)
      placement.Take(&weights->router_bias, layer.moe->experts);
  }
  weights->fp8 = fp8_experts && layer.moe.has_value();
  const auto bytes = weights->fp8 ? kernels::Fp8PackedBytes : PackedBytes;
  placement.Take(&weights->gate_up, matrices * bytes(2 * intermediate, hidden));
  placement.Take(&weights->down, matrices * bytes(hidden, intermediate));
}

}  // namespace

int64_t DeviceModel::Place(uint8_t* base) {
  Placement placement(base, kernels::kPackedBlockBytes);
  placement.Take(&embedding_, int64_t{spec_->vocab} * spec_->hidden);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerSpec& layer = spec_->layers[i];
    DeviceAttention& attention = layers_[i].attention;
    placement.Take(&attention.norm, spec_->hidden);
    if (layer.mla.has_value()) {
      PlaceMla(*layer.mla, spec_->hidden, placement, &attention);
    } else {
      PlaceGqa(*layer.gqa, spec_->hidden, placement, &attention);
    }
    placement.Take(&layers_[i].mlp_norm, spec_->hidden);
    PlaceMlp(layer, spec_->hidden, fp8_experts_, placement, &layers_[i].mlp);
  }
  placement.Take(&final_norm_, spec_->hidden);
  placement.Take(&head_, PackedBytes(spec_->vocab, spec_->hidden));
  return placement.bytes();
}

absl::StatusOr<DeviceModel> DeviceModel::Allocate(const ModelSpec& spec, bool fp8_experts) {
  DeviceModel model(spec, fp8_experts);
  R1_ASSIGN_OR_RETURN(model.memory_, AllocateDevice(model.Place(nullptr), "the weights"));
  model.Place(model.memory_.get());
  return model;
}

// Brings one tensor after the other to the GPU, rounds it, and packs it where it belongs. All on
// one stream, so that two staging buffers serve all of them: one tensor's packing precedes the next
// one's arrival.
class DeviceModelLoader {
 public:
  DeviceModelLoader(DeviceModel* model, const WeightsSnapshot& weights, cudaStream_t stream)
      : spec_(*model->spec_), model_(*model), weights_(weights), stream_(stream) {}

  absl::Status Run() {
    int64_t elements = 0;
    for (const WeightSpec& weight : spec_.weights) elements = std::max(elements, weight.elements());
    for (const LayerSpec& layer : spec_.layers) {
      if (layer.gqa.has_value())
        elements = std::max(elements, int64_t{InputWidth(*layer.gqa)} * spec_.hidden);
    }
    R1_ASSIGN_OR_RETURN(floats_, AllocateDevice(elements * 4, "loading weights"));
    for (DeviceMemory& bf16 : bf16_) {
      R1_ASSIGN_OR_RETURN(bf16, AllocateDevice(elements * 2, "loading weights"));
    }
    const int vocab = spec_.vocab;
    R1_RETURN_IF_ERROR(Round(WeightRole::kEmbedding, model_.embedding_));
    if (spec_.tie_embeddings) {
      R1_RETURN_IF_ERROR(Pack(model_.embedding_, vocab, spec_.hidden, model_.head_));
    } else {
      R1_RETURN_IF_ERROR(PackTensor(WeightRole::kHead, vocab, spec_.hidden, model_.head_));
    }
    R1_RETURN_IF_ERROR(Copy(WeightRole::kFinalNorm, model_.final_norm_));
    for (layer_ = 0; layer_ < static_cast<int>(spec_.layers.size()); ++layer_) {
      const LayerSpec& layer = spec_.layers[layer_];
      DeviceLayer& target = model_.layers_[layer_];
      R1_RETURN_IF_ERROR(Copy(WeightRole::kAttentionNorm, target.attention.norm));
      R1_RETURN_IF_ERROR(layer.mla.has_value() ? Mla(*layer.mla, target.attention)
                                               : Gqa(*layer.gqa, target.attention));
      R1_RETURN_IF_ERROR(Copy(WeightRole::kMlpNorm, target.mlp_norm));
      if (layer.dense.has_value()) {
        R1_RETURN_IF_ERROR(DenseMlp(*layer.dense, target.mlp));
      } else {
        R1_RETURN_IF_ERROR(Moe(*layer.moe, target.mlp));
      }
    }
    return CudaStatus(cudaStreamSynchronize(stream_), "loading weights");
  }

 private:
  const TensorView& Tensor(WeightRole role, int expert) const {
    const absl::StatusOr<int> index = spec_.FindWeight(role, layer_, expert);
    R1_CHECK(index.ok());  // the family lists every weight that its layers need
    return weights_.tensors[*index];
  }

  // fp32, as it is.
  absl::Status Copy(WeightRole role, float* target) {
    const std::span<const float> floats = Tensor(role, -1).f32();
    R1_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(target, floats.data(), floats.size_bytes(),
                                            cudaMemcpyHostToDevice, stream_));
    return absl::OkStatus();
  }

  absl::Status Round(WeightRole role, __nv_bfloat16* target, int expert = -1) {
    const std::span<const float> floats = Tensor(role, expert).f32();
    auto* const staged = reinterpret_cast<float*>(floats_.get());
    R1_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(staged, floats.data(), floats.size_bytes(),
                                            cudaMemcpyHostToDevice, stream_));
    R1_RETURN_IF_CUDA_ERROR(
        kernels::RoundToBf16Sm90(staged, static_cast<int64_t>(floats.size()), target, stream_));
    return absl::OkStatus();
  }

  __nv_bfloat16* staged(int i) { return reinterpret_cast<__nv_bfloat16*>(bf16_[i].get()); }

  absl::Status Pack(const __nv_bfloat16* source, int rows, int columns, uint8_t* target) {
    R1_RETURN_IF_CUDA_ERROR(kernels::PackRowsBf16Sm90(source, 1, rows, columns, target, stream_));
    return absl::OkStatus();
  }

  absl::Status PackTensor(WeightRole role, int rows, int columns, uint8_t* target,
                          int expert = -1) {
    R1_RETURN_IF_ERROR(Round(role, staged(0), expert));
    return Pack(staged(0), rows, columns, target);
  }

  struct GateUp {
    WeightRole gate;
    WeightRole up;
    int matrices;
    int intermediate;
  };
  absl::Status PackGateUp(const GateUp& mlp, uint8_t* target, int expert = -1) {
    R1_RETURN_IF_ERROR(Round(mlp.gate, staged(0), expert));
    R1_RETURN_IF_ERROR(Round(mlp.up, staged(1), expert));
    R1_RETURN_IF_CUDA_ERROR(kernels::PackGateUpBf16Sm90(
        staged(0), staged(1), mlp.matrices, mlp.intermediate, spec_.hidden, target, stream_));
    return absl::OkStatus();
  }

  // One matrix of the rows of three.
  absl::Status Gqa(const GqaSpec& a, DeviceAttention& target) {
    const int query_rows = QueryWidth(a);
    const int key_rows = a.kv_heads * a.head_dim;
    __nv_bfloat16* const keys = staged(0) + int64_t{query_rows} * spec_.hidden;
    R1_RETURN_IF_ERROR(Round(WeightRole::kQuery, staged(0)));
    R1_RETURN_IF_ERROR(Round(WeightRole::kKey, keys));
    R1_RETURN_IF_ERROR(Round(WeightRole::kValue, keys + int64_t{key_rows} * spec_.hidden));
    R1_RETURN_IF_ERROR(Pack(staged(0), InputWidth(a), spec_.hidden, target.input));
    if (a.qkv_bias) {
      R1_RETURN_IF_ERROR(Copy(WeightRole::kQueryBias, target.input_bias));
      R1_RETURN_IF_ERROR(Copy(WeightRole::kKeyBias, target.input_bias + query_rows));
      R1_RETURN_IF_ERROR(Copy(WeightRole::kValueBias, target.input_bias + query_rows + key_rows));
    }
    if (a.qk_norm) {
      R1_RETURN_IF_ERROR(Copy(WeightRole::kQueryHeadNorm, target.query_norm));
      R1_RETURN_IF_ERROR(Copy(WeightRole::kKeyHeadNorm, target.key_norm));
    }
    return PackTensor(WeightRole::kOutput, spec_.hidden, query_rows, target.output);
  }

  absl::Status Mla(const MlaSpec& a, DeviceAttention& target) {
    R1_RETURN_IF_ERROR(Copy(WeightRole::kKvNorm, target.latent_norm));
    const int kv_down = a.kv_lora_rank + a.qk_rope_head_dim;
    // Whole blocks of rows, so that one matrix continues the other.
    const int query_input = InputQueryWidth(a);
    R1_CHECK(query_input % kernels::kPackedBlockRows == 0);
    uint8_t* const kv_target = target.input + PackedBytes(query_input, spec_.hidden);
    R1_RETURN_IF_ERROR(PackTensor(WeightRole::kKvDown, kv_down, spec_.hidden, kv_target));
    if (a.q_lora_rank > 0) {
      R1_RETURN_IF_ERROR(Copy(WeightRole::kQueryNorm, target.query_norm));
      R1_RETURN_IF_ERROR(
          PackTensor(WeightRole::kQueryDown, query_input, spec_.hidden, target.input));
      R1_RETURN_IF_ERROR(
          PackTensor(WeightRole::kQuery, QueryWidth(a), a.q_lora_rank, target.query_up));
    } else {
      R1_RETURN_IF_ERROR(PackTensor(WeightRole::kQuery, query_input, spec_.hidden, target.input));
    }
    R1_RETURN_IF_ERROR(
        PackTensor(WeightRole::kOutput, spec_.hidden, a.heads * a.v_head_dim, target.output));
    return PackKvUp(a, target);
  }

  // [H][k_nope | v][L]: keys transposed, values as they are; and both as they are.
  absl::Status PackKvUp(const MlaSpec& a, DeviceAttention& target) {
    R1_RETURN_IF_ERROR(Round(WeightRole::kKvUp, staged(0)));
    if (target.kv_up != nullptr) {
      R1_RETURN_IF_ERROR(Pack(staged(0), a.heads * KeyValueWidth(a), a.kv_lora_rank, target.kv_up));
    }
    const int64_t head = int64_t{KeyValueWidth(a)} * a.kv_lora_rank;
    R1_RETURN_IF_CUDA_ERROR(kernels::PackStridedBf16Sm90(
        {.data = staged(0),
         .matrix_stride = head,
         .row_stride = 1,
         .column_stride = a.kv_lora_rank},
        a.heads, a.kv_lora_rank, a.qk_nope_head_dim, target.key_absorb, stream_));
    R1_RETURN_IF_CUDA_ERROR(kernels::PackStridedBf16Sm90(
        {.data = staged(0) + int64_t{a.qk_nope_head_dim} * a.kv_lora_rank,
         .matrix_stride = head,
         .row_stride = a.kv_lora_rank,
         .column_stride = 1},
        a.heads, a.v_head_dim, a.kv_lora_rank, target.value_up, stream_));
    return absl::OkStatus();
  }

  absl::Status DenseMlp(const DenseMlpSpec& dense, DeviceMlp& target) {
    R1_RETURN_IF_ERROR(PackGateUp({.gate = WeightRole::kGate,
                                   .up = WeightRole::kUp,
                                   .matrices = 1,
                                   .intermediate = dense.intermediate},
                                  target.gate_up));
    return PackTensor(WeightRole::kDown, spec_.hidden, dense.intermediate, target.down);
  }

  absl::Status Moe(const MoeSpec& moe, DeviceMlp& target) {
    R1_RETURN_IF_ERROR(Round(WeightRole::kRouter, target.router));
    if (target.router_bias != nullptr)
      R1_RETURN_IF_ERROR(Copy(WeightRole::kRouterBias, target.router_bias));
    const Experts experts = {.width = moe.intermediate, .fp8 = target.fp8};
    for (int e = 0; e < moe.experts; ++e) {
      R1_RETURN_IF_ERROR(Round(WeightRole::kExpertGate, staged(0), e));
      R1_RETURN_IF_ERROR(Round(WeightRole::kExpertUp, staged(1), e));
      R1_RETURN_IF_ERROR(PackExpertsGateUp(experts, 1, target.gate_up, e));
      R1_RETURN_IF_ERROR(Round(WeightRole::kExpertDown, staged(0), e));
      R1_RETURN_IF_ERROR(PackExpertsDown(experts, 1, target.down, e));
    }
    const int shared = SharedExperts(moe);
    if (shared == 0) return absl::OkStatus();
    R1_RETURN_IF_ERROR(Round(WeightRole::kSharedGate, staged(0)));
    R1_RETURN_IF_ERROR(Round(WeightRole::kSharedUp, staged(1)));
    R1_RETURN_IF_ERROR(PackExpertsGateUp(experts, shared, target.gate_up, moe.experts));
    R1_RETURN_IF_ERROR(Round(WeightRole::kSharedDown, staged(0)));
    return PackExpertsDown(experts, shared, target.down, moe.experts);
  }

  struct Experts {
    int width;
    bool fp8;
  };
  // The staged gate and up of `count` experts, to the places from `first` on.
  absl::Status PackExpertsGateUp(const Experts& experts, int count, uint8_t* gate_up, int first) {
    const int rows = 2 * experts.width;
    if (!experts.fp8) {
      R1_RETURN_IF_CUDA_ERROR(
          kernels::PackGateUpBf16Sm90(staged(0), staged(1), count, experts.width, spec_.hidden,
                                      gate_up + first * PackedBytes(rows, spec_.hidden), stream_));
      return absl::OkStatus();
    }
    uint8_t* const target = gate_up + first * kernels::Fp8PackedBytes(rows, spec_.hidden);
    for (const auto& [source, packed_rows] : {std::pair(staged(0), kernels::PackedRows::kGate),
                                              std::pair(staged(1), kernels::PackedRows::kUp)}) {
      R1_RETURN_IF_CUDA_ERROR(
          kernels::PackFp8Sm90({.data = source,
                                .matrix_stride = int64_t{experts.width} * spec_.hidden,
                                .row_stride = spec_.hidden},
                               count, experts.width, spec_.hidden, packed_rows, target, stream_));
    }
    return absl::OkStatus();
  }

  // The staged down matrices of `count` experts, each with its columns of one matrix.
  absl::Status PackExpertsDown(const Experts& experts, int count, uint8_t* down, int first) {
    const kernels::StridedMatrices source = {.data = staged(0),
                                             .matrix_stride = experts.width,
                                             .row_stride = int64_t{count} * experts.width};
    if (experts.fp8) {
      R1_RETURN_IF_CUDA_ERROR(kernels::PackFp8Sm90(
          source, count, spec_.hidden, experts.width, kernels::PackedRows::kAll,
          down + first * kernels::Fp8PackedBytes(spec_.hidden, experts.width), stream_));
    } else {
      R1_RETURN_IF_CUDA_ERROR(kernels::PackStridedBf16Sm90(
          source, count, spec_.hidden, experts.width,
          down + first * PackedBytes(spec_.hidden, experts.width), stream_));
    }
    return absl::OkStatus();
  }

  const ModelSpec& spec_;
  DeviceModel& model_;
  const WeightsSnapshot& weights_;
  const cudaStream_t stream_;
  DeviceMemory floats_;
  DeviceMemory bf16_[2];
  int layer_ = -1;
};

absl::Status DeviceModel::Load(const WeightsSnapshot& weights, cudaStream_t stream) {
  R1_RETURN_IF_ERROR(CheckWeights(*spec_, weights, "engine weights"));
  return DeviceModelLoader(this, weights, stream).Run();
}

}  // namespace r1::rollout
