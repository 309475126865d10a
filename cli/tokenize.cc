// r1 tokenize: texts of a file as token ids, and what these decode to. Every input row gives one
// output row, in order; a bad row is reported in its output row and on stderr, and makes the exit
// code 3.

#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "common/filesystem.h"
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

// The number of bad rows.
absl::StatusOr<int64_t> TokenizeFile(const std::string& input, const std::string& output,
                                     const Tokenizer& tokenizer) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<JsonlReader> reader, JsonlReader::Open(input));
  // Complete or not there at all; the input may be overwritten by its own result.
  const std::string unfinished = absl::StrCat(output, ".unfinished");
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  if (!file) return absl::UnavailableError(absl::StrCat(unfinished, ": cannot open for writing"));
  int64_t errors = 0;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) break;
    absl::StatusOr<ordered_json> result = TokenizeRow(row, tokenizer);
    if (!result.ok()) {
      ++errors;
      std::cerr << "r1 tokenize: " << result.status().message() << "\n";
      result = ordered_json{{"line", row.line}, {"error", std::string(result.status().message())}};
    }
    // In ASCII: many readers of lines also break them at U+0085 and U+2028.
    file << result->dump(-1, ' ', true, ordered_json::error_handler_t::replace) << "\n";
  }
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(unfinished, ": cannot write"));
  R1_RETURN_IF_ERROR(RealFileSystem().Rename(unfinished, output));
  return errors;
}

int Tokenize(const ParsedCommand& parsed) {
  for (const char* needed : {"tokenizer", "input", "output"}) {
    if (parsed.Has(needed)) continue;
    std::cerr << "r1 tokenize: --" << needed << " is missing\n";
    return kExitUsage;
  }
  const auto tokenizer = Tokenizer::Load(parsed.Value("tokenizer"));
  if (!tokenizer.ok()) return ReportError("tokenize", tokenizer.status());
  const absl::StatusOr<int64_t> errors =
      TokenizeFile(parsed.Value("input"), parsed.Value("output"), **tokenizer);
  if (!errors.ok()) return ReportError("tokenize", errors.status());
  return *errors == 0 ? kExitDone : kExitFailed;
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
