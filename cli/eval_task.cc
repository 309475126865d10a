// r1 eval without a suite: accuracy of a model folder on a built-in task or a JSONL file.

#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/eval_modes.h"
#include "common/dataset.h"
#include "common/prompt_source.h"
#include "common/safetensors.h"
#include "common/stop_ids.h"
#include "common/stop_signal.h"
#include "common/tasks/task.h"
#include "common/tokenizer.h"
#include "learner/evaluation_metrics.h"
#include "rewards/reward.h"
#include "rollout/engine/engine.h"

namespace r1::cli {
namespace {

struct EvalSettings {
  std::string model;
  std::string task;  // empty: data
  std::string data;
  std::string answer_marker;
  int64_t prompts = 0;
  int64_t samples = 0;
  int64_t tokens_max = 0;
  int64_t threads = 0;
  uint64_t seed = 1;
  double temperature = 1;
};

struct LoadedModel {
  ModelSpec spec;
  WeightsSnapshot weights;
  std::unique_ptr<Tokenizer> tokenizer;
};

absl::StatusOr<LoadedModel> LoadModel(const std::string& folder) {
  LoadedModel model;
  R1_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(folder));
  R1_ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Load(folder));
  R1_ASSIGN_OR_RETURN(model.weights, ReadModelFolder(folder, model.spec));
  return model;
}

absl::StatusOr<std::unique_ptr<PromptSource>> OpenSource(const EvalSettings& settings,
                                                         const Tokenizer& tokenizer) {
  if (!settings.data.empty()) {
    v1::DataConfig data;
    data.add_train_files(settings.data);
    data.add_eval_files(settings.data);
    data.set_prompt_template("{prompt}");
    data.set_answer_marker(settings.answer_marker);
    data.set_prompt_tokens_max(1 << 20);
    return Dataset::Load(data, Dataset::Kind::kAnswers, tokenizer);
  }
  R1_ASSIGN_OR_RETURN(std::unique_ptr<Task> task, MakeTask(settings.task));
  return MakeTaskSource(std::shared_ptr<const Task>(std::move(task)));
}

// Generates and scores; request 2 i holds prompt i's samples, request 2 i + 1 its greedy answer.
class Evaluation {
 public:
  Evaluation(const EvalSettings& settings, const LoadedModel& model, rollout::Engine& engine)
      : settings_(settings), model_(model), engine_(engine) {}

  absl::Status Run(const PromptSource& source) {
    R1_ASSIGN_OR_RETURN(exact_match_, rewards::MakeReward("exact_match"));
    R1_ASSIGN_OR_RETURN(format_, rewards::MakeReward("format"));
    const uint64_t count =
        std::min(source.size(Split::kEval), static_cast<uint64_t>(settings_.prompts));
    results_.resize(count);
    for (uint64_t i = 0; i < count; ++i) {
      rows_.push_back(source.Prompt(Split::kEval, settings_.seed, 0, i));
      R1_RETURN_IF_ERROR(Submit(i, false));
      R1_RETURN_IF_ERROR(Submit(i, true));
    }
    while (!engine_.idle()) {
      if (ProcessStopSignal().raised()) return absl::CancelledError("stopped by a signal");
      R1_ASSIGN_OR_RETURN(const std::vector<rollout::GeneratedSample> finished, engine_.Step());
      for (const rollout::GeneratedSample& sample : finished) Score(sample);
    }
    return absl::OkStatus();
  }

  const std::vector<learner::EvaluatedPrompt>& results() const { return results_; }

 private:
  absl::Status Submit(uint64_t prompt, bool greedy) {
    rollout::GroupRequest request;
    request.request_id = 2 * prompt + (greedy ? 1 : 0);
    R1_ASSIGN_OR_RETURN(request.prompt_ids, EncodePrompt(*model_.tokenizer, rows_[prompt]));
    for (int64_t i = 0; i < (greedy ? 1 : settings_.samples); ++i) {
      request.sample_indices.push_back(static_cast<uint32_t>(i));
    }
    request.temperature = greedy ? 0 : settings_.temperature;
    request.response_tokens_max = static_cast<uint32_t>(settings_.tokens_max);
    request.stop_ids = StopIds(model_.spec, *model_.tokenizer);
    request.run_seed = settings_.seed;
    request.purpose = RngPurpose::kEvalSample;
    request.group_id = request.request_id;
    return engine_.Submit(std::move(request));
  }

  void Score(const rollout::GeneratedSample& sample) {
    const uint64_t prompt = sample.request_id / 2;
    std::vector<int32_t> ids = sample.token_ids;
    if (sample.stopped) ids.pop_back();
    const std::string text = model_.tokenizer->Decode(ids);
    const rewards::RewardInput input{.prompt = rows_[prompt].prompt,
                                     .response = text,
                                     .finished = sample.stopped,
                                     .think_prefilled = rows_[prompt].think_prefilled,
                                     .answer = rows_[prompt].answer,
                                     .columns_json = rows_[prompt].columns_json};
    const learner::EvaluatedSample evaluated{
        .correct = exact_match_->ScoreSample(input).value == 1,
        .well_formed = format_->ScoreSample(input).value == 1,
        .tokens = static_cast<int64_t>(sample.token_ids.size())};
    if (sample.request_id % 2 == 1) {
      results_[prompt].greedy = evaluated;
    } else {
      results_[prompt].sampled.push_back(evaluated);
    }
  }

  const EvalSettings& settings_;
  const LoadedModel& model_;
  rollout::Engine& engine_;
  std::unique_ptr<rewards::Reward> exact_match_;
  std::unique_ptr<rewards::Reward> format_;
  std::vector<PromptRow> rows_;
  std::vector<learner::EvaluatedPrompt> results_;
};

absl::StatusOr<std::map<std::string, double>> Evaluate(const EvalSettings& settings) {
  R1_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(settings.model));
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> source,
                      OpenSource(settings, *model.tokenizer));
  R1_ASSIGN_OR_RETURN(
      const std::unique_ptr<rollout::Engine> engine,
      rollout::Engine::Create(model.spec, {.threads = static_cast<int>(settings.threads)}));
  R1_RETURN_IF_ERROR(engine->LoadWeights(model.weights));
  Evaluation evaluation(settings, model, *engine);
  R1_RETURN_IF_ERROR(evaluation.Run(*source));
  std::map<std::string, double> values;
  learner::AddEvaluationMetrics(settings.task.empty() ? "data" : settings.task,
                                evaluation.results(), values);
  return values;
}

absl::StatusOr<EvalSettings> ReadSettings(const ParsedCommand& parsed) {
  EvalSettings settings{.model = parsed.Value("model"),
                        .task = parsed.Value("task", parsed.Has("data") ? "" : "chain"),
                        .data = parsed.Value("data"),
                        .answer_marker = parsed.Value("answer-marker")};
  if (settings.model.empty())
    return absl::InvalidArgumentError("--model is missing: a folder in Hugging Face layout");
  if (parsed.Has("task") && parsed.Has("data"))
    return absl::InvalidArgumentError("give --task or --data, not both");
  R1_ASSIGN_OR_RETURN(settings.prompts, parsed.IntegerValue("prompts", 512, 1, 1000000));
  R1_ASSIGN_OR_RETURN(settings.samples, parsed.IntegerValue("samples", 1, 1, 1024));
  R1_ASSIGN_OR_RETURN(settings.tokens_max, parsed.IntegerValue("max-tokens", 1024, 1, 1 << 20));
  R1_ASSIGN_OR_RETURN(settings.threads, parsed.IntegerValue("threads", 1, 1, 512));
  R1_ASSIGN_OR_RETURN(const int64_t seed, parsed.IntegerValue("seed", 1, 0, int64_t{1} << 53));
  settings.seed = static_cast<uint64_t>(seed);
  const std::string temperature = parsed.Value("temperature", "1");
  if (!absl::SimpleAtod(temperature, &settings.temperature) || settings.temperature <= 0 ||
      settings.temperature > 100) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--temperature: expected a number above 0 and up to 100, found \"", temperature, "\""));
  }
  return settings;
}

}  // namespace

int EvalTask(const ParsedCommand& parsed) {
  const absl::StatusOr<EvalSettings> settings = ReadSettings(parsed);
  if (!settings.ok()) return ReportError("eval", settings.status());
  const auto values = Evaluate(*settings);
  if (!values.ok()) return ReportError("eval", values.status());
  if (parsed.Has("json")) {
    std::cout << nlohmann::ordered_json(*values).dump(2) << "\n";
    return kExitDone;
  }
  for (const auto& [name, value] : *values)
    std::cout << absl::StreamFormat("%-32s %.4f\n", name, value);
  return kExitDone;
}

}  // namespace r1::cli
