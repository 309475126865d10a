// How r1 generate samples: its flags and, where they are silent, the model's
// generation_config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/status.h"
#include "rollout/engine/engine.h"

namespace r1::cli {

struct GenerationSettings {
  double temperature = 1;  // 0 = greedy
  rollout::TokenFilter filter;
  int64_t tokens_max = 0;  // 0 = 1024, or what the model's positions leave room for
  int64_t samples = 1;     // of each prompt
  uint64_t seed = 0;
  std::vector<std::string> stops;
  bool ignore_eos = false;
  bool raw_logprobs = false;
  bool chat = false;  // prompts are messages of a user
  rollout::EngineOptions engine;
  // "temperature 0.6, top_p 0.95": what came from generation_config.json.
  std::string from_model;
};

// The flags, for the command's help.
std::vector<FlagSpec> GenerationFlags();

// InvalidArgument names the flag, or the key and file.
[[nodiscard]] absl::StatusOr<GenerationSettings> ReadGenerationSettings(
    const ParsedCommand& parsed, const std::string& model_folder);

}  // namespace r1::cli
