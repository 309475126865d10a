// The CPU's kernels on one core, with the shapes of C1 and C2 (shapes/*.json). Weights take turns,
// so that they come from memory; bytes are those of the weights, or of the cache.
#include "kernels/bench/cpu_kernels_bench.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/rng.h"
#include "kernels/aligned_buffer.h"
#include "kernels/kernel_table.h"

namespace r1::kernels {
namespace {

constexpr int64_t kTurnsBytes = int64_t{256} << 20;  // of the weights that take turns
constexpr int kBlockTokens = 16;

struct Model {
  const char* name;
  int hidden;
  int intermediate;
  int experts;
  int active;
  int heads;
  int kv_heads;
  int head_dim;
  int vocab;
};
constexpr Model kModels[] = {{"C1", 512, 256, 32, 4, 8, 2, 64, 32000},
                             {"C2", 1024, 512, 64, 6, 16, 4, 64, 32000}};
constexpr int kLatent = 128;  // of C1 and C2 with latent attention
constexpr int kRotary = 32;

AlignedBuffer<float> RandomFloats(int64_t size, uint64_t seed) {
  AlignedBuffer<float> values(size);
  Rng rng(1, 0, RngPurpose::kInit, seed, 0);
  for (float& value : values.span()) value = static_cast<float>(rng.NextUniform() - 0.5);
  return values;
}

// Panels of random weights in fp32 or in bf16.
class RandomPanels {
 public:
  RandomPanels(int64_t size, bool bf16, uint64_t seed) : fp32_(RandomFloats(size, seed)) {
    if (!bf16) return;
    bf16_ = AlignedBuffer<Bf16>(size);
    RoundPanels(fp32_.data(), size, bf16_.data());
    fp32_ = AlignedBuffer<float>();
  }
  Panels From(int64_t first) const {
    return bf16_.empty() ? Panels(fp32_.data() + first) : Panels(bf16_.data() + first);
  }

 private:
  AlignedBuffer<float> fp32_;
  AlignedBuffer<Bf16> bf16_;
};

int WeightBytes(const CpuBenchOptions& options) { return options.bf16 ? 2 : 4; }

std::string Label(const Model& model, const std::string& rest, const CpuBenchOptions& options) {
  return std::string(model.name) + (options.bf16 ? " bf16 " : " fp32 ") + rest;
}

// Of a call: the best of five runs of at least 40 ms. `call` gets 0, 1, 2, ….
double Microseconds(const std::function<void(int call)>& call) {
  constexpr double kSeconds = 0.04;
  double best = 1e9;
  int next = 0;
  for (int run = 0; run < 5; ++run) {
    const double begin = RealClock().MonotonicSeconds();
    double seconds = 0;
    int calls = 0;
    while (seconds < kSeconds) {
      call(next++);
      ++calls;
      seconds = RealClock().MonotonicSeconds() - begin;
    }
    best = std::min(best, seconds / calls);
  }
  return 1e6 * best;
}

}  // namespace

void BenchMatmulCpu(const BenchReport& report, const CpuBenchOptions& options) {
  const KernelTable& kernels = KernelsFor(options.isa);
  for (const Model& model : kModels) {
    const int k = model.hidden;
    const int n = (model.heads + 2 * model.kv_heads) * model.head_dim;
    const int64_t weights = PackedFloats(n, k);
    const int sets = static_cast<int>(kTurnsBytes / (weights * WeightBytes(options)));
    const RandomPanels panels(sets * weights, options.bf16, 1);
    for (const int rows : {1, 4, 16, 64, 256}) {
      const std::string shape =
          Label(model, "query, key, value M " + std::to_string(rows), options);
      if (!report.Wants(shape)) continue;
      const AlignedBuffer<float> x = RandomFloats(int64_t{rows} * k, 2);
      AlignedBuffer<float> y(int64_t{rows} * n);
      const double microseconds = Microseconds([&](int call) {
        kernels.matmul({.x = x.data(),
                        .x_stride = k,
                        .w = {.panels = panels.From(call % sets * weights), .n = n, .k = k},
                        .y = y.data(),
                        .y_stride = n,
                        .m = rows});
      });
      report.Add({.kernel = "matmul",
                  .shape = shape,
                  .microseconds = microseconds,
                  .bytes = 1.0 * n * k * WeightBytes(options),
                  .flops = 2.0 * rows * n * k});
    }
  }
}

void BenchMoeExpertsCpu(const BenchReport& report, const CpuBenchOptions& options) {
  const KernelTable& kernels = KernelsFor(options.isa);
  for (const Model& model : kModels) {
    const int64_t gate_up_weights = PackedGateUpFloats(model.intermediate, model.hidden);
    const int64_t down_weights = PackedFloats(model.hidden, model.intermediate);
    const int64_t expert_weights = gate_up_weights + down_weights;
    const int sets = static_cast<int>(std::max<int64_t>(
        1, kTurnsBytes / (model.experts * expert_weights * WeightBytes(options))));
    const RandomPanels panels(sets * model.experts * expert_weights, options.bf16, 1);
    std::vector<PackedGateUp> gate_up;
    std::vector<PackedMatrix> down;
    for (int64_t e = 0; e < int64_t{sets} * model.experts; ++e) {
      gate_up.push_back({.panels = panels.From(e * expert_weights),
                         .intermediate = model.intermediate,
                         .k = model.hidden});
      down.push_back({.panels = panels.From(e * expert_weights + gate_up_weights),
                      .n = model.hidden,
                      .k = model.intermediate});
    }
    AlignedBuffer<float> hidden(int64_t{kMoeRowBlock} * model.intermediate);
    for (const int tokens : {1, 4, 16, 64, 256}) {
      const std::string shape = Label(model, "T " + std::to_string(tokens), options);
      if (!report.Wants(shape)) continue;
      constexpr int kDraws = 16;
      std::vector<ExpertLists> lists(kDraws);
      double touched = 0;
      Rng rng(1, 0, RngPurpose::kInit, tokens, 1);
      for (ExpertLists& list : lists) {
        std::vector<int32_t> chosen;
        std::vector<int32_t> order(model.experts);
        for (int t = 0; t < tokens; ++t) {
          std::iota(order.begin(), order.end(), 0);
          for (int a = 0; a < model.active; ++a) {
            std::swap(order[a], order[a + rng.NextBelow(model.experts - a)]);
          }
          std::sort(order.begin(), order.begin() + model.active);
          chosen.insert(chosen.end(), order.begin(), order.begin() + model.active);
        }
        BuildExpertLists(chosen.data(), tokens, model.active, model.experts, &list);
        for (int e = 0; e < model.experts; ++e)
          touched += list.offsets[e + 1] > list.offsets[e] ? 1.0 / kDraws : 0;
      }
      const AlignedBuffer<float> x = RandomFloats(int64_t{tokens} * model.hidden, 2);
      AlignedBuffer<float> results(int64_t{tokens} * model.active * model.hidden);
      const double microseconds = Microseconds([&](int call) {
        const ExpertLists& list = lists[call % kDraws];
        const int set = call % sets * model.experts;
        kernels.moe_experts({.x = x.data(),
                             .x_stride = model.hidden,
                             .offsets = list.offsets.data(),
                             .tokens = list.tokens.data(),
                             .expert_count = model.experts,
                             .place_begin = 0,
                             .place_end = tokens * model.active,
                             .gate_up = gate_up.data() + set,
                             .down = down.data() + set,
                             .hidden = hidden.data(),
                             .results = results.data()});
      });
      const double weights = 3.0 * model.hidden * model.intermediate;
      report.Add({.kernel = "moe_experts",
                  .shape = shape,
                  .microseconds = microseconds,
                  .bytes = touched * weights * WeightBytes(options),
                  .flops = 2.0 * tokens * model.active * weights});
    }
  }
}

namespace {

// Sequences of the same context over a cache of rows of `width`, blocks in order.
struct CachedSequences {
  AlignedBuffer<float> rows;
  std::vector<std::vector<int32_t>> blocks;
  std::vector<const int32_t*> tables;
  std::vector<int32_t> contexts;
  PagedCache cache;

  CachedSequences(int sequences, int context, int width)
      : rows(RandomFloats(int64_t{sequences} * context * width, 3)), contexts(sequences, context) {
    const int of_each = context / kBlockTokens;
    for (int s = 0; s < sequences; ++s) {
      blocks.emplace_back(of_each);
      std::iota(blocks.back().begin(), blocks.back().end(), s * of_each);
      tables.push_back(blocks.back().data());
    }
    cache = {.blocks = rows.data(),
             .block_stride = int64_t{kBlockTokens} * width,
             .block_tokens = kBlockTokens,
             .width = width};
  }
};

struct AttentionPoint {
  int sequences;
  int context;
};
constexpr AttentionPoint kAttentionPoints[] = {{1, 512}, {1, 4096}, {16, 512}, {64, 512}};

std::string PointLabel(const Model& model, const AttentionPoint& point) {
  return std::string(model.name) + " B " + std::to_string(point.sequences) + " context " +
         std::to_string(point.context);
}

}  // namespace

void BenchGqaDecodeCpu(const BenchReport& report, const CpuBenchOptions& options) {
  for (const Model& model : kModels) {
    for (const AttentionPoint& point : kAttentionPoints) {
      const std::string shape = PointLabel(model, point);
      if (!report.Wants(shape)) continue;
      const int width = 2 * model.kv_heads * model.head_dim;
      const int64_t row = int64_t{model.heads} * model.head_dim;
      const CachedSequences sequences(point.sequences, point.context, width);
      const AlignedBuffer<float> q = RandomFloats(point.sequences * row, 4);
      AlignedBuffer<float> out(point.sequences * row);
      const double microseconds = Microseconds([&](int) {
        KernelsFor(options.isa)
            .gqa_decode({.q = q.data(),
                         .q_stride = row,
                         .cache = sequences.cache,
                         .block_tables = sequences.tables.data(),
                         .contexts = sequences.contexts.data(),
                         .row_count = point.sequences,
                         .heads = model.heads,
                         .kv_heads = model.kv_heads,
                         .head_dim = model.head_dim,
                         .scale = 0.125f,
                         .out = out.data(),
                         .out_stride = row});
      });
      const double tokens = 1.0 * point.sequences * point.context;
      report.Add({.kernel = "gqa_decode",
                  .shape = shape,
                  .microseconds = microseconds,
                  .bytes = 4 * tokens * width,
                  .flops = 4 * tokens * static_cast<double>(row),
                  .flops_per_second = options.fp32_flops_per_second});
    }
  }
}

void BenchMlaDecodeCpu(const BenchReport& report, const CpuBenchOptions& options) {
  for (const Model& model : kModels) {
    for (const AttentionPoint& point : kAttentionPoints) {
      const std::string shape = PointLabel(model, point);
      if (!report.Wants(shape)) continue;
      const int width = kLatent + kRotary;
      const CachedSequences sequences(point.sequences, point.context, width);
      const AlignedBuffer<float> q =
          RandomFloats(int64_t{point.sequences} * model.heads * width, 4);
      AlignedBuffer<float> out(int64_t{point.sequences} * model.heads * kLatent);
      const double microseconds = Microseconds([&](int) {
        KernelsFor(options.isa)
            .mla_decode({.q = q.data(),
                         .q_stride = int64_t{model.heads} * width,
                         .cache = sequences.cache,
                         .block_tables = sequences.tables.data(),
                         .contexts = sequences.contexts.data(),
                         .row_count = point.sequences,
                         .heads = model.heads,
                         .latent = kLatent,
                         .scale = 0.1f,
                         .out = out.data(),
                         .out_stride = int64_t{model.heads} * kLatent});
      });
      const double tokens = 1.0 * point.sequences * point.context;
      report.Add({.kernel = "mla_decode",
                  .shape = shape,
                  .microseconds = microseconds,
                  .bytes = 4 * tokens * width,
                  .flops = 2 * tokens * model.heads * (width + kLatent),
                  .flops_per_second = options.fp32_flops_per_second});
    }
  }
}

void BenchSampleHeadCpu(const BenchReport& report, const CpuBenchOptions& options) {
  for (const Model& model : kModels) {
    const int64_t weights = PackedFloats(model.vocab, model.hidden);
    const int sets =
        static_cast<int>(std::max<int64_t>(1, kTurnsBytes / (weights * WeightBytes(options))));
    const RandomPanels panels(sets * weights, options.bf16, 1);
    for (const int rows : {1, 4, 16, 64}) {
      const std::string shape = Label(model, "M " + std::to_string(rows), options);
      if (!report.Wants(shape)) continue;
      const AlignedBuffer<float> x = RandomFloats(int64_t{rows} * model.hidden, 2);
      const std::vector<float> temperatures(rows, 1);
      const std::vector<double> uniforms(rows, 0.5);
      std::vector<int32_t> tokens(rows);
      std::vector<float> logprobs(rows);
      const double microseconds = Microseconds([&](int call) {
        KernelsFor(options.isa)
            .sample_head({.x = x.data(),
                          .x_stride = model.hidden,
                          .head = {.panels = panels.From(call % sets * weights),
                                   .n = model.vocab,
                                   .k = model.hidden},
                          .m = rows,
                          .temperatures = temperatures.data(),
                          .uniforms = uniforms.data(),
                          .tokens = tokens.data(),
                          .logprobs = logprobs.data()});
      });
      report.Add({.kernel = "sample_head",
                  .shape = shape,
                  .microseconds = microseconds,
                  .bytes = 1.0 * model.vocab * model.hidden * WeightBytes(options),
                  .flops = 2.0 * rows * model.vocab * model.hidden});
    }
  }
}

}  // namespace r1::kernels
