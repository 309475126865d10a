// Speed of the learner's forward and backward pass: tokens a second for one and for several
// threads, and where one thread's time goes.
//
//   r1_bench_policy [preset] [tokens of a micro-batch] [mean sequence length] [threads]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "common/rng.h"
#include "kernels/isa.h"
#include "learner/policy/operators.h"
#include "learner/policy/policy.h"

namespace r1::learner {
namespace {

double ClockSeconds(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
double Seconds() { return ClockSeconds(CLOCK_MONOTONIC); }
// Of the calling thread: what a busy machine does not blur so much.
double CpuSeconds() { return ClockSeconds(CLOCK_THREAD_CPUTIME_ID); }

// CPU time of the best of several runs of at least `seconds` together.
template <typename F>
double BestSeconds(double seconds, F f) {
  f();
  double best = 1e30;
  for (const double end = Seconds() + seconds; Seconds() < end;) {
    const double start = CpuSeconds();
    f();
    best = std::min(best, CpuSeconds() - start);
  }
  return best;
}

// Lengths uniform in [mean / 2, 3 mean / 2]; the first quarter of each is the prompt.
PackedBatch RandomBatch(const ModelSpec& spec, int tokens, int mean_length) {
  PackedBatch batch;
  Rng rng(1, 0, RngPurpose::kTest, 0, 0);
  while (batch.token_count() < tokens) {
    const auto drawn = static_cast<int64_t>(mean_length / 2 + rng.NextBelow(mean_length + 1));
    const int64_t length = std::max<int64_t>(2, std::min(drawn, tokens - batch.token_count()));
    std::vector<int32_t> sequence;
    for (int64_t i = 0; i < length; ++i) {
      sequence.push_back(static_cast<int32_t>(rng.NextBelow(static_cast<uint64_t>(spec.vocab))));
    }
    batch.Append(sequence, std::max<int>(1, static_cast<int>(length) / 4));
  }
  return batch;
}

void Train(Policy& policy, const PackedBatch& batch, std::vector<float>& gradient) {
  ForwardStats stats;
  const auto loss = policy.ForwardBackward(
      batch, 1, [](const at::Tensor& logprobs) { return -logprobs.mean(); }, gradient, &stats);
  if (!loss.ok()) {
    std::fprintf(stderr, "%s\n", loss.status().ToString().c_str());
    std::exit(3);
  }
}

// Wall-clock speed of all passes together, and the speed of the best pass by its thread's CPU time.
void ReportTraining(Policy& policy, const PackedBatch& batch, int threads) {
  const int passes = static_cast<int>(std::max<int64_t>(10, 100000 / batch.token_count()));
  std::vector<std::vector<float>> gradients(threads,
                                            std::vector<float>(policy.parameters().size()));
  std::vector<double> best(threads, 1e30);
  std::vector<std::thread> running;
  const double start = Seconds();
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (int i = 0; i < passes; ++i) {
        const double pass_start = CpuSeconds();
        Train(policy, batch, gradients[t]);
        best[t] = std::min(best[t], CpuSeconds() - pass_start);
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  const auto tokens = static_cast<double>(batch.token_count());
  std::printf(
      "%d thread(s): forward + backward %.0f tokens/s; best pass %.0f tokens a CPU second\n",
      threads, tokens * passes * threads / (Seconds() - start),
      tokens / *std::min_element(best.begin(), best.end()));
}

// One line: an operator's forward, and forward with backward.
template <typename F>
void Report(const char* name, int times, const Tensors& inputs, F f) {
  const double forward = BestSeconds(0.2, [&] {
    const at::NoGradGuard no_grad;
    f();
  });
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    if (input.requires_grad()) leaves.push_back(input);
  }
  Tensors gradients;
  for (const at::Tensor& output : f()) gradients.push_back(at::randn_like(output));
  const double both = BestSeconds(0.2, [&] { torch::autograd::grad(f(), leaves, gradients); });
  std::printf("  %-18s x %d   forward %7.3f ms   backward %7.3f ms\n", name, times, forward * 1e3,
              (both - forward) * 1e3);
}

void Breakdown(const ModelSpec& spec, const PackedBatch& batch) {
  const CpuKernels& kernels = CpuKernelsFor(kernels::ParseIsa("auto").value());
  const auto leaf = [](std::initializer_list<int64_t> shape) {
    return at::randn(shape, at::kFloat).mul_(0.1).set_requires_grad(true);
  };
  const int64_t T = batch.token_count(), D = spec.hidden;
  const MlaSpec& mla = *spec.layers[0].mla;
  const int64_t q_width = int64_t{mla.heads} * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  const int64_t kv_width = int64_t{mla.heads} * (mla.qk_nope_head_dim + mla.v_head_dim);
  const int64_t down_width = mla.kv_lora_rank + mla.qk_rope_head_dim;
  const int64_t v_width = int64_t{mla.heads} * mla.v_head_dim;
  const int layers = static_cast<int>(spec.layers.size());
  const at::Tensor x = leaf({T, D}), norm = leaf({D}), residual = leaf({T, D});
  Report("norm", 2 * layers + 1, {x, norm},
         [&] { return Tensors{RmsNorm(kernels, x, norm, 1e-6).y}; });
  const at::Tensor wq = leaf({q_width, D}), wkv = leaf({down_width, D});
  Report("q, kv_down", layers, {x, wq, wkv}, [&] { return Project(kernels, x, {wq, wkv}); });
  const at::Tensor latent = leaf({T, mla.kv_lora_rank}), wup = leaf({kv_width, mla.kv_lora_rank});
  Report("kv_up", layers, {latent, wup}, [&] { return Project(kernels, latent, {wup}); });
  const RopeTable rope(mla.rope, spec.positions_max);
  const at::Tensor q = leaf({T, q_width}), kv_down = leaf({T, down_width}),
                   kv = leaf({T, kv_width});
  Report("attention", layers, {q, kv_down, kv},
         [&] { return Tensors{LatentAttention(kernels, mla, rope, batch, q, kv_down, kv)}; });
  const at::Tensor values = leaf({T, v_width}), wo = leaf({D, v_width});
  Report("output", layers, {residual, values, wo},
         [&] { return Tensors{ProjectAdd(kernels, residual, values, wo)}; });
  const auto mlp = [&](int64_t width) {
    return MlpWeights{leaf({width, D}), leaf({width, D}), leaf({D, width})};
  };
  for (const LayerSpec& layer : spec.layers) {
    const int64_t width = layer.dense ? layer.dense->intermediate : layer.moe->shared_intermediate;
    const MlpWeights w = mlp(width);
    Report(layer.dense ? "dense mlp" : "shared expert", 1, {residual, x, w.gate, w.up, w.down},
           [&] { return Tensors{GatedMlpAdd(kernels, residual, x, w)}; });
    if (!layer.moe) continue;
    const at::Tensor logits = leaf({T, layer.moe->experts});
    const std::vector<float> bias(layer.moe->experts);
    auto routing = std::make_shared<Routing>();
    Report("route", 1, {logits},
           [&] { return Tensors{Route(kernels, *layer.moe, logits, bias.data(), routing.get())}; });
    const at::Tensor weights = leaf({T, layer.moe->experts_per_token});
    std::vector<MlpWeights> experts;
    Tensors inputs = {residual, x, weights};
    for (int e = 0; e < layer.moe->experts; ++e) {
      experts.push_back(mlp(layer.moe->intermediate));
      inputs.insert(inputs.end(), {experts.back().gate, experts.back().up, experts.back().down});
    }
    Report("routed experts", 1, inputs, [&] {
      return Tensors{RoutedExpertsAdd(kernels, residual, x, weights, routing, experts)};
    });
  }
  const at::Tensor rows = leaf({batch.target_count(), D}), head = leaf({spec.vocab, D});
  Report("head", 1, {rows, head}, [&] {
    std::vector<float> entropy;
    return Tensors{TokenLogprobs(kernels, rows, head, batch.target_tokens, 1, &entropy)};
  });
}

int Main(int argc, char** argv) {
  const auto argument = [&](int i, int missing) { return argc > i ? std::atoi(argv[i]) : missing; };
  const std::string preset = argc > 1 ? argv[1] : "moe_mini";
  const auto json = PresetConfigJson(preset, 32, 1, 2);
  if (!json.ok()) {
    std::fprintf(stderr, "%s\n", json.status().ToString().c_str());
    return 2;
  }
  const ModelSpec spec = ParseModelSpec(*json).value();
  const PackedBatch batch = RandomBatch(spec, argument(2, 4096), argument(3, 45));
  const auto policy = Policy::Create(spec, {}, 1).value();
  at::set_num_threads(1);
  std::printf("%s: %ld parameters, %ld active; micro-batch of %ld tokens, %ld sequences\n",
              preset.c_str(), spec.parameters(), spec.active_parameters(), batch.token_count(),
              batch.sequence_count());
  const int threads = argument(4, 2);
  for (int t = 1; t <= threads; t *= 2) {
    ReportTraining(*policy, batch, t);
  }
  const double forward = BestSeconds(1, [&] { (void)policy->Logprobs(batch, 1, nullptr).value(); });
  std::printf("1 thread: forward %.0f tokens a CPU second; operators:\n",
              batch.token_count() / forward);
  Breakdown(spec, batch);
  return 0;
}

}  // namespace
}  // namespace r1::learner

int main(int argc, char** argv) { return r1::learner::Main(argc, argv); }
