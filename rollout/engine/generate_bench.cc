// r1_bench_generate: tokens a second of the whole engine, prompts included, for a model of any
// config.json with random weights, beside the time that memory alone would take; and, with
// --profile, the time of each operator.
//
// Weights are views into one piece of random numbers, so that a model of any size needs little host
// memory. Floors count the bytes that a step must read once: the weights of the experts that it
// chose (on a GPU: that uniform routing touches), everything else once, and the cache at the mean
// context with a group's prompt counted once.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/filesystem.h"
#include "common/models/model_spec.h"
#include "common/rng.h"
#include "common/weights.h"
#include "kernels/bench/machine_ceilings.h"
#include "kernels/isa.h"
#include "rollout/engine/engine.h"

namespace r1::rollout {
namespace {

const CommandSpec kCommand = {
    .name = "generate",
    .summary = "Measures generation with random weights.",
    .positionals = {},
    .flags = {
        {.name = "config", .value = "FILE", .help = "a model's config.json"},
        {.name = "device", .value = "NAME", .help = "cpu or cuda (cuda)"},
        {.name = "weights", .value = "TYPE", .help = "of a CPU: fp32 or bf16 (bf16)"},
        {.name = "expert-weights", .value = "TYPE", .help = "of a GPU: bf16 or fp8 (bf16)"},
        {.name = "isa", .value = "NAME", .help = "of a CPU: kernels (auto)"},
        {.name = "points", .value = "LIST", .help = "PROMPTSxSAMPLES, … (1x1,1x16,4x16)"},
        {.name = "prompt-tokens", .value = "N", .help = "tokens a prompt (256)"},
        {.name = "response-tokens", .value = "N", .help = "tokens a response (512)"},
        {.name = "rounds", .value = "N", .help = "rounds after the first; the best counts (1)"},
        {.name = "kv-cache-mib", .value = "N", .help = "KV cache (16384)"},
        {.name = "threads", .value = "N", .help = "threads of the CPU's kernels (1)"},
        {.name = "bandwidth", .value = "GB/S", .help = "of the floors (4480; a CPU's is measured)"},
        {.name = "fast", .value = "", .help = "bits may depend on the batch"},
        {.name = "profile", .value = "", .help = "time by operator, without graphs"},
        {.name = "json", .value = "FILE", .help = "append a line a point"}}};

struct Point {
  int prompts;
  int samples;
  int batch() const { return prompts * samples; }
};

struct Settings {
  std::string config;
  std::vector<Point> points;
  EngineOptions engine;
  int prompt_tokens;
  int response_tokens;
  int rounds;
  double bytes_per_second;  // of the floors; 0: measured between the rounds
  std::string json;
};

absl::StatusOr<std::vector<Point>> ParsePoints(const std::string& text) {
  std::vector<Point> points;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    const std::vector<absl::string_view> numbers = absl::StrSplit(item, 'x');
    Point point = {};
    if (numbers.size() != 2 || !absl::SimpleAtoi(numbers[0], &point.prompts) ||
        !absl::SimpleAtoi(numbers[1], &point.samples) || point.prompts < 1 || point.samples < 1 ||
        point.prompts > 4096 || point.samples > 4096) {
      return absl::InvalidArgumentError(
          absl::StrCat("--points: expected PROMPTSxSAMPLES of 1 to 4096, found ", item));
    }
    points.push_back(point);
  }
  return points;
}

absl::StatusOr<Settings> ReadSettings(const ParsedCommand& command) {
  absl::Status status = absl::OkStatus();
  const auto integer = [&](const std::string& name, int otherwise) {
    const absl::StatusOr<int64_t> value = command.IntegerValue(name, otherwise, 1, 1 << 20);
    if (!value.ok()) status = value.status();
    return value.ok() ? static_cast<int>(*value) : 1;
  };
  Settings settings;
  settings.config = command.Value("config", "");
  if (settings.config.empty()) return absl::InvalidArgumentError("--config FILE is missing");
  R1_ASSIGN_OR_RETURN(settings.points, ParsePoints(command.Value("points", "1x1,1x16,4x16")));
  settings.prompt_tokens = integer("prompt-tokens", 256);
  settings.response_tokens = integer("response-tokens", 512);
  settings.rounds = integer("rounds", 1);
  settings.json = command.Value("json", "");
  settings.engine.device = command.Value("device", "cuda");
  const bool measures = settings.engine.device == "cpu" && !command.Has("bandwidth");
  settings.bytes_per_second = measures ? 0 : 1e9 * integer("bandwidth", 4480);
  settings.engine.weights = command.Value("weights", "bf16");
  settings.engine.expert_weights = command.Value("expert-weights", "bf16");
  settings.engine.isa = command.Value("isa", "auto");
  settings.engine.threads = integer("threads", 1);
  settings.engine.kv_cache_mib = integer("kv-cache-mib", 16384);
  settings.engine.batch_invariant = !command.Has("fast");
  settings.engine.profile = command.Has("profile");
  settings.engine.prefill_tokens_max = 8192;
  for (const Point& point : settings.points) {
    settings.engine.running_samples_max =
        std::max(settings.engine.running_samples_max, point.batch());
  }
  if (!status.ok()) return status;
  return settings;
}

// Matrices are runs of one sequence of normal numbers of deviation 0.02; norms 1, buffers 0.
WeightsSnapshot RandomWeights(const ModelSpec& spec) {
  constexpr int64_t kDistinct = 1 << 22;
  int64_t longest = 0;
  for (const WeightSpec& weight : spec.weights) longest = std::max(longest, weight.elements());
  // Tensors begin at different places of the first half.
  auto numbers = std::make_shared<std::vector<float>>(longest + kDistinct);
  Rng rng(1, 0, RngPurpose::kInit, 0, 0);
  for (int64_t i = 0; i < kDistinct; i += 2) {
    const double radius = 0.02 * std::sqrt(-2 * std::log(1 - rng.NextUniform()));
    const double angle = 2 * 3.14159265358979 * rng.NextUniform();
    (*numbers)[i] = static_cast<float>(radius * std::cos(angle));
    (*numbers)[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  // Repeated at shifts that are no multiples of a row.
  for (int64_t filled = kDistinct; filled < static_cast<int64_t>(numbers->size());) {
    const int64_t first = static_cast<int64_t>(rng.NextBelow(kDistinct / 2));
    const int64_t count =
        std::min(kDistinct - first, static_cast<int64_t>(numbers->size()) - filled);
    std::memcpy(numbers->data() + filled, numbers->data() + first, count * sizeof(float));
    filled += count;
  }
  const auto constants = std::make_shared<std::pair<std::vector<float>, std::vector<float>>>();
  constants->first.assign(1 << 20, 1.0f);
  constants->second.assign(1 << 20, 0.0f);
  WeightsSnapshot weights{
      .policy_version = 1,
      .tensors = {},
      .storage =
          std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(
              numbers, constants)};
  for (const WeightSpec& weight : spec.weights) {
    const float* const first = weight.is_norm() ? constants->first.data()
                               : weight.trainable()
                                   ? numbers->data() + rng.NextBelow(kDistinct / 16) * 16
                                   : constants->second.data();
    weights.tensors.push_back({.name = weight.name,
                               .dtype = DType::kF32,
                               .shape = weight.shape,
                               .bytes = absl::string_view(reinterpret_cast<const char*>(first),
                                                          weight.elements() * sizeof(float))});
  }
  return weights;
}

// Bytes that a step must read, with `experts_read` experts of all layers together, or those of
// uniform routing if that is 0. A GPU's weights, experts in FP8 aside, and cache are bf16, a CPU's
// cache is fp32.
double StepBytes(const ModelSpec& spec, const Settings& settings, const Point& point,
                 double experts_read) {
  const bool is_cpu = settings.engine.device == "cpu";
  double experts = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.moe.has_value()) experts += layer.moe->experts;
  }
  double bytes = 0;
  for (const WeightSpec& weight : spec.weights) {
    if (weight.role == WeightRole::kEmbedding && !spec.tie_embeddings) continue;
    double share = 1;
    if (weight.expert >= 0) {
      const MoeSpec& moe = *spec.layers[weight.layer].moe;
      const double chosen = static_cast<double>(moe.experts_per_token) / moe.experts;
      share = experts_read > 0 ? experts_read / experts : 1 - std::pow(1 - chosen, point.batch());
    }
    const bool fp8 = settings.engine.expert_weights == "fp8" && weight.is_expert();
    const double element_bytes = is_cpu && settings.engine.weights == "fp32" ? 4 : fp8 ? 1 : 2;
    bytes += share * element_bytes * static_cast<double>(weight.elements());
  }
  const double tokens = static_cast<double>(point.prompts) * settings.prompt_tokens +
                        0.5 * point.batch() * settings.response_tokens;
  double cached = 0;
  for (const LayerSpec& layer : spec.layers) {
    const int width = layer.mla.has_value() ? layer.mla->kv_lora_rank + layer.mla->qk_rope_head_dim
                                            : 2 * layer.gqa->kv_heads * layer.gqa->head_dim;
    cached += tokens * width;
  }
  return bytes + (is_cpu ? 4 : 2) * cached;
}

absl::Status SubmitRound(const ModelSpec& spec, const Settings& settings, const Point& point,
                         uint64_t first_id, Engine& engine) {
  for (int prompt = 0; prompt < point.prompts; ++prompt) {
    GroupRequest request;
    request.request_id = request.group_id = first_id + prompt;
    request.response_tokens_max = settings.response_tokens;
    Rng rng(2, 0, RngPurpose::kPrompt, request.group_id, 0);
    for (int i = 0; i < settings.prompt_tokens; ++i) {
      request.prompt_ids.push_back(static_cast<int32_t>(rng.NextBelow(spec.vocab)));
    }
    for (int i = 0; i < point.samples; ++i) request.sample_indices.push_back(i);
    R1_RETURN_IF_ERROR(engine.Submit(std::move(request)));
  }
  return absl::OkStatus();
}

struct Measured {
  double seconds = 0;        // of the round
  double first_seconds = 0;  // until the first tokens are drawn: the prompts
  double decode_seconds = 0;
  double device_seconds = 0;  // of the steps behind the prompts, on the device; 0 on a CPU
  int decode_steps = 0;
  double experts_read = 0;  // by a step behind the prompts; 0 on a GPU
};

double StepSeconds(const Engine& engine) {
  for (const OperatorTime& time : engine.operator_times()) {
    if (time.name == "step") return time.seconds;
  }
  return 0;
}

absl::StatusOr<Measured> RunRound(const ModelSpec& spec, const Settings& settings,
                                  const Point& point, uint64_t first_id, Engine& engine) {
  const Clock& clock = RealClock();
  Measured measured;
  const double start = clock.MonotonicSeconds();
  R1_RETURN_IF_ERROR(SubmitRound(spec, settings, point, first_id, engine));
  double device_start = 0;
  uint64_t experts_start = 0;
  const uint64_t tokens_before = engine.stats().generated_tokens_total;
  while (!engine.idle()) {
    R1_RETURN_IF_ERROR(engine.Step().status());
    if (engine.stats().generated_tokens_total - tokens_before <=
        static_cast<uint64_t>(point.batch())) {
      measured.first_seconds = clock.MonotonicSeconds() - start;
      device_start = StepSeconds(engine);
      experts_start = engine.stats().experts_read_total;
    } else {
      ++measured.decode_steps;
    }
  }
  measured.seconds = clock.MonotonicSeconds() - start;
  measured.decode_seconds = measured.seconds - measured.first_seconds;
  measured.device_seconds = StepSeconds(engine) - device_start;
  measured.experts_read = static_cast<double>(engine.stats().experts_read_total - experts_start) /
                          std::max(1, measured.decode_steps);
  return measured;
}

// The instruction set behind `auto`; of a GPU none.
std::string Isa(const EngineOptions& options) {
  if (options.device != "cpu") return "";
  const auto type =
      options.weights == "bf16" ? kernels::WeightType::kBf16 : kernels::WeightType::kFp32;
  const absl::StatusOr<kernels::IsaName> isa = kernels::ParseIsa(options.isa, type);
  return isa.ok() ? std::string(kernels::IsaText(*isa)) : "";
}

void Print(const Settings& settings, const ModelSpec& spec, const Point& point,
           const Measured& best, double bytes_per_second) {
  const double tokens = static_cast<double>(point.batch()) * settings.response_tokens;
  const double step = best.decode_seconds / std::max(1, best.decode_steps);
  const double bytes = StepBytes(spec, settings, point, best.experts_read);
  const double floor = bytes / bytes_per_second;
  const double idle = best.device_seconds > 0 ? 1 - best.device_seconds / best.decode_seconds : 0;
  std::printf("%6d %4dx%-4d %10.0f %9.1f %9.3f %9.3f %7.1f %7.1f%% %7.1f%%\n", point.batch(),
              point.prompts, point.samples, tokens / best.seconds, 1e3 * best.first_seconds,
              1e3 * step, 1e3 * floor, 1e-9 * bytes_per_second, 100 * floor / step, 100 * idle);
  std::fflush(stdout);
  if (settings.json.empty()) return;
  std::FILE* file = std::fopen(settings.json.c_str(), "a");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot append to %s\n", settings.json.c_str());
    return;
  }
  std::fprintf(file,
               "{\"config\": \"%s\", \"device\": \"%s\", \"weights\": \"%s\", "
               "\"expert_weights\": \"%s\", \"isa\": \"%s\", "
               "\"batch_invariant\": "
               "%s, \"prompts\": %d, "
               "\"samples\": %d, \"prompt_tokens\": %d, \"response_tokens\": %d, "
               "\"tokens_per_second\": %.1f, \"prefill_ms\": %.3f, \"step_ms\": %.4f, "
               "\"floor_ms\": %.4f, \"step_bytes\": %.0f, \"floor_gb_per_second\": %.1f, "
               "\"host_idle_fraction\": %.4f}\n",
               settings.config.c_str(), settings.engine.device.c_str(),
               settings.engine.device == "cpu" ? settings.engine.weights.c_str() : "bf16",
               settings.engine.device == "cpu" ? settings.engine.weights.c_str()
                                               : settings.engine.expert_weights.c_str(),
               Isa(settings.engine).c_str(), settings.engine.batch_invariant ? "true" : "false",
               point.prompts, point.samples, settings.prompt_tokens, settings.response_tokens,
               tokens / best.seconds, 1e3 * best.first_seconds, 1e3 * step, 1e3 * floor, bytes,
               1e-9 * bytes_per_second, idle);
  std::fclose(file);
}

// Of the last round, a step.
void PrintOperators(const std::vector<OperatorTime>& before, const std::vector<OperatorTime>& after,
                    int steps) {
  for (size_t i = 0; i < after.size(); ++i) {
    std::printf("       %-12s %9.3f ms a step\n", after[i].name.c_str(),
                1e3 * (after[i].seconds - before[i].seconds) / std::max(1, steps));
  }
}

absl::Status Run(const std::vector<std::string>& arguments) {
  R1_ASSIGN_OR_RETURN(const ParsedCommand command, ParseCommand(kCommand, arguments));
  if (command.Has("help")) {
    std::printf("%s", CommandHelp("r1_bench", kCommand).c_str());
    return absl::OkStatus();
  }
  R1_ASSIGN_OR_RETURN(const Settings settings, ReadSettings(command));
  R1_ASSIGN_OR_RETURN(const std::string json, RealFileSystem().Read(settings.config, 1 << 20));
  R1_ASSIGN_OR_RETURN(const ModelSpec spec, ParseModelSpec(json));
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(spec, settings.engine));
  const WeightsSnapshot weights = RandomWeights(spec);
  const double start = RealClock().MonotonicSeconds();
  R1_RETURN_IF_ERROR(engine->LoadWeights(weights));
  const std::string isa = Isa(settings.engine);
  const std::string with_isa = isa.empty() ? "" : absl::StrCat(" with ", isa);
  std::printf("%s on %s%s: %.2fB parameters, loaded in %.1f s; prompt %d, response %d%s\n",
              settings.config.c_str(), settings.engine.device.c_str(), with_isa.c_str(),
              1e-9 * static_cast<double>(spec.parameters()), RealClock().MonotonicSeconds() - start,
              settings.prompt_tokens, settings.response_tokens,
              settings.engine.batch_invariant ? ", batch invariant" : "");
  std::printf("%6s %9s %10s %9s %9s %9s %7s %8s %8s\n", "batch", "groups", "tokens/s", "prompt ms",
              "step ms", "floor ms", "GB/s", "reached", "idle");
  uint64_t next_id = 0;
  for (const Point& point : settings.points) {
    Measured best = {.seconds = INFINITY};
    double bytes_per_second = settings.bytes_per_second;
    std::vector<OperatorTime> before;
    Measured last;
    for (int round = 0; round <= settings.rounds; ++round) {
      before = engine->operator_times();
      R1_ASSIGN_OR_RETURN(last, RunRound(spec, settings, point, next_id, *engine));
      next_id += point.prompts;
      if (round > 0 && last.seconds < best.seconds) best = last;
      if (settings.bytes_per_second == 0) {
        bytes_per_second =
            std::max(bytes_per_second, kernels::ReadBytesPerSecond(0.1, settings.engine.threads));
      }
    }
    Print(settings, spec, point, best, bytes_per_second);
    if (settings.engine.profile)
      PrintOperators(before, engine->operator_times(), last.decode_steps);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace r1::rollout

int main(int argc, char** argv) {
  const absl::Status status = r1::rollout::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::fprintf(stderr, "r1_bench_generate: %s\n", std::string(status.message()).c_str());
  return 2;
}
