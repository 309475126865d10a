// r1 eval decontaminate: which rows of a training file share n words in a row with an evaluation
// set, and the file without them.

#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/eval_modes.h"
#include "cli/jsonl_rows.h"
#include "common/evaluation/ngram_overlap.h"
#include "common/filesystem.h"
#include "common/jsonl.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kName[] = "eval decontaminate";
constexpr size_t kLineBytesMax = size_t{256} << 20;

// The strings of a value, those of lists and objects in it too: {messages: [{content}]} as well.
void CollectTexts(const nlohmann::json& value, std::vector<std::string>& texts) {
  if (value.is_string()) texts.push_back(value.get<std::string>());
  if (!value.is_structured()) return;
  for (const nlohmann::json& item : value) CollectTexts(item, texts);
}

// The texts of a row: of these columns, or of all when none are named.
absl::StatusOr<std::vector<std::string>> TextsOf(const JsonlRow& row,
                                                 const std::vector<std::string>& columns) {
  R1_RETURN_IF_ERROR(row.status);
  std::vector<std::string> texts;
  if (columns.empty()) CollectTexts(row.object, texts);
  for (const std::string& column : columns) {
    if (!row.object.contains(column)) {
      return absl::InvalidArgumentError(
          absl::StrCat(row.where, ": expected a column ", column, ", found none"));
    }
    CollectTexts(row.object[column], texts);
  }
  return texts;
}

using OnRow = std::function<absl::Status(const JsonlRow& row)>;
absl::Status ForEachRow(const std::string& path, const OnRow& on_row) {
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path, kLineBytesMax));
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) return absl::OkStatus();
    R1_RETURN_IF_ERROR(on_row(row));
  }
}

// One evaluation file, and what was found of it.
struct EvaluationFile {
  std::string path;
  int64_t rows = 0;
  int64_t too_short = 0;  // rows without a text of n words, which nothing can find
  std::set<uint32_t> hit;
};

class Decontamination {
 public:
  Decontamination(size_t n, std::vector<std::string> train_columns,
                  std::vector<std::string> against_columns)
      : n_(n),
        train_columns_(std::move(train_columns)),
        against_columns_(std::move(against_columns)),
        index_(n) {}

  absl::Status AddFile(const std::string& path) {
    EvaluationFile& file = files_.emplace_back();
    file.path = path;
    return ForEachRow(path, [&](const JsonlRow& row) -> absl::Status {
      R1_ASSIGN_OR_RETURN(const std::vector<std::string> texts, TextsOf(row, against_columns_));
      const auto place = static_cast<uint32_t>(places_.size());
      places_.push_back({files_.size() - 1, row.line});
      size_t grams = 0;
      for (const std::string& text : texts) grams += index_.Add(text, place);
      ++file.rows;
      file.too_short += grams == 0 ? 1 : 0;
      return absl::OkStatus();
    });
  }

  // Writes the clean rows as they stand to `clean`, a row about each other one to `report`; both
  // may be null.
  absl::Status Check(const std::string& train, std::ofstream* clean, std::ofstream* report) {
    return ForEachRow(train, [&](const JsonlRow& row) -> absl::Status {
      R1_ASSIGN_OR_RETURN(const std::vector<std::string> texts, TextsOf(row, train_columns_));
      ++train_rows_;
      std::optional<NgramIndex::Match> first;
      size_t count = 0;
      for (const std::string& text : texts) {
        std::optional<NgramIndex::Match> match = index_.Find(text);
        if (!match) continue;
        count += match->count;
        for (const uint32_t hit : match->rows) files_[places_[hit].file].hit.insert(hit);
        if (!first) first = std::move(match);
      }
      if (!first) {
        if (clean != nullptr) *clean << row.text << "\n";
        return absl::OkStatus();
      }
      ++contaminated_;
      if (report != nullptr) *report << Describe(row, *first, count).dump(-1, ' ', true) << "\n";
      return absl::OkStatus();
    });
  }

  ordered_json Summary(const std::string& train) const {
    ordered_json files = ordered_json::array();
    for (const EvaluationFile& file : files_) {
      files.push_back({{"file", file.path},
                       {"rows", file.rows},
                       {"found_in_training", file.hit.size()},
                       {"too_short_to_find", file.too_short}});
    }
    return {{"train", train},
            {"ngram", n_},
            {"rows", train_rows_},
            {"contaminated", contaminated_},
            {"against", std::move(files)}};
  }

 private:
  struct Place {
    size_t file;
    int64_t line;
  };

  ordered_json Describe(const JsonlRow& row, const NgramIndex::Match& match, size_t count) const {
    const Place& place = places_[match.row];
    return {{"line", row.line},
            {"ngrams", count},
            {"against", files_[place.file].path},
            {"against_line", place.line},
            {"ngram", match.ngram}};
  }

  const size_t n_;
  const std::vector<std::string> train_columns_, against_columns_;
  NgramIndex index_;
  std::vector<Place> places_;
  std::vector<EvaluationFile> files_;
  int64_t train_rows_ = 0;
  int64_t contaminated_ = 0;
};

// A file that is there completely or not at all.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path)
      : path_(path), unfinished_(absl::StrCat(path, ".unfinished")) {
    if (!path.empty()) stream_.open(unfinished_, std::ios::binary | std::ios::trunc);
  }
  ~OutputFile() {
    if (!path_.empty()) RealFileSystem().RemoveAll(unfinished_).IgnoreError();
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  std::ofstream* stream_or_null() { return path_.empty() ? nullptr : &stream_; }
  absl::Status Check() const {
    if (path_.empty() || stream_) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(unfinished_, ": cannot be written"));
  }
  absl::Status Finish() {
    if (path_.empty()) return absl::OkStatus();
    stream_.close();
    R1_RETURN_IF_ERROR(Check());
    return RealFileSystem().Rename(unfinished_, path_);
  }

 private:
  const std::string path_, unfinished_;
  std::ofstream stream_;
};

std::vector<std::string> Columns(const ParsedCommand& parsed, const std::string& flag) {
  return absl::StrSplit(parsed.Value(flag), ',', absl::SkipEmpty());
}

absl::StatusOr<ordered_json> Decontaminate(const ParsedCommand& parsed) {
  R1_ASSIGN_OR_RETURN(const int64_t n, parsed.IntegerValue("ngram", 10, 1, 1000));
  Decontamination work(static_cast<size_t>(n), Columns(parsed, "train-columns"),
                       Columns(parsed, "against-columns"));
  for (const std::string& path : parsed.Values("against")) {
    R1_RETURN_IF_ERROR(work.AddFile(path));
  }
  OutputFile clean(parsed.Value("output"));
  OutputFile report(parsed.Value("report"));
  R1_RETURN_IF_ERROR(clean.Check());
  R1_RETURN_IF_ERROR(report.Check());
  const std::string train = parsed.Value("train");
  R1_RETURN_IF_ERROR(work.Check(train, clean.stream_or_null(), report.stream_or_null()));
  R1_RETURN_IF_ERROR(report.Finish());
  R1_RETURN_IF_ERROR(clean.Finish());
  return work.Summary(train);
}

}  // namespace

int EvalDecontaminate(const ParsedCommand& parsed) {
  if (!HasFlags(kName, parsed, {"train", "against"})) return kExitUsage;
  const absl::StatusOr<ordered_json> summary = Decontaminate(parsed);
  if (!summary.ok()) return ReportError(kName, summary.status());
  if (parsed.Has("json")) {
    std::cout << summary->dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    return kExitDone;
  }
  std::cout << absl::StreamFormat(
      "%s: %d of %d rows share %d words in a row with an evaluation set\n",
      (*summary)["train"].get<std::string>(), (*summary)["contaminated"].get<int64_t>(),
      (*summary)["rows"].get<int64_t>(), (*summary)["ngram"].get<int64_t>());
  for (const ordered_json& file : (*summary)["against"]) {
    std::cout << absl::StreamFormat(
        "  %s: %d of %d rows found; %d are too short to be found\n",
        file["file"].get<std::string>(), file["found_in_training"].get<int64_t>(),
        file["rows"].get<int64_t>(), file["too_short_to_find"].get<int64_t>());
  }
  return kExitDone;
}

}  // namespace r1::cli
