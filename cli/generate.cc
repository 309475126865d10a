// r1 generate: responses of a model folder to one prompt, on the terminal as they grow, or to the
// rows of a file.

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/jsonl_rows.h"
#include "common/clock.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kName[] = "generate";
// Rows in the engine at a time: enough to keep it full while the longest are being finished.
constexpr size_t kBlockRows = 4096;

// Samples behind the first one, which has been shown while it grew.
void PrintOtherSamples(const ordered_json& result) {
  if (!result.contains("samples")) return;
  for (size_t i = 1; i < result["samples"].size(); ++i) {
    const ordered_json& text = result["samples"][i]["text"];
    std::cout << "\n--- sample " << i + 1 << "\n" << text.get<std::string>() << "\n";
  }
}

int RunPrompt(const ParsedCommand& parsed, Generator& generator) {
  const bool as_json = parsed.Has("json");
  const double start = RealClock().MonotonicSeconds();
  const auto show = [](absl::string_view piece) { std::cout << piece << std::flush; };
  const std::vector<absl::StatusOr<ordered_json>> results =
      generator.Run({generator.PromptRow(parsed.Value("prompt"))},
                    as_json ? Generator::OnText(nullptr) : Generator::OnText(show));
  const double seconds = RealClock().MonotonicSeconds() - start;
  if (!results[0].ok()) return ReportError(kName, results[0].status());
  const ordered_json& result = *results[0];
  if (as_json) {
    std::cout << result.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    return kExitDone;
  }
  std::cout << "\n";
  PrintOtherSamples(result);
  size_t tokens = 0;
  const ordered_json samples =
      result.contains("samples") ? result["samples"] : ordered_json::array({result});
  for (const ordered_json& sample : samples) tokens += sample["ids"].size();
  std::cerr << absl::StreamFormat("[%d tokens in %.2f s, %.1f tokens/s; finished by %s]\n", tokens,
                                  seconds, static_cast<double>(tokens) / seconds,
                                  samples[0]["finish_reason"].get<std::string>());
  return kExitDone;
}

int Generate(const ParsedCommand& parsed) {
  if (!HasFlags(kName, parsed, {"model"})) return kExitUsage;
  if (parsed.Has("prompt") == parsed.Has("input")) {
    std::cerr << "r1 " << kName << ": expected one of --prompt and --input\n";
    return kExitUsage;
  }
  if (parsed.Has("input") && !HasFlags(kName, parsed, {"output"})) return kExitUsage;
  const std::string folder = parsed.Value("model");
  absl::StatusOr<GenerationSettings> settings = ReadGenerationSettings(parsed, folder);
  if (!settings.ok()) return ReportError(kName, settings.status());
  InstallSignalHandlers();
  if (!settings->from_model.empty()) {
    std::cerr << "r1 " << kName << ": from generation_config.json: " << settings->from_model
              << "\n";
  }
  const auto generator = Generator::Load(folder, *std::move(settings));
  if (!generator.ok()) return ReportError(kName, generator.status());
  if (parsed.Has("prompt")) return RunPrompt(parsed, **generator);
  return MapJsonlBlocks(
      kName, parsed.Value("input"), parsed.Value("output"), kBlockRows,
      [&generator](const std::vector<JsonlRow>& rows) { return (*generator)->Run(rows); });
}

std::vector<FlagSpec> Flags() {
  std::vector<FlagSpec> flags = {
      {.name = "model", .value = "DIR", .help = "Hugging Face folder"},
      {.name = "prompt", .value = "TEXT", .help = "answer this one on the terminal"},
      {.name = "input", .value = "FILE.jsonl", .help = "or answer these rows"},
      {.name = "output", .value = "FILE.jsonl", .help = "one row for each of them"}};
  for (FlagSpec& flag : GenerationFlags()) flags.push_back(std::move(flag));
  flags.push_back({.name = "json", .help = "with --prompt: the result as a JSON object"});
  return flags;
}

}  // namespace

const Command& GenerateCommand() {
  static const auto* command = new Command{
      {.name = kName,
       .summary = "Generates text with a model folder: rows {prompt}, {messages} or {ids} give "
                  "{ids, text, logprobs, finish_reason}.",
       .flags = Flags()},
      &Generate};
  return *command;
}

}  // namespace r1::cli
