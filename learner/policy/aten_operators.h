// The parts of a layer in LibTorch's operators, on any device: rotation, attention over packed
// sequences, routing, the experts, the logprobs. Differentiated by LibTorch unless said otherwise.
//
// Shape letters: T tokens, D model, H heads, K channels of a head, I width of an MLP, E experts, A
// experts a token, N target rows, V vocabulary. Weights are [out, in].
#pragma once

#include <cstdint>
#include <vector>

#include "common/models/model_spec.h"
#include "learner/policy/differentiable.h"
#include "learner/policy/packed_batch.h"

namespace r1::learner::aten {

// A vector as a tensor on a device.
at::Tensor ToDevice(const std::vector<int32_t>& values, const at::Device& device);
at::Tensor ToDevice(const std::vector<int64_t>& values, const at::Device& device);

// Cosines and sines [T, 1, dim / 2] at every token's position.
struct Rotation {
  Rotation(const RopeSpec& rope, const std::vector<int32_t>& positions, const at::Device& device);
  // The last K channels of x [T, H, K], rotated, in fp32; pairs come out as (i, i + K / 2), which
  // leaves scores as they are when queries and keys share it.
  at::Tensor Apply(const at::Tensor& x) const;

  bool interleaved;
  at::Tensor cos, sin;
};

// How packed sequences are laid out for attention: groups of similar length side by side, padded
// behind their ends to the longest of the group, at most to twice the shortest. Causal attention
// never looks at the padding.
struct PaddedBatch {
  PaddedBatch(const PackedBatch& batch, const at::Device& device);

  struct Group {
    int64_t sequences = 0;
    int64_t longest = 0;
    at::Tensor rows = {};    // [sequences * longest], packed tokens; padding repeats a first one
    at::Tensor places = {};  // [tokens of the group], where in `rows` they are
  };
  std::vector<Group> groups;
  at::Tensor order;  // [T], of every packed token its place among the groups' tokens
};

// Causal attention in each sequence: queries and keys [T, H, K], values [T, H, V] -> [T, H * V].
at::Tensor Attention(const PaddedBatch& padded, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values, double scale);

// Logits [T, E], fp32 -> the chosen experts [T, A], ascending in each row, and their weights, as
// kernels/moe_router.h says. `bias` [E] of a sigmoid gate.
struct Choice {
  at::Tensor experts, weights;
  at::Tensor load;  // [E], tokens of each expert
};
Choice Route(const MoeSpec& spec, const at::Tensor& logits, const at::Tensor& bias);

// silu(x gate') * (x up') down'.
struct Mlp {
  at::Tensor gate, up, down;                                // [I, D], [I, D], [D, I]
  at::Tensor gate_bias = {}, up_bias = {}, down_bias = {};  // undefined where there is none
};
at::Tensor GatedMlp(const at::Tensor& x, const Mlp& mlp);

// Sum over a token's experts of weight * MLP(x), in fp32: [T, D]. No token is dropped.
at::Tensor RoutedExperts(const at::Tensor& x, const Choice& choice,
                         const std::vector<Mlp>& experts);

// log softmax(x head' / temperature) at the targets [N], int64: [N]. All in fp32. Logits exist for
// a few rows at a time only and are computed again by the backward pass. `entropy` [N] of the same
// softmax, in nats, without gradient; may be null.
at::Tensor TokenLogprobs(const at::Tensor& x, const at::Tensor& head, const at::Tensor& targets,
                         double temperature, at::Tensor* entropy);

}  // namespace r1::learner::aten
