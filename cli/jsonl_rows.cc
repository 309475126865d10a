#include "cli/jsonl_rows.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

// Rows that are worked on before any of them is written; lines may be long, so their bytes are
// bounded as well.
constexpr size_t kBlockRowsPerJob = 64;
constexpr size_t kBlockBytesMax = size_t{64} << 20;

using Result = absl::StatusOr<ordered_json>;

// The next rows; empty at the end.
absl::StatusOr<std::vector<JsonlRow>> ReadBlock(JsonlReader& reader, size_t rows_max) {
  std::vector<JsonlRow> rows;
  for (size_t bytes = 0; rows.size() < rows_max && bytes < kBlockBytesMax;) {
    JsonlRow row;
    R1_ASSIGN_OR_RETURN(const bool more, reader.Next(row));
    if (!more) break;
    bytes += row.bytes;
    rows.push_back(std::move(row));
  }
  return rows;
}

// The results in the order of the rows; each thread takes the next row that nobody has.
std::vector<Result> MapBlock(const std::vector<JsonlRow>& rows, const RowFunction& function,
                             int jobs) {
  std::vector<Result> results(rows.size(), absl::UnknownError("not done"));
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < rows.size(); i = next++) results[i] = function(rows[i]);
  };
  std::vector<std::thread> helpers;
  const int helpers_wanted = std::min(jobs, static_cast<int>(rows.size())) - 1;
  for (int i = 0; i < helpers_wanted; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return results;
}

ordered_json OutputRow(const std::string& command, const JsonlRow& row, const Result& mapped) {
  ordered_json output = ordered_json::object();
  if (row.status.ok() && row.object.contains("id")) output["id"] = row.object["id"];
  if (mapped.ok()) {
    output.update(*mapped);
    return output;
  }
  output["line"] = row.line;
  output["error"] = std::string(mapped.status().message());
  std::cerr << "r1 " << command << ": " << mapped.status().message() << "\n";
  return output;
}

// The number of bad rows.
absl::StatusOr<int64_t> MapRows(const std::string& command, const std::string& input,
                                const std::string& output, const RowFunction& function, int jobs) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<JsonlReader> reader, JsonlReader::Open(input));
  const std::string unfinished = absl::StrCat(output, ".unfinished");
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  if (!file) return absl::UnavailableError(absl::StrCat(unfinished, ": cannot open for writing"));
  absl::Cleanup remove_unfinished = [&unfinished] { std::remove(unfinished.c_str()); };
  int64_t errors = 0;
  for (;;) {
    R1_ASSIGN_OR_RETURN(const std::vector<JsonlRow> rows,
                        ReadBlock(*reader, kBlockRowsPerJob * static_cast<size_t>(jobs)));
    if (rows.empty()) break;
    const std::vector<Result> results = MapBlock(rows, function, jobs);
    for (size_t i = 0; i < rows.size(); ++i) {
      errors += results[i].ok() ? 0 : 1;
      // In ASCII: many readers of lines also break them at U+0085 and U+2028.
      file << OutputRow(command, rows[i], results[i])
                  .dump(-1, ' ', true, ordered_json::error_handler_t::replace)
           << "\n";
    }
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
                 const RowFunction& function, int jobs) {
  const absl::StatusOr<int64_t> errors = MapRows(command, input, output, function, jobs);
  if (!errors.ok()) return ReportError(command, errors.status());
  return *errors == 0 ? kExitDone : kExitFailed;
}

}  // namespace r1::cli
