#include "cli/evaluation/engine_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "common/json.h"
#include "common/prompt_source.h"
#include "common/r1_prompts.h"
#include "common/safetensors.h"
#include "common/stop_ids.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

constexpr absl::string_view kThinkOpening = "<think>\n";
// Groups that wait in the engine beside those that run: prompts are encoded as they are needed.
constexpr int kWaitingGroups = 32;

}  // namespace

absl::StatusOr<std::unique_ptr<EngineSource>> EngineSource::Load(
    const Options& options, const v1::EvaluationSuite& suite,
    const std::vector<EvaluationProblem>& problems) {
  std::unique_ptr<EngineSource> source(new EngineSource(options, suite, problems));
  R1_ASSIGN_OR_RETURN(source->spec_, ReadModelSpec(options.model));
  R1_ASSIGN_OR_RETURN(source->tokenizer_, Tokenizer::Load(options.model));
  const std::string& style = suite.prompt().style();
  if (style == "chat") source->template_ = ModelChatTemplate::Load(options.model);
  if (style == "r1_zero") source->template_ = ModelChatTemplate::OfSource(R1ZeroTemplate());
  if (style != "plain" && !source->template_.ok()) {
    return Annotate(source->template_.status(),
                    "prompt.style = \"chat\" (a base model needs --set prompt.style=r1_zero or "
                    "plain)");
  }
  R1_ASSIGN_OR_RETURN(source->weights_, ReadModelFolder(options.model, source->spec_));
  // Small models often keep the ids of a large one's tokenizer in their files.
  source->stop_ids_ = StopIds(source->spec_, *source->tokenizer_);
  std::erase_if(source->stop_ids_, [&](int32_t id) { return id >= source->spec_.vocab; });
  return source;
}

std::string EngineSource::ModelDigest() const {
  return absl::StrFormat("%016x", weights_.Digest());
}

std::string EngineSource::ExamplePrompt() const {
  const absl::StatusOr<Prompt> prompt = MakePrompt(problems_[0]);
  return prompt.ok() ? prompt->text : "";
}

absl::StatusOr<EngineSource::Prompt> EngineSource::MakePrompt(
    const EvaluationProblem& problem) const {
  const bool force_think = suite_.prompt().force_think();
  const std::string where = absl::StrCat("problem ", problem.id);
  Prompt prompt;
  if (suite_.prompt().style() == "plain") {
    PromptRow row;
    row.prompt_id = problem.id;
    row.prompt = problem.prompt;
    row.data_end = row.prompt.size();
    if (force_think) absl::StrAppend(&row.prompt, kThinkOpening);
    R1_ASSIGN_OR_RETURN(prompt.ids, EncodePrompt(*tokenizer_, row));
    prompt.text = row.prompt;
  } else {
    const nlohmann::json variables = {
        {"messages", {{{"role", "user"}, {"content", problem.prompt}}}},
        {"add_generation_prompt", true}};
    R1_ASSIGN_OR_RETURN(RenderedChat chat, template_->Render(DumpJson(variables), where));
    if (force_think) ForceThinking(chat);
    absl::StatusOr<std::vector<int32_t>> ids = EncodeChat(*tokenizer_, chat);
    if (!ids.ok()) return Annotate(ids.status(), where);
    // R1-Zero's prompt is no chat template of the model's, which would write its own.
    if (suite_.prompt().style() == "r1_zero" && tokenizer_->bos_id() >= 0) {
      ids->insert(ids->begin(), tokenizer_->bos_id());
    }
    prompt.ids = *std::move(ids);
    prompt.text = std::move(chat.text);
  }
  prompt.think_prefilled =
      absl::EndsWith(prompt.text, kThinkOpening) || absl::EndsWith(prompt.text, "<think>");
  return prompt;
}

absl::Status EngineSource::StartEngine() {
  if (engine_ != nullptr) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(engine_, rollout::Engine::Create(spec_, options_.engine));
  return engine_->LoadWeights(weights_);
}

absl::Status EngineSource::Submit(uint64_t request_id, Group& group, const OnSample& on_sample) {
  R1_ASSIGN_OR_RETURN(Prompt prompt, MakePrompt(problems_[group.problem]));
  group.think_prefilled = prompt.think_prefilled;
  // The last token of a response needs no position, for it is only drawn.
  const int64_t room = spec_.positions_max - static_cast<int64_t>(prompt.ids.size()) + 1;
  if (room < 1) {
    for (const uint32_t sample : group.samples) {
      const int index = group.greedy ? SampleId::kGreedy : static_cast<int>(sample);
      R1_RETURN_IF_ERROR(on_sample({.id = {group.problem, index},
                                    .text = "",
                                    .tokens = 0,
                                    .finish_reason = "prompt_too_long",
                                    .think_prefilled = prompt.think_prefilled}));
    }
    return absl::OkStatus();
  }
  rollout::GroupRequest request;
  request.request_id = request_id;
  request.prompt_ids = std::move(prompt.ids);
  request.sample_indices = group.samples;
  request.temperature = group.greedy ? 0 : suite_.sampling().temperature();
  if (!group.greedy) request.filter.top_p = suite_.sampling().top_p();
  request.response_tokens_max =
      static_cast<uint32_t>(std::min<int64_t>(suite_.sampling().tokens_max(), room));
  request.stop_ids = stop_ids_;
  request.run_seed = options_.seed;
  request.purpose = RngPurpose::kEvalSample;
  request.group_id = group.problem;
  return Annotate(engine_->Submit(std::move(request)),
                  absl::StrCat("problem ", problems_[group.problem].id));
}

RawSample EngineSource::Describe(rollout::GeneratedSample sample, const Group& group) const {
  RawSample raw;
  raw.id = {group.problem,
            group.greedy ? SampleId::kGreedy : static_cast<int>(sample.sample_index)};
  raw.tokens = static_cast<int64_t>(sample.token_ids.size());
  raw.finish_reason = sample.stopped ? "stop" : "length";
  raw.think_prefilled = group.think_prefilled;
  if (sample.stopped) sample.token_ids.pop_back();
  raw.text = tokenizer_->Decode(sample.token_ids, /*skip_special=*/true);
  return raw;
}

absl::Status EngineSource::Generate(const std::vector<SampleId>& wanted, const OnSample& on_sample,
                                    std::map<std::string, int64_t>&) {
  R1_RETURN_IF_ERROR(StartEngine());
  std::vector<Group> groups;
  for (const SampleId& id : wanted) {
    const bool greedy = id.sample == SampleId::kGreedy;
    if (groups.empty() || groups.back().problem != id.problem || groups.back().greedy != greedy) {
      groups.push_back({.problem = id.problem, .greedy = greedy, .samples = {}});
    }
    groups.back().samples.push_back(greedy ? 0 : static_cast<uint32_t>(id.sample));
  }
  size_t next = 0;
  while (next < groups.size() || !engine_->idle()) {
    if (ProcessStopSignal().raised()) return absl::CancelledError("stopped by a signal");
    for (; next < groups.size() && engine_->stats().waiting_groups < kWaitingGroups; ++next) {
      R1_RETURN_IF_ERROR(Submit(next, groups[next], on_sample));
    }
    if (engine_->idle()) continue;
    R1_ASSIGN_OR_RETURN(std::vector<rollout::GeneratedSample> finished, engine_->Step());
    for (rollout::GeneratedSample& sample : finished) {
      const Group& group = groups[sample.request_id];
      R1_RETURN_IF_ERROR(on_sample(Describe(std::move(sample), group)));
    }
  }
  return absl::OkStatus();
}

}  // namespace r1::cli
