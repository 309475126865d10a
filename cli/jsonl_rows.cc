#include "cli/jsonl_rows.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

// The number of bad rows.
absl::StatusOr<int64_t> MapRows(const std::string& command, const std::string& input,
                                const std::string& output, const RowFunction& function) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<JsonlReader> reader, JsonlReader::Open(input));
  const std::string unfinished = absl::StrCat(output, ".unfinished");
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  if (!file) return absl::UnavailableError(absl::StrCat(unfinished, ": cannot open for writing"));
  absl::Cleanup remove_unfinished = [&unfinished] { std::remove(unfinished.c_str()); };
  int64_t errors = 0;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) break;
    ordered_json result = ordered_json::object();
    if (row.status.ok() && row.object.contains("id")) result["id"] = row.object["id"];
    const absl::StatusOr<ordered_json> mapped = function(row);
    if (mapped.ok()) {
      result.update(*mapped);
    } else {
      ++errors;
      result["line"] = row.line;
      result["error"] = std::string(mapped.status().message());
      std::cerr << "r1 " << command << ": " << mapped.status().message() << "\n";
    }
    // In ASCII: many readers of lines also break them at U+0085 and U+2028.
    file << result.dump(-1, ' ', true, ordered_json::error_handler_t::replace) << "\n";
  }
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(unfinished, ": cannot write"));
  R1_RETURN_IF_ERROR(RealFileSystem().Rename(unfinished, output));
  std::move(remove_unfinished).Cancel();
  return errors;
}

}  // namespace

bool HasFlags(const std::string& command, const ParsedCommand& parsed,
              std::initializer_list<const char*> flags) {
  for (const char* flag : flags) {
    if (parsed.Has(flag)) continue;
    std::cerr << "r1 " << command << ": --" << flag << " is missing\n";
    return false;
  }
  return true;
}

int MapJsonlFile(const std::string& command, const std::string& input, const std::string& output,
                 const RowFunction& function) {
  const absl::StatusOr<int64_t> errors = MapRows(command, input, output, function);
  if (!errors.ok()) return ReportError(command, errors.status());
  return *errors == 0 ? kExitDone : kExitFailed;
}

}  // namespace r1::cli
