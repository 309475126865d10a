#include "common/chat_template.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/jinja/interpreter.h"
#include "common/jinja/json_values.h"
#include "common/jinja/parser.h"

namespace r1 {
namespace {

using jinja::Kind;
using jinja::Value;

using Entries = std::vector<std::pair<Value, Value>>;

// What transformers calls a special token: its text is the template's own.
constexpr absl::string_view kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                "pad_token", "cls_token", "mask_token"};

absl::Status CheckObjects(const Value& value, absl::string_view key, bool may_be_none) {
  if (may_be_none && value.is(Kind::kNone)) return absl::OkStatus();
  bool objects = value.is(Kind::kList);
  for (size_t i = 0; objects && i < value.list().elements.size(); ++i) {
    objects = value.list().elements[i].is(Kind::kDict);
  }
  if (objects) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": expected an array of objects, found ",
                   value.is(Kind::kList) ? "other elements" : value.TypeName()));
}

// The variables as transformers passes them on.
absl::StatusOr<Value> Variables(const Value& given, jinja::Budget& budget) {
  if (!given.is(Kind::kDict)) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected an object with messages, found ", given.TypeName()));
  }
  const Value* messages = given.dict().FindOrNull("messages");
  if (messages == nullptr) {
    return absl::InvalidArgumentError("messages: expected an array of objects, found no such key");
  }
  R1_RETURN_IF_ERROR(CheckObjects(*messages, "messages", false));
  Entries entries;
  const auto add = [&entries](absl::string_view key, Value value) {
    entries.emplace_back(Value::String(key, false), std::move(value));
  };
  add("tools", Value::None());
  add("documents", Value::None());
  add("add_generation_prompt", Value::Bool(false));
  for (const auto& [key, value] : given.dict().entries) {
    const std::string& name = key.text().bytes();
    if (name == "tools" || name == "documents") {
      R1_RETURN_IF_ERROR(CheckObjects(value, name, true));
    }
    const bool special_token =
        value.is(Kind::kString) && std::find(std::begin(kSpecialTokens), std::end(kSpecialTokens),
                                             name) != std::end(kSpecialTokens);
    add(name, special_token ? Value::String(value.text().bytes(), false) : value);
  }
  return jinja::MakeDict(std::move(entries), budget);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Parse(
    absl::string_view source, const ChatTemplateLimits& limits) {
  if (source.size() > limits.source_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat("a chat template of ", source.size(),
                                                   " bytes; expected at most ",
                                                   limits.source_bytes_max));
  }
  R1_ASSIGN_OR_RETURN(jinja::Body body, jinja::ParseTemplate(source));
  return std::unique_ptr<const ChatTemplate>(new ChatTemplate(std::move(body), limits));
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(absl::string_view variables_json,
                                                  absl::string_view where, absl::Time now) const {
  jinja::Budget budget(limits_.work_max + limits_.work_per_input_byte * variables_json.size());
  R1_ASSIGN_OR_RETURN(const Value given, jinja::ParseJsonValue(variables_json, where, budget));
  const absl::StatusOr<Value> variables = Variables(given, budget);
  if (!variables.ok()) return Annotate(variables.status(), where);
  const jinja::RenderOptions options{
      .output_bytes_max = limits_.output_bytes_max, .now = now, .time_zone = absl::LocalTimeZone()};
  const absl::StatusOr<jinja::Text> text = jinja::Render(body_, variables->dict(), options, budget);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat(where, ": chat template"));
  RenderedChat chat{.text = text->bytes(), .content = {}};
  size_t begin = 0;
  for (const jinja::Text::Run& run : text->runs()) {
    if (run.from_content) chat.content.push_back({begin, run.end});
    begin = run.end;
  }
  return chat;
}

absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer,
                                                const RenderedChat& chat) {
  return tokenizer.EncodeWithContent(chat.text, chat.content);
}

}  // namespace r1
