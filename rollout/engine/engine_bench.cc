// r1_bench_engine: generation speed of a preset with random weights, time by operator, and how
// close each operator comes to the multiply-add rate of this core, measured in the same run.
//
// Rounds are alike, step by step. Times are sums over the steps of the fastest time of each step in
// any round, so that they do not show what else the machine is doing: the total of one thread in
// processor seconds, all else by the clock.

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/models/model_spec.h"
#include "common/rng.h"
#include "common/weights.h"
#include "kernels/bench/machine_ceilings.h"
#include "rollout/engine/engine.h"

namespace r1::rollout {
namespace {

const CommandSpec kCommand = {
    .name = "engine",
    .summary = "Measures generation with random weights.",
    .positionals = {},
    .flags = {{.name = "preset", .value = "NAME", .help = "model (moe_mini)"},
              {.name = "vocab", .value = "N", .help = "vocabulary (32)"},
              {.name = "isa", .value = "NAME", .help = "kernels (auto)"},
              {.name = "threads", .value = "N", .help = "threads of the engine (1)"},
              {.name = "prompts", .value = "N", .help = "groups a round (64)"},
              {.name = "samples", .value = "N", .help = "samples a group (8)"},
              {.name = "prompt-tokens", .value = "N", .help = "tokens a prompt (10)"},
              {.name = "response-tokens", .value = "N", .help = "tokens a response (35)"},
              {.name = "running-samples", .value = "N", .help = "samples at a time (96)"},
              {.name = "rounds", .value = "N", .help = "rounds; the best one counts (10)"}}};

struct Settings {
  std::string preset;
  int vocab;
  EngineOptions engine;
  int prompts;
  int samples;
  int prompt_tokens;
  int response_tokens;
  int rounds;
};

absl::StatusOr<Settings> ReadSettings(const ParsedCommand& command) {
  absl::Status status = absl::OkStatus();
  const auto integer = [&](const std::string& name, int otherwise) {
    const absl::StatusOr<int64_t> value = command.IntegerValue(name, otherwise, 1, 1 << 20);
    if (!value.ok()) status = value.status();
    return value.ok() ? static_cast<int>(*value) : 1;
  };
  Settings settings;
  settings.preset = command.Value("preset", "moe_mini");
  settings.vocab = integer("vocab", 32);
  settings.engine.isa = command.Value("isa", "auto");
  settings.engine.threads = integer("threads", 1);
  settings.engine.running_samples_max =
      integer("running-samples", settings.engine.running_samples_max);
  settings.prompts = integer("prompts", 64);
  settings.samples = integer("samples", 8);
  settings.prompt_tokens = integer("prompt-tokens", 10);
  settings.response_tokens = integer("response-tokens", 35);
  settings.rounds = integer("rounds", 10);
  if (!status.ok()) return status;
  return settings;
}

// Uniform numbers with the deviation of each weight; norms 1, buffers 0.
WeightsSnapshot RandomWeights(const ModelSpec& spec) {
  int64_t total = 0;
  for (const WeightSpec& weight : spec.weights) total += weight.elements();
  auto values = std::make_shared<std::vector<float>>(total);
  WeightsSnapshot weights{.policy_version = 1, .tensors = {}, .storage = values};
  Rng rng(1, 0, RngPurpose::kInit, 0, 0);
  float* next = values->data();
  for (const WeightSpec& weight : spec.weights) {
    const absl::string_view bytes(reinterpret_cast<const char*>(next),
                                  weight.elements() * sizeof(float));
    for (int64_t i = 0; i < weight.elements(); ++i) {
      const double uniform = weight.init_std * 3.4641 * (rng.NextUniform() - 0.5);
      *next++ = weight.is_norm() ? 1.0f : weight.trainable() ? static_cast<float>(uniform) : 0.0f;
    }
    weights.tensors.push_back(
        {.name = weight.name, .dtype = DType::kF32, .shape = weight.shape, .bytes = bytes});
  }
  return weights;
}

// Multiply-adds of one round, by operator; the names are those of Engine::operator_times.
struct Work {
  std::string name;
  double multiply_adds = 0;
};

// Of one token of a layer: its projections, and for each token of its context.
struct AttentionWork {
  double projections;
  double context;
};

AttentionWork CountAttention(const ModelSpec& spec, const LayerSpec& layer) {
  if (layer.gqa.has_value()) {
    const GqaSpec& a = *layer.gqa;
    const double width = 2.0 * (a.heads + a.kv_heads) * a.head_dim;
    return {width * spec.hidden, 2.0 * a.heads * a.head_dim};
  }
  const MlaSpec& a = *layer.mla;
  const double width = a.kv_lora_rank + a.qk_rope_head_dim;
  const double query = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim);
  const double query_work =
      a.q_lora_rank > 0 ? a.q_lora_rank * (spec.hidden + query) : query * spec.hidden;
  const double folded = a.kv_lora_rank * spec.hidden;
  const double separate = a.v_head_dim * (a.kv_lora_rank + spec.hidden);
  return {query_work + width * spec.hidden +
              a.heads * (a.qk_nope_head_dim * a.kv_lora_rank + std::min(folded, separate)),
          a.heads * (width + a.kv_lora_rank)};
}

std::vector<Work> CountWork(const ModelSpec& spec, const Settings& settings) {
  const double prompt_rows = static_cast<double>(settings.prompts) * settings.prompt_tokens;
  const double samples = static_cast<double>(settings.prompts) * settings.samples;
  const double rows = prompt_rows + samples * (settings.response_tokens - 1);
  double contexts = prompt_rows * (settings.prompt_tokens + 1) / 2;
  for (int t = 1; t < settings.response_tokens; ++t)
    contexts += samples * (settings.prompt_tokens + t);
  Work projections{"projections"}, attention{"attention"}, mlp{"mlp"}, router{"router"},
      experts{"experts"}, head{"head"};
  for (const LayerSpec& layer : spec.layers) {
    const AttentionWork work = CountAttention(spec, layer);
    projections.multiply_adds += rows * work.projections;
    attention.multiply_adds += contexts * work.context;
    if (layer.dense.has_value()) {
      mlp.multiply_adds += rows * 3 * spec.hidden * layer.dense->intermediate;
    } else {
      mlp.multiply_adds += rows * 3 * spec.hidden * layer.moe->shared_intermediate;
      router.multiply_adds += rows * spec.hidden * layer.moe->experts;
      experts.multiply_adds +=
          rows * 3 * spec.hidden * layer.moe->intermediate * layer.moe->experts_per_token;
    }
  }
  head.multiply_adds = samples * settings.response_tokens * spec.hidden * spec.vocab;
  return {projections, attention, mlp, router, experts, head};
}

// Of a thread; of several as many times the clock's, because the time of one that runs shows in
// the process's only every few milliseconds.
double CoreSeconds(int threads) {
  if (threads > 1) return threads * RealClock().MonotonicSeconds();
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

absl::Status SubmitRound(const ModelSpec& spec, const Settings& settings, uint64_t round,
                         Engine& engine) {
  for (int prompt = 0; prompt < settings.prompts; ++prompt) {
    GroupRequest request;
    request.request_id = request.group_id = round * settings.prompts + prompt;
    request.response_tokens_max = settings.response_tokens;
    Rng rng(2, 0, RngPurpose::kPrompt, request.group_id, 0);
    for (int i = 0; i < settings.prompt_tokens; ++i) {
      request.prompt_ids.push_back(static_cast<int32_t>(rng.NextBelow(spec.vocab)));
    }
    for (int i = 0; i < settings.samples; ++i) request.sample_indices.push_back(i);
    R1_RETURN_IF_ERROR(engine.Submit(std::move(request)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const ModelSpec& spec, EngineOptions options,
                                                   bool profile) {
  options.profile = profile;
  R1_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(spec, options));
  R1_RETURN_IF_ERROR(engine->LoadWeights(RandomWeights(spec)));
  return engine;
}

absl::StatusOr<double> MeasureTotal(const ModelSpec& spec, const Settings& settings) {
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                      MakeEngine(spec, settings.engine, false));
  std::vector<double> best;  // [step]
  for (int round = 0; round < settings.rounds; ++round) {
    double start = CoreSeconds(settings.engine.threads);
    R1_RETURN_IF_ERROR(SubmitRound(spec, settings, round, *engine));
    for (size_t step = 0; !engine->idle(); ++step) {
      R1_RETURN_IF_ERROR(engine->Step().status());
      const double stop = CoreSeconds(settings.engine.threads);
      if (step == best.size()) best.push_back(stop - start);
      best[step] = std::min(best[step], stop - start);
      start = stop;
    }
  }
  return std::accumulate(best.begin(), best.end(), 0.0);
}

absl::StatusOr<std::vector<OperatorTime>> MeasureOperators(const ModelSpec& spec,
                                                           const Settings& settings) {
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                      MakeEngine(spec, settings.engine, true));
  std::vector<std::vector<OperatorTime>> best;  // [step][operator]
  for (int round = 0; round < settings.rounds; ++round) {
    R1_RETURN_IF_ERROR(SubmitRound(spec, settings, round, *engine));
    for (size_t step = 0; !engine->idle(); ++step) {
      const std::vector<OperatorTime> before = engine->operator_times();
      R1_RETURN_IF_ERROR(engine->Step().status());
      std::vector<OperatorTime> times = engine->operator_times();
      for (size_t i = 0; i < times.size(); ++i) times[i].seconds -= before[i].seconds;
      if (step == best.size()) best.push_back(times);
      for (size_t i = 0; i < times.size(); ++i) {
        best[step][i].seconds = std::min(best[step][i].seconds, times[i].seconds);
      }
    }
  }
  std::vector<OperatorTime> sums = best.at(0);
  for (size_t step = 1; step < best.size(); ++step) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i].seconds += best[step][i].seconds;
  }
  return sums;
}

void Print(const ModelSpec& spec, const Settings& settings, double seconds,
           const std::vector<OperatorTime>& operators, double peak) {
  const double tokens =
      static_cast<double>(settings.prompts) * settings.samples * settings.response_tokens;
  const std::vector<Work> works = CountWork(spec, settings);
  double multiply_adds = 0;
  for (const Work& work : works) multiply_adds += work.multiply_adds;
  const double floor = 2 * multiply_adds / peak;
  std::printf("%.0f tokens in %.4f core seconds: %.0f tokens/s a core\n", tokens, seconds,
              tokens / seconds);
  std::printf(
      "%.3f MFLOP a token, prompts included: floor %.4f s, %.0f tokens/s; reached %.1f %%\n\n",
      2e-6 * multiply_adds / tokens, floor, tokens / floor, 100 * floor / seconds);
  std::printf("%-12s %9s %7s %9s %7s\n", "operator", "ms", "share", "GFLOP/s", "peak");
  double rest = seconds / settings.engine.threads;  // of the owner thread
  for (const OperatorTime& time : operators) {
    rest -= time.seconds;
    const double share = time.seconds * settings.engine.threads / seconds;
    std::printf("%-12s %9.3f %6.1f%%", time.name.c_str(), 1e3 * time.seconds, 100 * share);
    for (const Work& work : works) {
      if (work.name != time.name || work.multiply_adds == 0) continue;
      const double rate = 2 * work.multiply_adds / settings.engine.threads / time.seconds;
      std::printf(" %9.1f %6.1f%%", rate / 1e9, 100 * rate / peak);
    }
    std::printf("\n");
  }
  std::printf("%-12s %9.3f %6.1f%%\n", "the rest", 1e3 * rest,
              100 * rest * settings.engine.threads / seconds);
}

absl::Status Run(const std::vector<std::string>& arguments) {
  R1_ASSIGN_OR_RETURN(const ParsedCommand command, ParseCommand(kCommand, arguments));
  if (command.Has("help")) {
    std::printf("%s", CommandHelp("r1_bench", kCommand).c_str());
    return absl::OkStatus();
  }
  R1_ASSIGN_OR_RETURN(const Settings settings, ReadSettings(command));
  R1_ASSIGN_OR_RETURN(const std::string json,
                      PresetConfigJson(settings.preset, settings.vocab, 1, 2));
  R1_ASSIGN_OR_RETURN(const ModelSpec spec, ParseModelSpec(json));
  const double peak = kernels::PeakFlopsPerSecond(0.5);
  std::printf("one core: peak %.1f GFLOP/s (fp32 multiply-add), reads %.1f GB/s\n", peak / 1e9,
              kernels::ReadBytesPerSecond(0.5) / 1e9);
  R1_ASSIGN_OR_RETURN(const double seconds, MeasureTotal(spec, settings));
  R1_ASSIGN_OR_RETURN(const std::vector<OperatorTime> operators, MeasureOperators(spec, settings));
  Print(spec, settings, seconds, operators, peak);
  return absl::OkStatus();
}

}  // namespace
}  // namespace r1::rollout

int main(int argc, char** argv) {
  const absl::Status status = r1::rollout::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::fprintf(stderr, "r1_bench_engine: %s\n", std::string(status.message()).c_str());
  return 2;
}
