// r1 tokenize: texts of a file as token ids, and what these decode to.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/tokenizer.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

absl::StatusOr<ordered_json> TokenizeRow(const JsonlRow& row, const Tokenizer& tokenizer) {
  R1_RETURN_IF_ERROR(row.status);
  const JsonFields fields(row.object, row.where);
  R1_ASSIGN_OR_RETURN(const std::string text, fields.String("text"));
  R1_ASSIGN_OR_RETURN(const bool add_special_tokens, fields.Bool("add_special_tokens", false));
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text);
  if (!ids.ok()) return Annotate(ids.status(), row.where);
  if (add_special_tokens) ids = tokenizer.AddSpecialTokens(*std::move(ids));
  return ordered_json{{"ids", *ids}, {"decoded", tokenizer.Decode(*ids)}};
}

int Tokenize(const ParsedCommand& parsed) {
  if (!HasFlags("tokenize", parsed, {"tokenizer", "input", "output"})) return kExitUsage;
  const auto tokenizer = Tokenizer::Load(parsed.Value("tokenizer"));
  if (!tokenizer.ok()) return ReportError("tokenize", tokenizer.status());
  return MapJsonlFile("tokenize", parsed.Value("input"), parsed.Value("output"),
                      [&tokenizer](const JsonlRow& row) { return TokenizeRow(row, **tokenizer); });
}

}  // namespace

const Command& TokenizeCommand() {
  static const auto* command = new Command{
      {.name = "tokenize",
       .summary = "Turns texts in a JSONL file into token ids: rows {text, add_special_tokens?} "
                  "give {ids, decoded}.",
       .flags = {{.name = "tokenizer",
                  .value = "DIR",
                  .help = "folder with tokenizer.json and, if there is one, tokenizer_config.json"},
                 {.name = "input", .value = "FILE.jsonl", .help = "rows to tokenize"},
                 {.name = "output", .value = "FILE.jsonl", .help = "one row for each of them"}}},
      &Tokenize};
  return *command;
}

}  // namespace r1::cli
