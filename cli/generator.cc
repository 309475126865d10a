#include "cli/generator.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/safetensors.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kTokensUnlessTold = 1024;

absl::StatusOr<std::vector<int32_t>> ReadIds(const JsonFields& fields) {
  const nlohmann::json* list = fields.FindOrNull("ids");
  if (!list->is_array()) return fields.Error("ids", "a list of token ids");
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : *list) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return fields.Error("ids",
                          absl::StrCat("token ids; [", ids.size(), "] is ", DescribeJson(id)));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

Generator::Generator(GenerationSettings settings, ModelSpec spec, const std::string& folder)
    : settings_(std::move(settings)),
      spec_(std::move(spec)),
      tokenizer_(Tokenizer::Load(folder)),
      chat_template_(ModelChatTemplate::Load(folder)) {
  if (settings_.ignore_eos) return;
  stop_ids_ = spec_.eos_ids;
  if (stop_ids_.empty() && tokenizer_.ok()) stop_ids_ = {(*tokenizer_)->eos_id()};
  // Small models often keep the ids of a large one's tokenizer in their files.
  std::erase_if(stop_ids_, [&](int32_t id) { return id < 0 || id >= spec_.vocab; });
}

absl::StatusOr<std::unique_ptr<Generator>> Generator::Load(const std::string& folder,
                                                           GenerationSettings settings) {
  R1_ASSIGN_OR_RETURN(ModelSpec spec, ReadModelSpec(folder));
  std::unique_ptr<Generator> generator(new Generator(std::move(settings), std::move(spec), folder));
  const bool has_tokenizer = generator->tokenizer_.ok();
  if (!has_tokenizer && !absl::IsNotFound(generator->tokenizer_.status())) {
    return generator->tokenizer_.status();
  }
  if (!has_tokenizer && !generator->settings_.stops.empty()) {
    return Annotate(generator->tokenizer_.status(), "--stop needs a tokenizer");
  }
  R1_ASSIGN_OR_RETURN(generator->engine_,
                      rollout::Engine::Create(generator->spec_, generator->settings_.engine));
  R1_ASSIGN_OR_RETURN(const WeightsSnapshot weights, ReadModelFolder(folder, generator->spec_));
  R1_RETURN_IF_ERROR(generator->engine_->LoadWeights(weights));
  return generator;
}

JsonlRow Generator::PromptRow(const std::string& prompt) const {
  JsonlRow row;
  row.where = "--prompt";
  row.object = settings_.chat
                   ? nlohmann::json{{"messages", {{{"role", "user"}, {"content", prompt}}}}}
                   : nlohmann::json{{"prompt", prompt}};
  row.text = DumpJson(row.object);
  return row;
}

absl::StatusOr<std::vector<int32_t>> Generator::PromptIds(const JsonlRow& row) const {
  R1_RETURN_IF_ERROR(row.status);
  const JsonFields fields(row.object, row.where);
  const bool has_prompt = fields.FindOrNull("prompt") != nullptr;
  const bool has_messages = fields.FindOrNull("messages") != nullptr;
  const bool has_ids = fields.FindOrNull("ids") != nullptr;
  if (has_prompt + has_messages + has_ids != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(row.where, ": expected one of \"prompt\", \"messages\" and \"ids\""));
  }
  if (has_ids) return ReadIds(fields);
  if (!tokenizer_.ok()) return Annotate(tokenizer_.status(), row.where);
  if (has_messages) return MessageIds(row);
  R1_ASSIGN_OR_RETURN(const std::string prompt, fields.String("prompt"));
  if (settings_.chat) {
    JsonlRow chat = PromptRow(prompt);
    chat.where = row.where;
    return MessageIds(chat);
  }
  R1_ASSIGN_OR_RETURN(const bool add_special_tokens, fields.Bool("add_special_tokens", true));
  absl::StatusOr<std::vector<int32_t>> ids = (*tokenizer_)->Encode(prompt);
  if (!ids.ok()) return Annotate(ids.status(), row.where);
  return add_special_tokens ? (*tokenizer_)->AddSpecialTokens(*std::move(ids)) : ids;
}

// The row holds the template's variables, in their order; a reply is to be generated unless it
// says otherwise.
absl::StatusOr<std::vector<int32_t>> Generator::MessageIds(const JsonlRow& row) const {
  if (!chat_template_.ok()) return Annotate(chat_template_.status(), row.where);
  ordered_json variables = ordered_json::parse(row.text, nullptr, /*allow_exceptions=*/false);
  R1_CHECK(variables.is_object());  // the reader of the row has parsed it before
  if (!variables.contains("add_generation_prompt")) variables["add_generation_prompt"] = true;
  R1_ASSIGN_OR_RETURN(const RenderedChat chat, chat_template_->Render(variables.dump(), row.where));
  absl::StatusOr<std::vector<int32_t>> ids = EncodeChat(**tokenizer_, chat);
  if (!ids.ok()) return Annotate(ids.status(), row.where);
  return ids;
}

bool Generator::IsStopId(int32_t id) const {
  return std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
}

absl::Status Generator::Submit(const JsonlRow& row, Task* task, const OnText& on_text) {
  rollout::GroupRequest request;
  R1_ASSIGN_OR_RETURN(request.prompt_ids, PromptIds(row));
  // The last token of a response needs no position, for it is only drawn.
  const int64_t room = spec_.positions_max - static_cast<int64_t>(request.prompt_ids.size()) + 1;
  const int64_t tokens_max = settings_.tokens_max > 0
                                 ? settings_.tokens_max
                                 : std::max<int64_t>(1, std::min(kTokensUnlessTold, room));
  request.request_id = task->row;
  request.sample_indices.resize(static_cast<size_t>(settings_.samples));
  std::iota(request.sample_indices.begin(), request.sample_indices.end(), 0u);
  request.temperature = settings_.temperature;
  request.filter = settings_.filter;
  request.raw_logprobs = settings_.raw_logprobs;
  request.response_tokens_max = static_cast<uint32_t>(tokens_max);
  request.stop_ids = stop_ids_;
  request.run_seed = settings_.seed;
  request.purpose = RngPurpose::kEvalSample;
  request.group_id = rows_done_ + task->row;
  if (tokenizer_.ok()) {
    task->texts = std::vector<GrowingText>(request.sample_indices.size(),
                                           GrowingText(**tokenizer_, settings_.stops));
    request.stop_when = [this, task, on_text](uint32_t sample, int32_t token) {
      GrowingText& text = task->texts[sample];
      const bool stopped = !IsStopId(token) && text.Append(token);
      if (on_text != nullptr && sample == 0) on_text(text.TakeSettled());
      return stopped;
    };
  }
  task->missing = request.sample_indices.size();
  task->samples.resize(task->missing);
  const absl::Status submitted = engine_->Submit(std::move(request));
  return submitted.ok()
             ? submitted
             : absl::Status(submitted.code(), absl::StrCat(row.where, ": ", submitted.message()));
}

ordered_json Generator::Describe(rollout::GeneratedSample sample, Task* task) const {
  ordered_json text;
  if (!task->texts.empty()) {
    task->texts[sample.sample_index].Finish();
    text = task->texts[sample.sample_index].text();
  }
  ordered_json described = {{"ids", std::move(sample.token_ids)},
                            {"text", std::move(text)},
                            {"logprobs", std::move(sample.logprobs)}};
  if (settings_.raw_logprobs) described["raw_logprobs"] = std::move(sample.raw_logprobs);
  described["finish_reason"] = sample.stopped ? "stop" : "length";
  return described;
}

std::vector<absl::StatusOr<ordered_json>> Generator::Run(const std::vector<JsonlRow>& rows,
                                                         const OnText& on_text) {
  std::vector<absl::StatusOr<ordered_json>> results(rows.size(), absl::UnknownError("not done"));
  std::vector<Task> tasks(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    tasks[i].row = i;
    const absl::Status submitted = Submit(rows[i], &tasks[i], on_text);
    if (!submitted.ok()) results[i] = submitted;
  }
  absl::Status failure = absl::OkStatus();
  while (!engine_->idle() && failure.ok()) {
    if (ProcessStopSignal().raised()) failure = absl::CancelledError("stopped by a signal");
    absl::StatusOr<std::vector<rollout::GeneratedSample>> finished = engine_->Step();
    if (!finished.ok()) failure = finished.status();
    if (!failure.ok()) break;
    for (rollout::GeneratedSample& sample : *finished) {
      Task& task = tasks[sample.request_id];
      const uint32_t index = sample.sample_index;
      task.samples[index] = Describe(std::move(sample), &task);
      if (on_text != nullptr && index == 0 && !task.texts.empty()) {
        on_text(task.texts[0].TakeSettled());
      }
      if (--task.missing > 0) continue;
      results[task.row] = task.samples.size() == 1
                              ? std::move(task.samples[0])
                              : ordered_json{{"samples", std::move(task.samples)}};
    }
  }
  for (const Task& task : tasks) {
    if (task.missing == 0) continue;
    engine_->Cancel(task.row);
    if (!failure.ok()) results[task.row] = Annotate(failure, rows[task.row].where);
  }
  rows_done_ += rows.size();
  return results;
}

}  // namespace r1::cli
