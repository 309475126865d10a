// What subcommands that turn a JSONL file into another one share (r1 score, r1 tokenize): one
// output row for each input row, in order. A bad row is reported in its output row and on stderr,
// and makes the exit code 3.
#pragma once

#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "common/jsonl.h"
#include "common/status.h"

namespace r1::cli {

// True when all of them are given; otherwise names the first missing one on stderr.
bool HasFlags(const std::string& command, const ParsedCommand& parsed,
              std::initializer_list<const char*> flags);

using RowFunction = std::function<absl::StatusOr<nlohmann::ordered_json>(const JsonlRow& row)>;

// Applies the function to every row of `input`, on so many threads at a time. The output row is the
// result with the row's `id` in front, when it has one, or {id, line, error}. `output` is complete
// or not there at all, and may be the input itself. Returns the exit code.
int MapJsonlFile(const std::string& command, const std::string& input, const std::string& output,
                 const RowFunction& function, int jobs = 1);

}  // namespace r1::cli
