// Each check reads the resolved config and points at the key that a user would change. A section
// that already has a problem is left alone: its other values may be defaults that nobody meant.
#include "common/config_checks.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/config_stage_checks.h"
#include "common/device_name.h"
#include "common/json.h"

namespace r1 {
namespace {

class Checker {
 public:
  Checker(const LoadedConfig& loaded, const ConfigFiles& files, ConfigProblems& problems)
      : loaded_(loaded), config_(loaded.config), files_(files), problems_(problems) {}

  void CheckAll() {
    CheckModel();
    CheckDevice("worker.device", config_.worker().device());
    CheckDevice("learner.device", config_.learner().device());
    CheckOneRank();
    CheckExpertWeights();
    CheckLoopback("learner", config_.learner().address());
    CheckLoopback("status", config_.status().address());
    CheckData("data", config_.data());
    for (const v1::StageConfig& stage : config_.stage()) {
      const std::string path = absl::StrCat("stage.", stage.name());
      CheckData(absl::StrCat(path, ".data"), stage.data());
      if (stage.kind() == "sft") CheckSft(path, stage);
      if (stage.kind() == "grpo") {
        CheckGrpo(path, stage);
      } else if (stage.kind() == "rejection_sampling") {
        CheckRewards(path, stage);
      } else if (stage.reward_size() > 0) {
        Report(absl::StrCat(path, ".reward"),
               absl::StrCat("expected rewards in stages of kind \"grpo\" and "
                            "\"rejection_sampling\" only, found ",
                            stage.reward_size(), " in one of kind \"", stage.kind(), "\""));
      }
    }
  }

 private:
  void Report(const std::string& path, absl::string_view what) {
    problems_.Add(loaded_.Where(path), path, what);
  }

  void CheckModel() {
    if (config_.model().path().empty()) return;
    for (const std::string field : {"model.preset", "model.tokenizer"}) {
      if (!loaded_.IsExplicit(field)) continue;
      Report(field,
             absl::StrCat(
                 "expected nothing beside model.path, which brings its own, found a value; remove ",
                 field, " or model.path"));
    }
    if (!files_.Accepts(config_.model().path())) {
      Report("model.path",
             absl::StrCat("expected a folder with config.json and *.safetensors, found no \"",
                          config_.model().path(), "\" (relative to the current folder)"));
    }
  }

  void CheckDevice(const std::string& path, const std::string& device) {
    if (problems_.AnyIn(path)) return;
    const absl::StatusOr<DeviceName> name = ParseDeviceName(device);
    if (!name.ok()) Report(path, name.status().message());
  }

  // Ranks exchange gradients in host memory; a rank for each GPU does not exist yet.
  void CheckOneRank() {
    if (config_.learner().device() == "cpu" || config_.learner().ranks() == 1) return;
    Report("learner.ranks",
           absl::StrCat("expected 1 with learner.device = \"", config_.learner().device(),
                        "\", found ", config_.learner().ranks()));
  }

  void CheckExpertWeights() {
    const v1::WorkerConfig& worker = config_.worker();
    if (worker.expert_weights() == "bf16" || worker.device() != "cpu") return;
    Report("worker.expert_weights",
           absl::StrCat("expected bf16 with worker.device = \"cpu\", found ",
                        worker.expert_weights()));
  }

  // HOST:PORT on this machine only: plaintext must not leave it.
  void CheckLoopback(const std::string& section, const std::string& address) {
    const std::string path = absl::StrCat(section, ".address");
    if (problems_.AnyIn(path)) return;
    const size_t colon = address.rfind(':');
    const std::string host = address.substr(0, colon);
    int port = -1;
    if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
        port < 0 || port > 65535) {
      Report(path, absl::StrCat("expected HOST:PORT with a port from 0 to 65535, found \"", address,
                                "\""));
    } else if (!IsLoopback(host)) {
      Report(path,
             absl::StrCat(
                 "permission denied: expected a loopback address (127.x.x.x, localhost or [::1]), "
                 "found \"",
                 address,
                 "\"; connections are not encrypted yet, so no other machine may reach them"));
    }
  }

  static bool IsLoopback(const std::string& host) {
    if (host == "localhost" || host == "[::1]") return true;
    // 127.0.0.0/8, written out: a name such as 127.example.org must not pass.
    const bool numeric = host.find_first_not_of("0123456789.") == std::string::npos;
    return absl::StartsWith(host, "127.") && numeric &&
           std::count(host.begin(), host.end(), '.') == 3;
  }

  void CheckData(const std::string& path, const v1::DataConfig& data) {
    if (problems_.AnyIn(path)) return;
    CheckFiles(absl::StrCat(path, ".train_files"), data.train_files());
    CheckFiles(absl::StrCat(path, ".eval_files"), data.eval_files());
    const std::string eval_path = absl::StrCat(path, ".eval_files");
    if (loaded_.IsExplicit(eval_path) && data.eval_files_size() > 0 &&
        data.train_files_size() == 0) {
      Report(eval_path,
             "expected train_files beside eval_files, found none; without them the task's own "
             "prompts are trained on and held out");
    }
    const std::string template_path = absl::StrCat(path, ".prompt_template");
    if (loaded_.IsExplicit(template_path) &&
        !absl::StrContains(data.prompt_template(), "{prompt}")) {
      Report(template_path, absl::StrCat("expected {prompt} where the row's prompt belongs, found ",
                                         TomlString(data.prompt_template())));
    }
  }

  // Only those that this section itself lists: a stage repeats the ones at the top.
  void CheckFiles(const std::string& path,
                  const google::protobuf::RepeatedPtrField<std::string>& names) {
    if (!loaded_.IsExplicit(path)) return;
    for (const std::string& name : names) {
      if (files_.Accepts(name)) continue;
      Report(path, absl::StrCat("expected an existing file, found no ", TomlString(name),
                                " (relative to the current folder)"));
    }
  }

  void CheckSft(const std::string& path, const v1::StageConfig& stage) {
    const std::string section = absl::StrCat(path, ".sft");
    if (problems_.AnyIn(section)) return;
    if (stage.sft().stop_accuracy_low() > stage.sft().stop_accuracy_high()) {
      Report(absl::StrCat(section, ".stop_accuracy_low"),
             absl::StrCat("expected at most stop_accuracy_high = ",
                          TomlNumber(stage.sft().stop_accuracy_high()), ", found ",
                          TomlNumber(stage.sft().stop_accuracy_low())));
    }
  }

  void CheckGrpo(const std::string& path, const v1::StageConfig& stage) {
    CheckRewards(path, stage);
    const std::string temperature = absl::StrCat(path, ".sampling.temperature");
    if (!problems_.AnyIn(absl::StrCat(path, ".sampling")) && stage.sampling().temperature() == 0) {
      const bool own = loaded_.IsExplicit(temperature);
      Report(own ? temperature : "sampling.temperature",
             absl::StrCat("expected above 0 for the grpo stage ", path,
                          ", found 0; greedy samples of a prompt are all equal and teach nothing"));
    }
    const std::string section = absl::StrCat(path, ".grpo");
    if (problems_.AnyIn(section)) return;
    const v1::GrpoConfig& grpo = stage.grpo();
    const int64_t sequences = int64_t{grpo.prompts_per_step()} * grpo.samples_per_prompt();
    if (sequences % grpo.sequences_per_update() != 0) {
      Report(absl::StrCat(section, ".sequences_per_update"),
             absl::StrCat("expected a divisor of prompts_per_step * samples_per_prompt = ",
                          grpo.prompts_per_step(), " * ", grpo.samples_per_prompt(), " = ",
                          sequences, " sequences, found ", grpo.sequences_per_update(),
                          NearestDivisors(sequences, grpo.sequences_per_update())));
    }
  }

  static std::string NearestDivisors(int64_t sequences, int64_t wanted) {
    int64_t below = 1;
    int64_t above = sequences;
    for (int64_t small = 1; small * small <= sequences; ++small) {
      if (sequences % small != 0) continue;
      for (const int64_t divisor : {small, sequences / small}) {
        if (divisor < wanted) below = std::max(below, divisor);
        if (divisor > wanted) above = std::min(above, divisor);
      }
    }
    if (wanted > sequences) return absl::StrCat("; the largest is ", sequences);
    return absl::StrCat("; the nearest are ", below, " and ", above);
  }

  void CheckRewards(const std::string& path, const v1::StageConfig& stage) {
    if (problems_.AnyIn(path)) return;
    if (stage.reward_size() == 0) {
      Report(path,
             "expected at least one [[stage.reward]] in a stage of kind "
             "\"grpo\" or \"rejection_sampling\", found none");
      return;
    }
    for (const v1::RewardConfig& reward : stage.reward()) {
      CheckReward(absl::StrCat(path, ".reward.", reward.name()), reward);
    }
    for (const v1::RewardConfig& reward : stage.reward()) {
      const auto& points = reward.weight().points();
      if (std::any_of(points.begin(), points.end(),
                      [](const v1::SchedulePoint& point) { return point.value() != 0; })) {
        return;
      }
    }
    Report(absl::StrCat(path, ".reward"),
           "expected a reward with a weight other than 0, found none");
  }

  void CheckReward(const std::string& path, const v1::RewardConfig& reward) {
    const v1::OverlongRewardConfig& overlong = reward.overlong();
    if (overlong.soft_punish_cache() > overlong.max_completion_len()) {
      Report(absl::StrCat(path, ".overlong.soft_punish_cache"),
             absl::StrCat("expected at most max_completion_len = ", overlong.max_completion_len(),
                          ", found ", overlong.soft_punish_cache()));
    }
    const v1::RewardRowsConfig& rows = reward.rows();
    if (!rows.column().empty() && rows.values().empty()) {
      Report(absl::StrCat(path, ".rows.values"),
             "expected the values of rows.column that this reward judges, found none");
    }
    if (rows.column().empty() && !rows.values().empty()) {
      Report(absl::StrCat(path, ".rows.column"),
             "expected the column that has one of rows.values, found none");
    }
    if (reward.has_plugin()) CheckPlugin(absl::StrCat(path, ".plugin"), reward.plugin());
  }

  void CheckPlugin(const std::string& path, const v1::RewardPluginConfig& plugin) {
    const int places = (plugin.python().empty() ? 0 : 1) + (plugin.command().empty() ? 0 : 1) +
                       (plugin.library().empty() ? 0 : 1) + (plugin.address().empty() ? 0 : 1);
    if (places != 1) {
      Report(path, absl::StrCat("expected one of python, command, library and address, found ",
                                places, " of them"));
    }
    if (plugin.score_min() >= plugin.score_max()) {
      Report(absl::StrCat(path, ".score_max"),
             absl::StrCat("expected more than score_min = ", plugin.score_min(), ", found ",
                          plugin.score_max()));
    }
    const std::string config_path = absl::StrCat(path, ".config_json");
    const auto parsed = ParseJson(plugin.config_json(), "expected a JSON object");
    if (!parsed.ok()) {
      Report(config_path, parsed.status().message());
    } else if (!parsed->is_object()) {
      Report(config_path, absl::StrCat("expected a JSON object, found ", DescribeJson(*parsed)));
    }
  }

  const LoadedConfig& loaded_;
  const v1::Config& config_;
  const ConfigFiles& files_;
  ConfigProblems& problems_;
};

}  // namespace

void CheckConfig(const LoadedConfig& loaded, const ConfigFiles& files, ConfigProblems& problems) {
  Checker(loaded, files, problems).CheckAll();
  CheckStageReferences(loaded, files, problems);
}

}  // namespace r1
