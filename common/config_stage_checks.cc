#include "common/config_stage_checks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config_schema.h"
#include "common/nearest_name.h"
#include "common/schedule.h"
#include "common/stage_init.h"

namespace r1 {
namespace {

constexpr char kTotal[] = "total";

class StageChecker {
 public:
  StageChecker(const LoadedConfig& loaded, const ConfigFiles& files, ConfigProblems& problems,
               int index)
      : loaded_(loaded),
        config_(loaded.config),
        files_(files),
        problems_(problems),
        index_(index),
        stage_(loaded.config.stage(index)),
        path_(absl::StrCat("stage.", stage_.name())) {}

  void CheckAll() {
    CheckModel(absl::StrCat(path_, ".init"), stage_.init());
    CheckPrompts();
    CheckResponseLimit();
    CheckWeights();
    if (stage_.has_sft()) CheckSft();
    if (stage_.has_distill()) CheckDistill();
    if (stage_.has_rejection_sampling()) CheckRejectionSampling();
  }

 private:
  void Report(const std::string& path, absl::string_view what) {
    problems_.Add(loaded_.Where(path), path, what);
  }

  // Names of the stages before this one; of one kind only when it is given.
  std::vector<std::string> EarlierStages(absl::string_view kind) const {
    std::vector<std::string> names;
    for (int i = 0; i < index_; ++i) {
      if (kind.empty() || config_.stage(i).kind() == kind) names.push_back(config_.stage(i).name());
    }
    return names;
  }

  // `kind` empty: any.
  void CheckEarlierStage(const std::string& path, const std::string& name, absl::string_view kind) {
    const std::vector<std::string> earlier = EarlierStages(kind);
    if (std::find(earlier.begin(), earlier.end(), name) != earlier.end()) return;
    const int found = FindStage(config_, name);
    const std::string why =
        found < 0         ? DidYouMean(name, earlier)
        : found == index_ ? ", which is this stage"
        : found > index_  ? ", which comes later"
                         : absl::StrCat(", which is of kind \"", config_.stage(found).kind(), "\"");
    Report(path,
           absl::StrCat("expected the name of an earlier ", kind, kind.empty() ? "" : " ",
                        "stage (", earlier.empty() ? "there is none" : absl::StrJoin(earlier, ", "),
                        "), found ", TomlString(name), why));
  }

  // A text as `init` takes it.
  void CheckModel(const std::string& path, const std::string& text) {
    if (problems_.AnyIn(path)) return;
    const absl::StatusOr<StageInit> init = ParseStageInit(text);
    if (!init.ok()) return Report(path, init.status().message());
    if (init->kind == StageInit::Kind::kStage) return CheckEarlierStage(path, init->name, "");
    if (init->kind == StageInit::Kind::kPreset) return CheckPreset(path, *init);
    if (init->kind != StageInit::Kind::kFolder || files_.Exists(init->name)) return;
    std::vector<std::string> known = {"previous", "base"};
    for (const std::string& name : EarlierStages("")) known.push_back(absl::StrCat("stage:", name));
    Report(path, absl::StrCat("expected \"previous\", \"base\", \"stage:NAME\", \"preset:NAME\" or "
                              "an existing folder, found ",
                              TomlString(text), DidYouMean(text, known)));
  }

  void CheckPreset(const std::string& path, const StageInit& init) {
    const auto check = [&](const char* what, const std::string& name, const char* field) {
      const auto& rule = RuleOf(*v1::ModelConfig::descriptor()->FindFieldByName(field)).one_of();
      const std::vector<std::string> known(rule.begin(), rule.end());
      if (std::find(known.begin(), known.end(), name) != known.end()) return;
      Report(path, absl::StrCat("expected a ", what, " (", absl::StrJoin(known, ", "), "), found ",
                                TomlString(name), DidYouMean(name, known)));
    };
    check("preset", init.name, "preset");
    if (!init.tokenizer.empty()) check("tokenizer", init.tokenizer, "tokenizer");
    if (init.tokenizer.empty() && !config_.model().path().empty()) {
      Report(path, absl::StrCat("expected preset:NAME:TOKENIZER, since model.path has no built-in "
                                "tokenizer, found ",
                                TomlString(absl::StrCat("preset:", init.name))));
    }
  }

  void CheckPrompts() {
    const std::string path = absl::StrCat(path_, ".data");
    if (problems_.AnyIn(path)) return;
    const v1::DataConfig& data = stage_.data();
    const std::string key = loaded_.IsExplicit(absl::StrCat(path, ".prompts_from_stage"))
                                ? absl::StrCat(path, ".prompts_from_stage")
                                : "data.prompts_from_stage";
    if (!data.prompts_from_stage().empty()) {
      CheckEarlierStage(key, data.prompts_from_stage(), "rejection_sampling");
    }
    if (data.pass_rate_min() > data.pass_rate_max()) {
      Report(absl::StrCat(path, ".pass_rate_min"),
             absl::StrCat("expected at most pass_rate_max = ", TomlNumber(data.pass_rate_max()),
                          ", found ", TomlNumber(data.pass_rate_min())));
    }
    const bool ordered = data.order() != "shuffled";
    if (ordered && data.prompts_from_stage().empty() && data.train_files().empty()) {
      Report(
          absl::StrCat(path, ".order"),
          absl::StrCat("expected \"shuffled\", since a task's prompts have no pass rates, found ",
                       TomlString(data.order()), "; name data.prompts_from_stage"));
    }
  }

  // Only a grpo stage has updates at which its sampling can change.
  void CheckResponseLimit() {
    const std::string own = absl::StrCat(path_, ".sampling.response_tokens_max");
    const std::string path = loaded_.IsExplicit(own) ? own : "sampling.response_tokens_max";
    if (problems_.AnyIn(path)) return;
    const v1::Schedule& limit = stage_.sampling().response_tokens_max();
    for (const v1::SchedulePoint& point : limit.points()) {
      if (point.value() == std::trunc(point.value())) continue;
      Report(path, absl::StrCat("expected whole tokens, found ", TomlNumber(point.value())));
    }
    if (stage_.kind() == "grpo" || IsConstant(limit)) return;
    Report(path, absl::StrCat("expected one number for a stage of kind \"", stage_.kind(),
                              "\", found a schedule; only grpo changes it at an update"));
  }

  void CheckWeights() {
    for (const v1::RewardConfig& reward : stage_.reward()) {
      const std::string path = absl::StrCat(path_, ".reward.", reward.name(), ".weight");
      if (stage_.kind() == "grpo" || problems_.AnyIn(path) || IsConstant(reward.weight())) continue;
      Report(path, absl::StrCat("expected one number for a stage of kind \"", stage_.kind(),
                                "\", found a schedule; only grpo changes it at an update"));
    }
  }

  void CheckSft() {
    const std::string path = absl::StrCat(path_, ".sft");
    if (problems_.AnyIn(path)) return;
    const v1::SftConfig& sft = stage_.sft();
    if (!sft.from_stage().empty()) {
      CheckEarlierStage(absl::StrCat(path, ".from_stage"), sft.from_stage(), "rejection_sampling");
    }
    // A resolved config names every key: a default is what nobody chose.
    v1::SftConfig defaults;
    FillDefaults(defaults);
    const std::string updates = absl::StrCat(path, ".updates_max");
    if (sft.epochs() > 0 && sft.updates_max() != defaults.updates_max()) {
      Report(updates, "expected either epochs or updates_max, found both; remove one");
    }
    const std::string demonstrations = absl::StrCat(path, ".demonstrations");
    if (!sft.from_stage().empty() && sft.demonstrations() != defaults.demonstrations()) {
      Report(demonstrations,
             "expected nothing beside from_stage, which brings the demonstrations, found a value; "
             "remove one of them");
    }
    if (!sft.chat_template().empty() && !files_.Accepts(sft.chat_template())) {
      Report(absl::StrCat(path, ".chat_template"),
             absl::StrCat("expected an existing file, found no ", TomlString(sft.chat_template()),
                          " (relative to the current folder)"));
    }
  }

  void CheckDistill() {
    const std::string path = absl::StrCat(path_, ".distill");
    if (problems_.AnyIn(path)) return;
    const v1::DistillConfig& distill = stage_.distill();
    const std::string teacher = absl::StrCat(path, ".teacher");
    CheckModel(teacher, distill.teacher());
    const absl::StatusOr<StageInit> init = ParseStageInit(distill.teacher());
    const bool trained = init.ok() && (init->kind == StageInit::Kind::kStage ||
                                       init->kind == StageInit::Kind::kFolder);
    if (init.ok() && !trained) {
      Report(teacher, absl::StrCat("expected \"stage:NAME\" or a folder, found ",
                                   TomlString(distill.teacher())));
    }
    const int64_t sequences = int64_t{distill.prompts_per_step()} * distill.samples_per_prompt();
    if (sequences % distill.sequences_per_update() != 0) {
      Report(absl::StrCat(path, ".sequences_per_update"),
             absl::StrCat("expected a divisor of prompts_per_step * samples_per_prompt = ",
                          sequences, " sequences, found ", distill.sequences_per_update()));
    }
  }

  void CheckRejectionSampling() {
    const std::string path = absl::StrCat(path_, ".rejection_sampling");
    if (problems_.AnyIn(path)) return;
    const v1::RejectionSamplingConfig& config = stage_.rejection_sampling();
    const bool has_rows =
        !stage_.data().train_files().empty() || !stage_.data().prompts_from_stage().empty();
    if (config.prompts() == 0 && !has_rows) {
      Report(absl::StrCat(path, ".prompts"),
             "expected a number of prompts, since a task's never end, found 0");
    }
    if (config.keep().empty()) {
      Report(absl::StrCat(path, ".keep"),
             "expected at least one rule, as in keep = [{ name = \"exact_match\", min = 1 }], "
             "found none");
    }
    for (const v1::KeepRuleConfig& rule : config.keep()) CheckRule(path, rule);
    if (config.tokens_max() > 0 && config.tokens_min() > config.tokens_max()) {
      Report(absl::StrCat(path, ".tokens_min"),
             absl::StrCat("expected at most tokens_max = ", config.tokens_max(), ", found ",
                          config.tokens_min()));
    }
    for (const v1::MixSourceConfig& source : config.mix()) {
      if (files_.Accepts(source.path())) continue;
      Report(absl::StrCat(path, ".mix.", source.name(), ".path"),
             absl::StrCat("expected an existing file, found no ", TomlString(source.path()),
                          " (relative to the current folder)"));
    }
  }

  void CheckRule(const std::string& section, const v1::KeepRuleConfig& rule) {
    const std::string path = absl::StrCat(section, ".keep.", rule.name());
    std::vector<std::string> known;
    for (const v1::RewardConfig& reward : stage_.reward()) known.push_back(reward.name());
    known.push_back(kTotal);
    if (std::find(known.begin(), known.end(), rule.name()) == known.end()) {
      Report(absl::StrCat(path, ".name"),
             absl::StrCat("expected a reward of the stage (", absl::StrJoin(known, ", "),
                          "), found ", TomlString(rule.name()), DidYouMean(rule.name(), known)));
    }
    if (rule.min() > rule.max()) {
      Report(absl::StrCat(path, ".min"),
             absl::StrCat("expected at most max = ", TomlNumber(rule.max()), ", found ",
                          TomlNumber(rule.min())));
    }
  }

  const LoadedConfig& loaded_;
  const v1::Config& config_;
  const ConfigFiles& files_;
  ConfigProblems& problems_;
  const int index_;
  const v1::StageConfig& stage_;
  const std::string path_;
};

}  // namespace

void CheckStageReferences(const LoadedConfig& loaded, const ConfigFiles& files,
                          ConfigProblems& problems) {
  for (int i = 0; i < loaded.config.stage_size(); ++i) {
    StageChecker(loaded, files, problems, i).CheckAll();
  }
}

}  // namespace r1
