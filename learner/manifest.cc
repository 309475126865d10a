#include "learner/manifest.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/hash.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

constexpr absl::string_view kHeaderStart = "r1 checkpoint format_version ";

std::string FormatLine(const ManifestEntry& entry) {
  return absl::StrFormat("%s %d %08x\n", entry.name, entry.bytes, entry.crc32c);
}

// Letters, digits and "._-" between single slashes; no part begins with a dot.
bool IsPlainPath(absl::string_view name) {
  char before = '/';
  for (const char c : name) {
    const bool starts_part = before == '/';
    if (c == '/' && starts_part) return false;
    if (c == '.' && starts_part) return false;
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        absl::string_view("._-/").find(c) == absl::string_view::npos) {
      return false;
    }
    before = c;
  }
  return before != '/';
}

// "name bytes crc32c". Numbers must be written as FormatLine writes them.
absl::StatusOr<ManifestEntry> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  ManifestEntry entry;
  if (fields.size() != 3 || !absl::SimpleAtoi(fields[1], &entry.bytes) ||
      !absl::SimpleHexAtoi(fields[2], &entry.crc32c)) {
    return absl::DataLossError(
        absl::StrCat("expected \"name bytes crc32c\", found ", Quoted(line)));
  }
  entry.name = std::string(fields[0]);
  if (absl::StripSuffix(FormatLine(entry), "\n") != line || !IsPlainPath(entry.name)) {
    return absl::DataLossError(absl::StrCat("not a line that this program writes: ", Quoted(line)));
  }
  return entry;
}

}  // namespace

std::string FormatManifest(std::vector<ManifestEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const ManifestEntry& a, const ManifestEntry& b) { return a.name < b.name; });
  std::string text = absl::StrCat(kHeaderStart, kCheckpointFormatVersion, "\n");
  for (const ManifestEntry& entry : entries) {
    R1_CHECK(IsPlainPath(entry.name));
    text += FormatLine(entry);
  }
  text += FormatLine({kManifestName, text.size(), Crc32c(text)});
  return text;
}

absl::StatusOr<std::vector<ManifestEntry>> ParseManifest(absl::string_view text) {
  // The last line first: only a text that is intact may say that it has another version.
  if (text.empty() || text.back() != '\n') {
    return absl::DataLossError(
        absl::StrCat("cut off: byte ", text.size(), " should follow a line break"));
  }
  absl::string_view covered = text.substr(0, text.size() - 1);
  const size_t line_break = covered.rfind('\n');
  if (line_break == absl::string_view::npos) {
    return absl::DataLossError("cut off: there is only one line");
  }
  const absl::string_view last_line = covered.substr(line_break + 1);
  covered = text.substr(0, line_break + 1);
  R1_ASSIGN_OR_RETURN(const ManifestEntry own, ParseLine(last_line));
  if (own.name != kManifestName || own.bytes != covered.size() || own.crc32c != Crc32c(covered)) {
    return absl::DataLossError(
        absl::StrFormat("damaged: its last line is \"%s\", but bytes 0-%d have crc32c %08x",
                        std::string(last_line), covered.size() - 1, Crc32c(covered)));
  }

  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::StripSuffix(covered, "\n"), '\n');
  absl::string_view version = lines[0];
  if (!absl::ConsumePrefix(&version, kHeaderStart)) {
    return absl::DataLossError(
        absl::StrCat("line 1: expected \"", kHeaderStart, "N\", found ", Quoted(lines[0])));
  }
  if (version != absl::StrCat(kCheckpointFormatVersion)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the checkpoint has format_version ", Quoted(version),
                     ", this program reads format_version ", kCheckpointFormatVersion,
                     " only: use the program that wrote it"));
  }
  std::vector<ManifestEntry> entries;
  for (size_t i = 1; i < lines.size(); ++i) {
    absl::StatusOr<ManifestEntry> entry = ParseLine(lines[i]);
    if (!entry.ok()) return Annotate(entry.status(), absl::StrCat("line ", i + 1));
    if (!entries.empty() && entry->name <= entries.back().name) {
      return absl::DataLossError(
          absl::StrCat("line ", i + 1, ": ", entry->name, " stands twice or out of order"));
    }
    entries.push_back(*std::move(entry));
  }
  return entries;
}

}  // namespace r1::learner
