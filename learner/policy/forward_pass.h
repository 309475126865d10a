// One forward pass of a ModelSpec over a packed batch, and its backward pass: the interpreter of
// the spec, without storage, loss or threads.
//
// Every layer is a graph of its own whose input is a leaf. The backward pass goes layer by layer
// and frees as it goes; with recomputation it builds each layer's graph when its turn comes, from
// the input alone.
#pragma once

#include <vector>

#include "common/models/model_spec.h"
#include "learner/policy/operators.h"
#include "learner/policy/packed_batch.h"
#include "learner/policy/policy.h"

namespace r1::learner {

struct PassOptions {
  bool with_gradient = false;
  bool activation_recompute = false;
  double temperature = 1;
};

class ForwardPass {
 public:
  // `weights` and `router_biases` have an entry for each of spec.weights: a tensor for a trainable
  // one, a pointer for a buffer. All arguments are borrowed; the batch has passed Check.
  ForwardPass(const ModelSpec& spec, const CpuKernels& kernels, const Tensors& weights,
              const std::vector<const float*>& router_biases, const PackedBatch& batch,
              const PassOptions& options);

  // Log-probability of every target [N], without history. Fills `stats` unless null.
  at::Tensor Run(ForwardStats* stats);

  // Logits [rows of the batch's targets, V], without history; the pass is then done.
  at::Tensor Logits();

  // After Run, once: gradients of spec.weights (undefined for buffers), given those of the
  // logprobs.
  Tensors Backward(const at::Tensor& dlogprobs);

 private:
  const at::Tensor& Weight(WeightRole role, int layer = -1, int expert = -1) const;
  // Undefined unless `present`.
  at::Tensor Bias(bool present, WeightRole role, int layer) const;
  MlpWeights Mlp(WeightRole gate, WeightRole up, WeightRole down, int layer, int expert) const;
  const at::Tensor& Head() const;
  at::Tensor LatentAttentionBlock(int layer, const MlaSpec& attention, const at::Tensor& x) const;
  at::Tensor GroupedAttentionBlock(int layer, const GqaSpec& attention, const at::Tensor& x) const;
  // `expert_load` [E] may be null.
  at::Tensor MlpBlock(int layer, const at::Tensor& x, int64_t* expert_load) const;
  at::Tensor Layer(int layer, const at::Tensor& x, int64_t* expert_load) const;
  // Embedding and all layers; keeps what a backward pass needs. `expert_load` may be null.
  at::Tensor Layers(int64_t* expert_load);
  at::Tensor FinalNorm(const at::Tensor& x) const;
  at::Tensor Logprobs(const at::Tensor& x, std::vector<float>* entropy) const;
  // Gradients of `output` with respect to `input` (if defined; returned) and the weights that
  // `layer` owns (added to gradients_).
  at::Tensor Differentiate(const at::Tensor& output, const at::Tensor& doutput,
                           const at::Tensor& input, const std::vector<int>& weights);
  std::vector<int> WeightsOfLayer(int layer) const;

  const ModelSpec& spec_;
  const CpuKernels& kernels_;
  const std::vector<const float*>& router_biases_;
  const PackedBatch& batch_;
  const PassOptions options_;
  const RopeTable rope_;
  Tensors leaves_;         // one for each of spec_.weights
  at::Tensor embedded_;    // output of the embedding
  Tensors layer_inputs_;   // leaves
  Tensors layer_outputs_;  // with history, or undefined when they are computed again
  at::Tensor head_input_;  // leaf
  at::Tensor logprobs_;    // with history
  Tensors gradients_;
};

}  // namespace r1::learner
