// A row of a published set of programming problems, read in every layout, and the same bytes as
// packed tests and as text that is searched for n-grams. A row that is accepted has a prompt and
// columns that are JSON again.

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "common/evaluation/code_rows.h"
#include "common/evaluation/ngram_overlap.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr size_t kUnpackedBytesMax = 1 << 16;

void CheckRow(const absl::StatusOr<CodeRow>& row) {
  if (!row.ok()) {
    R1_CHECK(row.status().code() == absl::StatusCode::kInvalidArgument);
    R1_CHECK(!row.status().message().empty());
    return;
  }
  if (!row->left_out.empty()) return;
  R1_CHECK(row->columns.is_object());
  R1_CHECK(row->columns.contains("tests"));
  const std::string dumped =
      row->columns.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  R1_CHECK(nlohmann::json::accept(dumped));
}

void CheckWords(absl::string_view text) {
  for (const std::string& word : OverlapWords(text)) {
    R1_CHECK(!word.empty());
    R1_CHECK(IsValidUtf8(word));
    R1_CHECK(!absl::StrContains(word, ' '));
  }
  NgramIndex index(3);
  const size_t grams = index.Add(text, 1);
  const auto match = index.Find(text);
  R1_CHECK(match.has_value() == (grams > 0));
  if (match) R1_CHECK(match->count == grams);
}

}  // namespace
}  // namespace r1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto unpacked = r1::UnpackPickledText(text, r1::kUnpackedBytesMax);
  if (unpacked.ok()) R1_CHECK(unpacked->size() <= r1::kUnpackedBytesMax);
  r1::CheckWords(text);
  r1::JsonlRow row;
  row.where = "row";
  row.text = text;
  const auto object = r1::ParseJson(text, "row");
  if (!object.ok() || !object->is_object()) return 0;
  row.object = *object;
  r1::CheckRow(r1::ReadHumanEvalRow(row));
  r1::CheckRow(r1::ReadMbppRow(row));
  r1::CheckRow(r1::ReadLiveCodeBenchRow(row, {.from = "2024-08-01", .to = ""}));
  r1::CheckRow(r1::ReadCodeforcesRow(row, "python"));
  return 0;
}
