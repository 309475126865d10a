#include "common/training_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/permutation.h"
#include "common/prompt_source.h"

namespace r1 {
namespace {

constexpr char kPlaceholder[] = "{prompt}";

// The part of a rendered chat from byte `begin` on.
RenderedChat Tail(const RenderedChat& chat, size_t begin) {
  RenderedChat tail;
  tail.text = chat.text.substr(begin);
  for (const TextRange& range : chat.content) {
    if (range.end <= begin) continue;
    tail.content.push_back({std::max(range.begin, begin) - begin, range.end - begin});
  }
  return tail;
}

// Turns of one conversation as token ids, and which of them the assistant wrote.
class ConversationEncoder {
 public:
  ConversationEncoder(const nlohmann::ordered_json& row, const std::string& where,
                      const TrainTextOptions& options)
      : row_(row), where_(where), options_(options) {}

  absl::StatusOr<std::vector<TrainText>> Encode() {
    const auto& messages = row_.at("messages");
    std::vector<TrainText> texts;
    std::string seen;  // the text of the sequence that is being made
    for (size_t i = 0; i < messages.size(); ++i) {
      if (!IsAssistant(messages[i])) continue;
      R1_ASSIGN_OR_RETURN(const RenderedChat prompt, Render(i, /*add_generation_prompt=*/true));
      R1_ASSIGN_OR_RETURN(const RenderedChat turn, Render(i + 1, /*add_generation_prompt=*/false));
      if (!absl::StartsWith(turn.text, prompt.text)) {
        return absl::InvalidArgumentError(absl::StrCat(
            where_, ": message ", i, ": the chat template shows the conversation before this ",
            "turn of the assistant otherwise than it prompts for it"));
      }
      const bool goes_on = !texts.empty() && absl::StartsWith(prompt.text, seen);
      if (!goes_on) {
        texts.emplace_back();
        seen.clear();
      }
      TrainText& text = texts.back();
      R1_RETURN_IF_ERROR(AppendPrompt(Tail(prompt, seen.size()), text));
      R1_RETURN_IF_ERROR(AppendTurn(turn.text.substr(prompt.text.size()), text));
      seen = turn.text;
    }
    if (texts.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where_, ": messages: expected at least one of role \"assistant\""));
    }
    for (TrainText& text : texts) text.ids.resize(static_cast<size_t>(text.targets.back().end));
    return texts;
  }

 private:
  static bool IsAssistant(const nlohmann::ordered_json& message) {
    const auto role = message.is_object() ? message.find("role") : message.end();
    return role != message.end() && *role == "assistant";
  }

  // The first `count` messages, with everything else that the row gives the template.
  absl::StatusOr<RenderedChat> Render(size_t count, bool add_generation_prompt) const {
    nlohmann::ordered_json variables = row_;
    auto& messages = variables["messages"];
    messages.erase(messages.begin() + static_cast<int64_t>(count), messages.end());
    variables["add_generation_prompt"] = add_generation_prompt;
    // No date but this one: a row is the same sequence on every day.
    return options_.chat_template->Render(variables.dump(), where_, absl::UnixEpoch());
  }

  absl::Status AppendPrompt(const RenderedChat& chat, TrainText& text) const {
    const auto ids = EncodeChat(options_.tokenizer, chat);
    if (!ids.ok()) return Annotate(ids.status(), where_);
    text.ids.insert(text.ids.end(), ids->begin(), ids->end());
    return absl::OkStatus();
  }

  // What the assistant writes, its end of turn included; the loss ends there.
  absl::Status AppendTurn(absl::string_view turn, TrainText& text) const {
    auto ids = options_.tokenizer.Encode(turn);
    if (!ids.ok()) return Annotate(ids.status(), where_);
    const int32_t eos = options_.tokenizer.eos_id();
    auto end = std::find(ids->begin(), ids->end(), eos);
    if (end == ids->end() && eos >= 0) end = ids->insert(end, eos);
    const auto length = static_cast<int>(end == ids->end() ? ids->size() : end + 1 - ids->begin());
    const auto begin = static_cast<int>(text.ids.size());
    if (length == 0 || begin == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(where_,
                       ": expected a prompt before, and a text in, every turn of the "
                       "assistant"));
    }
    text.ids.insert(text.ids.end(), ids->begin(), ids->end());
    text.targets.push_back({begin, begin + length});
    return absl::OkStatus();
  }

  const nlohmann::ordered_json& row_;
  const std::string& where_;
  const TrainTextOptions& options_;
};

absl::StatusOr<TrainText> EncodeCompletion(const nlohmann::json& row, const std::string& where,
                                           const TrainTextOptions& options) {
  const JsonFields fields(row, where);
  const std::string prompt_key = fields.Has("prompt") ? "prompt" : "question";
  if (!fields.Has(prompt_key)) return fields.Error("prompt", "it, or \"messages\"");
  R1_ASSIGN_OR_RETURN(const std::string prompt, fields.String(prompt_key));
  TextRow text;
  R1_ASSIGN_OR_RETURN(text.completion, fields.String("completion"));
  if (text.completion.empty()) return fields.Error("completion", "text");
  const size_t at = options.prompt_template.find(kPlaceholder);
  R1_CHECK(at != std::string::npos);  // the config was checked
  text.prompt = absl::StrCat(options.prompt_template.substr(0, at), prompt,
                             options.prompt_template.substr(at + sizeof(kPlaceholder) - 1));
  text.data_begin = at;
  text.data_end = at + prompt.size();
  auto encoded = EncodeText(options.tokenizer, text);
  if (!encoded.ok()) return Annotate(encoded.status(), where);
  const auto end = static_cast<int>(encoded->ids.size());
  if (encoded->first_target == 0) return fields.Error(prompt_key, "text");
  return TrainText{.ids = std::move(encoded->ids), .targets = {{encoded->first_target, end}}};
}

}  // namespace

absl::StatusOr<std::vector<TrainText>> EncodeTrainRow(const std::string& row_json,
                                                      const std::string& where,
                                                      const TrainTextOptions& options) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json row, ParseJson(row_json, where));
  if (!row.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object"));
  }
  const JsonFields fields(row, where);
  const nlohmann::json* messages = fields.FindOrNull("messages");
  if (messages == nullptr) {
    R1_ASSIGN_OR_RETURN(TrainText text, EncodeCompletion(row, where, options));
    std::vector<TrainText> texts;
    texts.push_back(std::move(text));
    return texts;
  }
  if (!messages->is_array()) return fields.Error("messages", "a list of {role, content}");
  if (options.chat_template == nullptr) {
    return fields.Error("messages",
                        "a chat template for them: the model has none, name sft.chat_template");
  }
  // Once more with the order of the keys, which templates see; the text is known to be right.
  return ConversationEncoder(nlohmann::ordered_json::parse(row_json), where, options).Encode();
}

absl::StatusOr<bool> HasMessages(const std::string& path) {
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path));
  JsonlRow row;
  R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
  if (!more) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no rows"));
  R1_RETURN_IF_ERROR(row.status);
  return row.object.contains("messages");
}

absl::StatusOr<std::unique_ptr<TrainingSet>> TrainingSet::Load(
    const std::vector<std::string>& paths, int64_t tokens_max, TrainTextOptions options) {
  std::unique_ptr<TrainingSet> set(new TrainingSet(std::move(options)));
  std::unordered_set<uint64_t> seen;
  for (const std::string& path : paths) {
    R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path));
    for (JsonlRow row;;) {
      R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
      if (!more) break;
      R1_RETURN_IF_ERROR(row.status);
      if (!seen.insert(Xxh3(row.text)).second) {
        ++set->left_out_.repeated;
        continue;
      }
      R1_RETURN_IF_ERROR(set->AddRow(std::move(row.text), row.where, tokens_max));
    }
  }
  if (set->size() > 0) return set;
  return absl::InvalidArgumentError(absl::StrCat(
      paths.empty() ? "" : paths.front(), ": no row is left to train on: ", set->left_out_.too_long,
      " are longer than ", tokens_max, " tokens"));
}

absl::Status TrainingSet::AddRow(std::string text, const std::string& where, int64_t tokens_max) {
  R1_ASSIGN_OR_RETURN(const std::vector<TrainText> texts, EncodeTrainRow(text, where, options_));
  const auto row = static_cast<uint32_t>(rows_.size());
  const size_t places_before = places_.size();
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].ids.size() > static_cast<size_t>(tokens_max)) {
      ++left_out_.too_long;
      continue;
    }
    places_.emplace_back(row, static_cast<uint32_t>(i));
    tokens_ += texts[i].ids.size();
  }
  if (places_.size() > places_before) rows_.push_back(std::move(text));
  return absl::OkStatus();
}

TrainText TrainingSet::Sequence(uint64_t run_seed, uint32_t stage_index, uint64_t position) const {
  const auto [row, part] =
      places_[PermutedIndex(position % size(), size(), run_seed, stage_index, position / size())];
  auto texts = EncodeTrainRow(rows_[row], "", options_);
  R1_CHECK(texts.ok());  // it was encoded before
  return std::move((*texts)[part]);
}

}  // namespace r1
