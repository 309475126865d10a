// r1 chat-template: conversations of a file as prompts.

#include "common/chat_template.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "common/chat_template_files.h"
#include "common/filesystem.h"
#include "common/r1_prompts.h"
#include "common/tokenizer.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kName[] = "chat-template";
constexpr uint64_t kTemplateBytesMax = 1 << 20;
constexpr char kR1Zero[] = "r1-zero";

struct Renderer {
  ModelChatTemplate chat_template;
  std::unique_ptr<Tokenizer> tokenizer;  // null unless ids are asked for
  bool r1_rules = false;
};

absl::StatusOr<ModelChatTemplate> LoadTemplate(const ParsedCommand& parsed) {
  if (parsed.Has("model")) return ModelChatTemplate::Load(parsed.Value("model"));
  const std::string path = parsed.Value("template");
  if (path == kR1Zero) return ModelChatTemplate::OfSource(R1ZeroTemplate());
  R1_ASSIGN_OR_RETURN(const std::string source, RealFileSystem().Read(path, kTemplateBytesMax));
  absl::StatusOr<ModelChatTemplate> loaded = ModelChatTemplate::OfSource(source);
  if (!loaded.ok()) return Annotate(loaded.status(), path);
  return loaded;
}

absl::StatusOr<ordered_json> RenderRow(const JsonlRow& row, const Renderer& renderer) {
  R1_RETURN_IF_ERROR(row.status);
  std::string variables(row.text);
  if (renderer.r1_rules) {
    R1_ASSIGN_OR_RETURN(variables, AddR1MathInstruction(variables, row.where));
  }
  R1_ASSIGN_OR_RETURN(RenderedChat chat, renderer.chat_template.Render(variables, row.where));
  if (renderer.r1_rules) ForceThinking(chat);
  ordered_json result = {{"text", chat.text}};
  if (renderer.tokenizer != nullptr) {
    const absl::StatusOr<std::vector<int32_t>> ids = EncodeChat(*renderer.tokenizer, chat);
    if (!ids.ok()) return Annotate(ids.status(), row.where);
    result["ids"] = *ids;
  }
  return result;
}

int RenderFile(const ParsedCommand& parsed) {
  if (!HasFlags(kName, parsed, {"input", "output"})) return kExitUsage;
  if (parsed.Has("template") == parsed.Has("model")) {
    std::cerr << "r1 " << kName << ": expected one of --template and --model\n";
    return kExitUsage;
  }
  if (parsed.Has("ids") && !parsed.Has("model")) {
    std::cerr << "r1 " << kName << ": --ids needs --model, whose tokenizer it uses\n";
    return kExitUsage;
  }
  absl::StatusOr<ModelChatTemplate> chat_template = LoadTemplate(parsed);
  if (!chat_template.ok()) return ReportError(kName, chat_template.status());
  Renderer renderer{.chat_template = *std::move(chat_template),
                    .tokenizer = nullptr,
                    .r1_rules = parsed.Has("r1-rules")};
  if (parsed.Has("ids")) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(parsed.Value("model"));
    if (!tokenizer.ok()) return ReportError(kName, tokenizer.status());
    renderer.tokenizer = *std::move(tokenizer);
  }
  return MapJsonlFile(kName, parsed.Value("input"), parsed.Value("output"),
                      [&renderer](const JsonlRow& row) { return RenderRow(row, renderer); });
}

}  // namespace

const Command& ChatTemplateCommand() {
  static const auto* command = new Command{
      {.name = kName,
       .summary = "Turns conversations in a JSONL file into prompts: rows {messages, "
                  "add_generation_prompt?, tools?, bos_token?, …} give {text}.",
       .flags = {{.name = "template",
                  .value = "FILE",
                  .help = "a Jinja template, or r1-zero for the prompt of R1-Zero"},
                 {.name = "model", .value = "DIR", .help = "or a model's folder that holds one"},
                 {.name = "input", .value = "FILE.jsonl", .help = "conversations"},
                 {.name = "output", .value = "FILE.jsonl", .help = "one row for each of them"},
                 {.name = "ids", .help = "adds the prompt's token ids (with --model)"},
                 {.name = "r1-rules",
                  .help = "R1's usage rules: asks for an answer in \\boxed{} and opens the reply "
                          "with <think>"}}},
      &RenderFile};
  return *command;
}

}  // namespace r1::cli
