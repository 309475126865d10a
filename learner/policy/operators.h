// The differentiable operators that a ModelSpec's layers are built from: mathematics from
// cpu_kernels.h, memory and autograd from LibTorch. All compute on the calling thread and give the
// same bits for the same inputs. Tensors are contiguous fp32.
//
// Shape letters: T tokens, D model, H heads, I width of an MLP, E experts, A experts a token, N
// target rows, V vocabulary. Weights are [out, in].
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/models/model_spec.h"
#include "learner/policy/cpu_kernels.h"
#include "learner/policy/differentiable.h"
#include "learner/policy/packed_batch.h"

namespace r1::learner {

// Cosines and sines [positions, dim / 2], as kernels/rope.h makes them.
struct RopeTable {
  RopeTable(const RopeSpec& rope, int positions);
  std::vector<float> cos, sin;
};

// Rows of x, in the order of `rows`, which may repeat.
at::Tensor GatherRows(const at::Tensor& x, const std::vector<int32_t>& rows);

// RMSNorm of the first weight.size(0) columns of x: y [T, weight.size(0)]. `x` is the input again;
// who else needs the input takes this one, so that the two gradients are added in one pass.
struct Normed {
  at::Tensor y;
  at::Tensor x;
};
Normed RmsNorm(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
               double eps);

// A linear layer: weight [out, in] and its bias [out], which may be undefined.
struct Linear {
  Linear(const at::Tensor& weight, const at::Tensor& bias = at::Tensor())  // NOLINT: mostly that
      : weight(weight), bias(bias) {}
  at::Tensor weight, bias;
};

// x weight' + bias for each layer, in one node so that their gradients to x are summed by the
// matrix products.
Tensors Project(const CpuKernels& kernels, const at::Tensor& x, const std::vector<Linear>& layers);

// residual + x weight' + bias.
at::Tensor ProjectAdd(const CpuKernels& kernels, const at::Tensor& residual, const at::Tensor& x,
                      const Linear& layer);

// Causal latent attention over packed sequences: queries [T, H * (nope + rope)], kv_down [T, latent
// + rope] whose last columns are the shared rotary key, kv [T, H * (nope + value)] -> [T, H *
// value]. The batch must outlive the backward pass.
at::Tensor LatentAttention(const CpuKernels& kernels, const MlaSpec& spec, const RopeTable& rope,
                           const PackedBatch& batch, const at::Tensor& queries,
                           const at::Tensor& kv_down, const at::Tensor& kv);

// Causal grouped-query attention, likewise: queries [T, H * head_dim], keys and values [T, kv_heads
// * head_dim] -> [T, H * head_dim].
at::Tensor GroupedAttention(const CpuKernels& kernels, const GqaSpec& spec, const RopeTable& rope,
                            const PackedBatch& batch, const at::Tensor& queries,
                            const at::Tensor& keys, const at::Tensor& values);

// SwiGLU MLP: gate and up [I, D], down [D, I].
struct MlpWeights {
  at::Tensor gate, up, down;
};
// Undefined where the MLP has none: gate and up [I], down [D].
struct MlpBiases {
  at::Tensor gate, up, down;
};

// residual + down(silu(gate(x)) * up(x)).
at::Tensor GatedMlpAdd(const CpuKernels& kernels, const at::Tensor& residual, const at::Tensor& x,
                       const MlpWeights& weights, const MlpBiases& biases = {});

// Which expert each token goes to. A slot is one (token, expert) pair; slots are sorted by expert,
// then by token, so that each expert's rows are contiguous.
struct Routing {
  std::vector<int32_t> experts;      // [T, A], ascending in each row
  std::vector<int32_t> slots;        // [T, A], the slot of each
  std::vector<int32_t> slot_tokens;  // [T * A]
  std::vector<int64_t> starts;       // [E + 1], first slot of each expert
};

// Logits [T, E] -> weights [T, A] of the chosen experts (kernels/moe_router.h). No gradient to the
// bias [E] of a sigmoid gate, which only steers the choice.
at::Tensor Route(const CpuKernels& kernels, const MoeSpec& spec, const at::Tensor& logits,
                 const float* bias, Routing* routing);

// base + sum over a token's experts of weight * MLP(x). [T, D].
at::Tensor RoutedExpertsAdd(const CpuKernels& kernels, const at::Tensor& base, const at::Tensor& x,
                            const at::Tensor& weights, std::shared_ptr<const Routing> routing,
                            const std::vector<MlpWeights>& experts);

// log softmax(x head' / temperature) at the target of each row: [N]. Logits exist for a few rows at
// a time only and are computed again by the backward pass. `entropy` [N] is of the same softmax, in
// nats; may be null.
at::Tensor TokenLogprobs(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& head,
                         const std::vector<int32_t>& targets, double temperature,
                         std::vector<float>* entropy);

}  // namespace r1::learner
