// r1 plan CONFIG: what the run needs of the hardware, before anything starts.

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/check_run.h"
#include "cli/commands.h"
#include "common/config.h"
#include "learner/run_plan.h"

namespace r1::cli {
namespace {

using learner::MemoryLine;
using learner::MemoryPlan;
using learner::Phase;
using learner::RunPlan;
using learner::StagePlan;
using nlohmann::ordered_json;

constexpr int kDevicesMax = 1 << 20;
constexpr int kTokensMax = 1 << 20;

// "1.34 TB"
std::string Scaled(double value, const char* unit) {
  const char* const prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  size_t prefix = 0;
  while (value >= 1000 && prefix + 1 < std::size(prefixes)) {
    value /= 1000;
    ++prefix;
  }
  return absl::StrFormat("%.4g %s%s", value, prefixes[prefix], unit);
}

// "1.2 s", "3.4 h"
std::string Duration(double seconds) {
  if (seconds < 1) return absl::StrFormat("%.3g ms", 1e3 * seconds);
  if (seconds < 600) return absl::StrFormat("%.3g s", seconds);
  if (seconds < 2 * 3600) return absl::StrFormat("%.3g min", seconds / 60);
  return absl::StrFormat("%.3g h", seconds / 3600);
}

void PrintMemory(const MemoryPlan& memory) {
  std::cout << absl::StreamFormat("%-34s %12s %14s\n",
                                  absl::StrCat(memory.count, " x ", memory.who), "each",
                                  absl::StrCat("cut in ", memory.count));
  const auto print = [](const std::string& what, double bytes, double sharded) {
    std::cout << absl::StreamFormat("  %-32s %12s %14s\n", what, Scaled(bytes, "B"),
                                    Scaled(sharded, "B"));
  };
  for (const MemoryLine& line : memory.lines) print(line.what, line.bytes, line.sharded_bytes);
  print("together", memory.bytes(), memory.sharded_bytes());
  std::cout << "\n";
}

void PrintStage(const StagePlan& stage) {
  std::cout << absl::StreamFormat("stage %s (%s): %.0f steps of %.0f tokens\n", stage.name,
                                  stage.kind, stage.steps, stage.tokens);
  std::cout << absl::StreamFormat("  %-28s %8s %14s %12s %12s\n", "a step", "devices", "operations",
                                  "bytes", "at least");
  for (const Phase& phase : stage.phases) {
    std::cout << absl::StreamFormat("  %-28s %8d %14s %12s %12s\n", phase.what, phase.devices,
                                    phase.flops > 0 ? Scaled(phase.flops, "FLOP") : "-",
                                    Scaled(phase.bytes, "B"),
                                    phase.seconds > 0 ? Duration(phase.seconds) : "-");
  }
  std::cout << absl::StreamFormat("  one phase after the other: %s a step, %s the stage\n\n",
                                  Duration(stage.seconds()),
                                  Duration(stage.steps * stage.seconds()));
}

void PrintPlan(const RunPlan& plan) {
  const learner::Accelerator& device = plan.accelerator;
  std::cout << absl::StreamFormat(
      "model %s parameters, %s of them for one token\n"
      "device %s: %s of memory, counted with %s and %s\n\n",
      Scaled(static_cast<double>(plan.parameters), ""),
      Scaled(static_cast<double>(plan.active_parameters), ""), device.name,
      Scaled(device.memory_bytes, "B"), Scaled(device.bytes_per_second, "B/s"),
      Scaled(device.flops, "FLOP/s"));
  PrintMemory(plan.learner);
  PrintMemory(plan.rollout);
  std::cout << absl::StreamFormat(
      "A worker's KV cache holds %.0f of the longest samples at a time.\n\n", plan.running_samples);
  double seconds = 0;
  for (const StagePlan& stage : plan.stages) {
    PrintStage(stage);
    seconds += stage.steps * stage.seconds();
  }
  std::cout << "the run, at least: " << Duration(seconds) << "\n";
  for (const std::string& problem : plan.problems) std::cout << "does not fit: " << problem << "\n";
}

ordered_json MemoryJson(const MemoryPlan& memory) {
  ordered_json lines = ordered_json::array();
  for (const MemoryLine& line : memory.lines) {
    lines.push_back(
        {{"what", line.what}, {"bytes", line.bytes}, {"sharded_bytes", line.sharded_bytes}});
  }
  return {{"count", memory.count},
          {"bytes", memory.bytes()},
          {"sharded_bytes", memory.sharded_bytes()},
          {"lines", lines}};
}

ordered_json PlanJson(const RunPlan& plan) {
  ordered_json stages = ordered_json::array();
  for (const StagePlan& stage : plan.stages) {
    ordered_json phases = ordered_json::array();
    for (const Phase& phase : stage.phases) {
      phases.push_back({{"what", phase.what},
                        {"devices", phase.devices},
                        {"flops", phase.flops},
                        {"bytes", phase.bytes},
                        {"seconds", phase.seconds}});
    }
    stages.push_back({{"name", stage.name},
                      {"kind", stage.kind},
                      {"steps", stage.steps},
                      {"tokens_per_step", stage.tokens},
                      {"seconds_per_step", stage.seconds()},
                      {"phases", phases}});
  }
  return {{"parameters", plan.parameters},
          {"active_parameters", plan.active_parameters},
          {"device",
           {{"name", plan.accelerator.name},
            {"memory_bytes", plan.accelerator.memory_bytes},
            {"bytes_per_second", plan.accelerator.bytes_per_second},
            {"flops", plan.accelerator.flops}}},
          {"learner", MemoryJson(plan.learner)},
          {"rollout", MemoryJson(plan.rollout)},
          {"running_samples", plan.running_samples},
          {"stages", stages},
          {"problems", plan.problems}};
}

int Plan(const ParsedCommand& parsed) {
  std::vector<std::string> missing_files;
  const auto loaded = LoadConfig(parsed.positionals()[0], parsed.Values("set"), &missing_files);
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return kExitUsage;
  }
  const auto devices = parsed.IntegerValue("gpus", 0, 1, kDevicesMax);
  if (!devices.ok()) return ReportError("plan", devices.status());
  const auto prompt_tokens = parsed.IntegerValue("prompt-tokens", 0, 1, kTokensMax);
  if (!prompt_tokens.ok()) return ReportError("plan", prompt_tokens.status());
  const auto response_tokens = parsed.IntegerValue("response-tokens", 0, 1, kTokensMax);
  if (!response_tokens.ok()) return ReportError("plan", response_tokens.status());
  const auto accelerator = learner::FindAccelerator(parsed.Value("gpu", "h200"));
  if (!accelerator.ok()) return ReportError("plan", Annotate(accelerator.status(), "--gpu"));
  const auto spec = CheckRun(*loaded, RunPurpose::kPlan);
  if (!spec.ok()) {
    std::cerr << spec.status().message() << "\n";
    return kExitUsage;
  }
  ReportMissingFiles("plan", missing_files);
  const RunPlan plan = learner::PlanRun(loaded->config, *spec, *accelerator,
                                        {.devices = static_cast<int>(*devices),
                                         .prompt_tokens = static_cast<int>(*prompt_tokens),
                                         .response_tokens = static_cast<int>(*response_tokens)});
  if (parsed.Has("json")) {
    std::cout << PlanJson(plan).dump(2) << "\n";
  } else {
    PrintPlan(plan);
  }
  return kExitDone;
}

}  // namespace

const Command& PlanCommand() {
  static const auto* command = new Command{
      {.name = "plan",
       .summary =
           "Computes what a run needs: memory of each rank and worker, operations, bytes and "
           "least time of each phase, and what does not fit.",
       .positionals = {{.name = "CONFIG", .help = "TOML file, see docs/config.md"}},
       .flags = {{.name = "gpus",
                  .value = "N",
                  .help = "devices, shared between learner ranks and workers in the config's "
                          "proportion (as many as it has of both)"},
                 {.name = "gpu",
                  .value = "NAME",
                  .help = "h200 (default), h100, h800, a100 or cpu"},
                 {.name = "prompt-tokens",
                  .value = "N",
                  .help = "mean length of a prompt, for the times (as long as it may be)"},
                 {.name = "response-tokens",
                  .value = "N",
                  .help = "mean length of a response, for the times (as long as it may be)"},
                 {.name = "set",
                  .value = "KEY=VALUE",
                  .help = "overrides a key, as in stage.rl.grpo.steps=10",
                  .repeated = true},
                 {.name = "json", .help = "as a JSON object, in bytes, operations and seconds"}}},
      &Plan};
  return *command;
}

}  // namespace r1::cli
