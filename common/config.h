// A config file (TOML) with --set overrides becomes a resolved r1::v1::Config: every section of
// every stage is there, with the schema's defaults, the file's defaults at the top and the stage's
// own keys laid over one another in this order. The schema with its rules is proto/config.proto.
//
//   absl::StatusOr<LoadedConfig> loaded = LoadConfig("configs/r1_mini.toml", {"run.seed=2"});
//   if (!loaded.ok()) { std::cerr << loaded.status().message() << "\n"; return 2; }
//
// Not checked here: what needs other parts, such as names of rewards. LoadedConfig::Where gives
// their positions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/config_tree.h"
#include "common/filesystem.h"
#include "common/status.h"
#include "proto/config.pb.h"

namespace r1 {

// Of every key and section that the file or an override names, by field path
// ("stage.rl.grpo.kl_coef").
using ConfigPositions = std::map<std::string, ConfigPosition>;

struct LoadedConfig {
  v1::Config config;  // resolved; run.dir is never empty
  ConfigPositions positions;

  // Whether the file or an override names this field.
  bool IsExplicit(const std::string& path) const { return positions.count(path) > 0; }
  // The position of a field, or of the innermost section around it that is written down.
  ConfigPosition Where(const std::string& path) const;
};

// InvalidArgument: the message has one line for each problem found, all of them in one pass, in the
// order of the file: `configs/x.toml:3:8: run.seed: expected an integer from 0 to 9007199254740991,
// found "one"`. NotFound or Unavailable: the file cannot be read. With `missing_files`, files that
// the config names and that are not there are listed in it and are no problem.
[[nodiscard]] absl::StatusOr<LoadedConfig> LoadConfig(
    const std::string& path, const std::vector<std::string>& overrides,
    std::vector<std::string>* missing_files = nullptr);

// The same from text; `name` stands for the file's path in messages and in the default of run.dir.
// Data files are looked for in `files`.
[[nodiscard]] absl::StatusOr<LoadedConfig> LoadConfigText(
    const std::string& name, const std::string& text, const std::vector<std::string>& overrides,
    FileSystem& files = RealFileSystem(), std::vector<std::string>* missing_files = nullptr);

// A file of another schema whose fields carry the same rules (proto/evaluation.proto), laid over
// `message`; its sections get their defaults. Positions as in LoadedConfig, with the file's own at
// "". Errors as those of LoadConfig.
[[nodiscard]] absl::StatusOr<ConfigPositions> LoadSchemaText(
    const std::string& name, const std::string& text, const std::vector<std::string>& overrides,
    google::protobuf::Message& message);

// A resolved config as TOML in the schema's order; loaded again it is the same message, bit for
// bit.
std::string ConfigToToml(const google::protobuf::Message& config);

// Paths of the fields that differ, in the schema's order; those marked safe_on_resume only when
// asked for.
std::vector<std::string> ChangedFields(const google::protobuf::Message& a,
                                       const google::protobuf::Message& b, bool include_safe);

// SHA-256 (hex) of what determines the results of a run: all fields but run.dir and those marked
// safe_on_resume.
std::string ConfigDigest(const v1::Config& config);

// The arithmetic of a run for --dry-run: per stage prompts, sequences, updates and tokens; bytes a
// learner rank for a model of so many parameters; memory and threads of the workers.
std::string ConfigSummary(const v1::Config& config, int64_t parameters);

}  // namespace r1
