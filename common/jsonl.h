// JSON lines: one object a line, read as a stream with a bound on the length of a line. A bad row
// does not end the reading, so that a batch command can report it and go on.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "common/hash.h"
#include "common/status.h"

namespace r1 {

struct JsonlRow {
  int64_t line = 0;       // from 1, empty lines counted
  size_t bytes = 0;       // of the line
  std::string where;      // "path:line", for errors about the row
  absl::Status status;    // why the row cannot be used: bad JSON or UTF-8, no object, too long
  nlohmann::json object;  // when status is ok
  // The row as it stands, for who needs the order of its keys; valid until the next row is read.
  absl::string_view text;
};

// Not thread-safe. Reads the file itself, not through FileSystem, which has no streams.
//
//   R1_ASSIGN_OR_RETURN(auto reader, JsonlReader::Open(path));
//   for (JsonlRow row;;) {
//     R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
//     if (!more) break;
//     …
//   }
class JsonlReader {
 public:
  static constexpr size_t kLineBytesMax = 10 << 20;

  // NotFound, Unavailable.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<JsonlReader>> Open(
      const std::string& path, size_t line_bytes_max = kLineBytesMax);
  ~JsonlReader();
  JsonlReader(const JsonlReader&) = delete;
  JsonlReader& operator=(const JsonlReader&) = delete;

  // The next row that is not empty; false at the end. Unavailable when the file cannot be read; an
  // error of the row itself is in row.status.
  [[nodiscard]] absl::StatusOr<bool> Next(JsonlRow& row);

  // Of the whole file, after Next returned false; once.
  std::string Sha256Hex();

 private:
  JsonlReader(std::string path, int file, size_t line_bytes_max);
  // Into line_, or sets too_long_ and drops the line; false at the end.
  absl::StatusOr<bool> ReadLine();
  absl::StatusOr<bool> FillBuffer();

  const std::string path_;
  const int file_;
  const size_t line_bytes_max_;
  std::string buffer_;
  size_t buffer_at_ = 0;
  std::string line_;
  bool too_long_ = false;
  int64_t line_number_ = 0;
  bool at_end_ = false;
  Sha256 digest_;
};

}  // namespace r1
