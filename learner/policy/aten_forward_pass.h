// One forward pass of a ModelSpec over a packed batch in LibTorch's operators, and its backward
// pass: forward_pass.h for any device. Every layer is a graph of its own there too.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/models/model_spec.h"
#include "learner/policy/aten_operators.h"
#include "learner/policy/packed_batch.h"
#include "learner/policy/policy.h"

namespace r1::learner::aten {

// Where weights lie in the flat parameters: a segment holds those of one layer, or the embedding,
// or what is behind the layers. Gradients are taken of segments.
struct Layout {
  // R1_CHECKs that the weights of a layer are neighbours.
  explicit Layout(const ModelSpec& spec);

  struct Segment {
    int64_t begin = 0;  // in the flat parameters
    std::vector<int64_t> sizes;
    int64_t end() const;
  };
  std::vector<Segment> segments;
  // For each of spec.weights: its segment and its number in it; -1 for buffers.
  std::vector<int> segment_of, number_of;
  // For each of spec.weights that is a buffer its offset among the buffers, else -1.
  std::vector<int64_t> bias_offsets;
};

struct PassOptions {
  bool with_gradient = false;
  bool activation_recompute = false;
  double temperature = 1;
  at::ScalarType dtype = at::kFloat;  // of products and attention
};

class ForwardPass {
 public:
  // `parameters` and `router_biases`, flat and fp32, are on the device to compute on. All arguments
  // are borrowed; the batch has passed Check.
  ForwardPass(const ModelSpec& spec, const Layout& layout, const at::Tensor& parameters,
              const at::Tensor& router_biases, const PackedBatch& batch,
              const PassOptions& options);

  // Log-probability of every target [N], in host memory, without history. Fills `stats` unless
  // null.
  at::Tensor Run(ForwardStats* stats);

  // Logits [rows of the batch's targets, V], in host memory; the pass is then done.
  at::Tensor Logits();

  // After Run, once: the flat gradient of the parameters, on the device, given that of the
  // logprobs.
  at::Tensor Backward(const at::Tensor& dlogprobs);

 private:
  // The weights of a segment inside one graph. `layer` is -1 for those of no layer.
  class Weights {
   public:
    Weights(const ForwardPass& pass, int segment, int layer);
    // In the type of the products, with its shape; undefined unless `present`.
    at::Tensor operator()(WeightRole role, bool present = true, int expert = -1) const;
    // That, widened to fp32: for what is computed in fp32 from bf16 on the worker's GPU too.
    at::Tensor Widened(WeightRole role) const;
    // The master weight itself; of norms, and flat.
    at::Tensor Exact(WeightRole role) const;

   private:
    const at::Tensor& Find(const Tensors& tensors, WeightRole role, int expert) const;

    const ForwardPass& pass_;
    const int layer_;
    Tensors exact_, rounded_;
  };

  int SegmentOf(WeightRole role, int layer = -1) const;
  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight, double eps) const;
  at::Tensor LatentAttention(const Weights& weights, const MlaSpec& spec,
                             const at::Tensor& x) const;
  at::Tensor GroupedAttention(const Weights& weights, const GqaSpec& spec,
                              const at::Tensor& x) const;
  // Appends the load of a MoE layer to `loads` unless null.
  at::Tensor MlpBlock(int layer, const Weights& weights, const at::Tensor& x, Tensors* loads) const;
  at::Tensor Layer(int layer, const at::Tensor& x, Tensors* loads) const;
  at::Tensor Layers(Tensors* loads);
  // The rows of the targets, normalised, and the head that they meet, both in fp32.
  struct HeadInput {
    at::Tensor rows, head;
  };
  HeadInput PrepareHead(const at::Tensor& x) const;
  // Adds the gradients of segments, and returns that of `input` if it is defined.
  at::Tensor Differentiate(const at::Tensor& output, const at::Tensor& doutput,
                           const at::Tensor& input, const std::vector<int>& segments);

  const ModelSpec& spec_;
  const Layout& layout_;
  const at::Tensor& router_biases_;
  const PassOptions options_;
  const at::Device device_;
  const Rotation rotation_;
  const PaddedBatch padded_;
  at::Tensor tokens_, target_rows_, target_tokens_;
  Tensors leaves_;         // one for each segment
  at::Tensor embedded_;    // output of the embedding
  Tensors layer_inputs_;   // leaves
  Tensors layer_outputs_;  // with history, or undefined when they are computed again
  at::Tensor head_input_;  // leaf
  at::Tensor logprobs_;    // with history
  at::Tensor gradient_;
};

}  // namespace r1::learner::aten
