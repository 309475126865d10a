// Attention of both kinds as differentiable operators: where queries, keys and values lie in their
// tensors, and the kernel that both share (varlen_attention.h).

#include <algorithm>

#include "learner/policy/matrix_products.h"
#include "learner/policy/operators.h"

namespace r1::learner {
namespace {

const float* Data(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

at::Tensor EmptyVector(int64_t size) { return at::empty({size}, at::kFloat); }

// What both kinds have: the batch, the rotation, and room for the outputs.
AttentionArgs CommonArgs(const RopeSpec& spec, const RopeTable& rope, const PackedBatch& batch,
                         int heads, double scale) {
  AttentionArgs args{.heads = heads,
                     .rope = spec.dim,
                     .interleaved = spec.interleaved,
                     .scale = static_cast<float>(scale),
                     .cos = rope.cos.data(),
                     .sin = rope.sin.data(),
                     .positions = batch.positions.data(),
                     .starts = batch.sequence_starts.data(),
                     .sequences = batch.sequence_count(),
                     .tokens = batch.token_count()};
  for (int64_t s = 0; s < args.sequences; ++s) {
    args.longest = std::max<int64_t>(args.longest, args.starts[s + 1] - args.starts[s]);
  }
  return args;
}

// out [T, H * value] and softmax [2, H, T] are kept for the backward pass.
struct AttentionOutput {
  at::Tensor out, softmax;
};

AttentionOutput RunForward(const CpuKernels& kernels, AttentionArgs& args) {
  const AttentionOutput output{.out = EmptyMatrix(args.tokens, int64_t{args.heads} * args.value),
                               .softmax = at::empty({2, args.heads, args.tokens}, at::kFloat)};
  args.out = MutableData(output.out);
  args.score_max = MutableData(output.softmax);
  args.inverse_sum = MutableData(output.softmax) + args.heads * args.tokens;
  const at::Tensor scratch = EmptyVector(AttentionScratch::Floats(args, false));
  args.scratch = MutableData(scratch);
  kernels.attention_forward(args);
  return output;
}

void RunBackward(const CpuKernels& kernels, AttentionArgs args, const AttentionGradient& gradient) {
  const at::Tensor scratch = EmptyVector(AttentionScratch::Floats(args, true));
  args.scratch = MutableData(scratch);
  kernels.attention_backward(args, gradient);
}

}  // namespace

at::Tensor LatentAttention(const CpuKernels& kernels, const MlaSpec& spec, const RopeTable& rope,
                           const PackedBatch& batch, const at::Tensor& queries,
                           const at::Tensor& kv_down, const at::Tensor& kv) {
  DifferentiableScope scope;
  AttentionArgs args = CommonArgs(spec.rope, rope, batch, spec.heads, spec.softmax_scale);
  args.heads_per_rotary = spec.heads;
  args.nope = spec.qk_nope_head_dim;
  args.value = spec.v_head_dim;
  args.q = Data(queries);
  args.key = {.data = Data(kv), .token = kv.size(1), .head = args.nope + args.value};
  args.value_rows = {.data = Data(kv) + args.nope, .token = kv.size(1), .head = args.key.head};
  args.rotary = {.data = Data(kv_down) + spec.kv_lora_rank, .token = kv_down.size(1)};
  const AttentionOutput output = RunForward(kernels, args);
  scope.Record({queries, kv_down, kv}, {output.out},
               [&kernels, args, rank = spec.kv_lora_rank, queries, kv_down, kv,
                kept = Tensors{output.out.detach(), output.softmax}](const Tensors& dy) -> Tensors {
                 const at::Tensor gradient = dy[0].contiguous();
                 const at::Tensor dqueries = at::empty_like(queries), dkv = at::empty_like(kv);
                 const at::Tensor dkv_down = at::zeros_like(kv_down);
                 RunBackward(kernels, args,
                             {.dout = Data(gradient),
                              .dq = MutableData(dqueries),
                              .dkey = MutableData(dkv),
                              .drotary = MutableData(dkv_down) + rank,
                              .dvalue = MutableData(dkv) + args.nope});
                 return {dqueries, dkv_down, dkv};
               });
  return output.out;
}

at::Tensor GroupedAttention(const CpuKernels& kernels, const GqaSpec& spec, const RopeTable& rope,
                            const PackedBatch& batch, const at::Tensor& queries,
                            const at::Tensor& keys, const at::Tensor& values) {
  DifferentiableScope scope;
  AttentionArgs args = CommonArgs(spec.rope, rope, batch, spec.heads, spec.softmax_scale);
  args.heads_per_key = args.heads_per_rotary = spec.heads / spec.kv_heads;
  args.value = spec.head_dim;
  args.q = Data(queries);
  args.rotary = {.data = Data(keys), .token = keys.size(1), .head = spec.head_dim};
  args.value_rows = {.data = Data(values), .token = values.size(1), .head = spec.head_dim};
  args.key = args.rotary;  // of which nope = 0 channels are read
  const AttentionOutput output = RunForward(kernels, args);
  scope.Record({queries, keys, values}, {output.out},
               [&kernels, args, queries, keys, values,
                kept = Tensors{output.out.detach(), output.softmax}](const Tensors& dy) -> Tensors {
                 const at::Tensor gradient = dy[0].contiguous();
                 const at::Tensor dqueries = at::empty_like(queries);
                 const at::Tensor dkeys = at::empty_like(keys), dvalues = at::empty_like(values);
                 RunBackward(kernels, args,
                             {.dout = Data(gradient),
                              .dq = MutableData(dqueries),
                              .dkey = MutableData(dkeys),
                              .drotary = MutableData(dkeys),
                              .dvalue = MutableData(dvalues)});
                 return {dqueries, dkeys, dvalues};
               });
  return output.out;
}

}  // namespace r1::learner
