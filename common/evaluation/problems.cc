#include "common/evaluation/problems.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/evaluation/code_rows.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/rng.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr absl::string_view kPlaceholder = "{prompt}";
// Rows of LiveCodeBench hold all their tests.
constexpr size_t kLineBytesMax = size_t{256} << 20;

// A text, or a number as it stands in the file.
absl::StatusOr<std::string> TextAt(const JsonlRow& row, const std::string& column) {
  const JsonFields fields(row.object, row.where);
  const nlohmann::json* value = fields.FindOrNull(column);
  if (value != nullptr && value->is_number()) return value->dump();
  if (value == nullptr || !value->is_string()) return fields.Error(column, "a string or a number");
  return value->get<std::string>();
}

class RowReader {
 public:
  explicit RowReader(const v1::EvaluationSuite& suite) : suite_(suite), data_(suite.data()) {}

  // Null when the row is left out, with the reason in `left_out`.
  absl::StatusOr<std::optional<EvaluationProblem>> Read(const JsonlRow& row,
                                                        std::string& left_out) {
    R1_RETURN_IF_ERROR(row.status);
    EvaluationProblem problem;
    std::string question;
    if (data_.format() == "rows" || data_.format() == "multiple_choice") {
      R1_ASSIGN_OR_RETURN(question, TextAt(row, data_.prompt_column()));
      if (data_.format() == "rows") {
        R1_RETURN_IF_ERROR(ReadAnswer(row, problem));
      } else {
        R1_RETURN_IF_ERROR(ReadChoices(row, question, problem));
      }
      problem.id = absl::StrCat(row.line);
      problem.columns_json = DumpJson(row.object);
    } else {
      R1_ASSIGN_OR_RETURN(CodeRow code, ReadCode(row));
      left_out = code.left_out;
      if (!left_out.empty()) return std::nullopt;
      question = std::move(code.prompt);
      problem.id = std::move(code.id);
      problem.rating = code.rating;
      problem.columns_json =
          code.columns.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    }
    if (!data_.id_column().empty()) {
      R1_ASSIGN_OR_RETURN(problem.id, TextAt(row, data_.id_column()));
    }
    problem.prompt = InTemplate(question);
    return problem;
  }

 private:
  std::string InTemplate(const std::string& question) const {
    return absl::StrReplaceAll(suite_.prompt().template_(), {{kPlaceholder, question}});
  }

  absl::Status ReadAnswer(const JsonlRow& row, EvaluationProblem& problem) const {
    // Rows that the reward `code` judges have tests in place of an answer.
    if (row.object.contains("tests") && !row.object.contains(data_.answer_column())) {
      return absl::OkStatus();
    }
    R1_ASSIGN_OR_RETURN(std::string answer, TextAt(row, data_.answer_column()));
    if (!data_.answer_marker().empty()) {
      const size_t at = answer.rfind(data_.answer_marker());
      if (at == std::string::npos) {
        return absl::InvalidArgumentError(absl::StrCat(
            row.where, ": ", data_.answer_column(), ": expected the marker ",
            Quoted(data_.answer_marker()), " (data.answer_marker), found ", Quoted(answer)));
      }
      answer.erase(0, at + data_.answer_marker().size());
    }
    problem.answer = std::string(absl::StripAsciiWhitespace(answer));
    if (!problem.answer.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(row.where, ": ", data_.answer_column(), ": expected text, found none"));
  }

  absl::Status ReadChoices(const JsonlRow& row, std::string& question,
                           EvaluationProblem& problem) const {
    std::vector<std::string> choices;
    size_t right = 0;
    if (data_.choice_columns_size() == 1) {
      R1_RETURN_IF_ERROR(ReadChoiceList(row, choices, right));
    } else {
      R1_RETURN_IF_ERROR(DrawChoices(row, choices, right));
    }
    absl::StrAppend(&question, "\n");
    for (size_t i = 0; i < choices.size(); ++i) {
      absl::StrAppend(&question, "\n", std::string(1, static_cast<char>('A' + i)), ") ",
                      choices[i]);
    }
    problem.answer = std::string(1, static_cast<char>('A' + right));
    return absl::OkStatus();
  }

  // A list of texts, and the answer as a letter or an index.
  absl::Status ReadChoiceList(const JsonlRow& row, std::vector<std::string>& choices,
                              size_t& right) const {
    const std::string& column = data_.choice_columns(0);
    const JsonFields fields(row.object, row.where);
    const nlohmann::json* list = fields.FindOrNull(column);
    const bool fits = list != nullptr && list->is_array() && list->size() >= 2 &&
                      list->size() <= 26 &&
                      std::all_of(list->begin(), list->end(),
                                  [](const nlohmann::json& item) { return item.is_string(); });
    if (!fits) return fields.Error(column, "a list of 2 to 26 texts");
    for (const nlohmann::json& item : *list) choices.push_back(item.get<std::string>());
    const nlohmann::json* answer = fields.FindOrNull(data_.answer_column());
    size_t index = choices.size();
    if (answer != nullptr && answer->is_number_integer() && *answer >= 0 &&
        *answer < choices.size()) {
      index = answer->get<size_t>();
    } else if (answer != nullptr && answer->is_string() &&
               answer->get_ref<const std::string&>().size() == 1) {
      const char letter = absl::ascii_toupper(answer->get_ref<const std::string&>()[0]);
      if (letter >= 'A') index = static_cast<size_t>(letter - 'A');
    }
    right = index;
    if (index < choices.size()) return absl::OkStatus();
    return fields.Error(data_.answer_column(),
                        absl::StrCat("one of ", choices.size(), " choices, a letter or an index"));
  }

  // Texts in columns of their own, the first of which is right; in an order that depends on the
  // line alone, so that every evaluation asks the same.
  absl::Status DrawChoices(const JsonlRow& row, std::vector<std::string>& choices,
                           size_t& right) const {
    std::vector<size_t> order;
    for (int i = 0; i < data_.choice_columns_size(); ++i) order.push_back(static_cast<size_t>(i));
    Rng rng(0, 0, RngPurpose::kChoices, static_cast<uint64_t>(row.line), 0);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.NextBelow(i)]);
    for (const size_t column : order) {
      R1_ASSIGN_OR_RETURN(const std::string text,
                          TextAt(row, data_.choice_columns(static_cast<int>(column))));
      choices.push_back(std::string(absl::StripAsciiWhitespace(text)));
    }
    right = static_cast<size_t>(std::find(order.begin(), order.end(), size_t{0}) - order.begin());
    return absl::OkStatus();
  }

  absl::StatusOr<CodeRow> ReadCode(const JsonlRow& row) const {
    if (data_.format() == "humaneval") return ReadHumanEvalRow(row);
    if (data_.format() == "mbpp") return ReadMbppRow(row);
    if (data_.format() == "codeforces") return ReadCodeforcesRow(row, data_.language());
    R1_CHECK(data_.format() == "livecodebench");
    return ReadLiveCodeBenchRow(row, {.from = data_.date_from(), .to = data_.date_to()});
  }

  const v1::EvaluationSuite& suite_;
  const v1::SuiteData& data_;
};

}  // namespace

absl::StatusOr<EvaluationData> ReadProblems(const v1::EvaluationSuite& suite,
                                            const std::string& path, int64_t limit) {
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path, kLineBytesMax));
  RowReader rows(suite);
  EvaluationData data;
  std::set<std::string> ids;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) break;
    if (static_cast<int64_t>(data.problems.size()) >= limit) continue;  // only for the digest
    std::string left_out;
    R1_ASSIGN_OR_RETURN(std::optional<EvaluationProblem> problem, rows.Read(row, left_out));
    if (!problem) {
      ++data.left_out[left_out];
      continue;
    }
    if (!ids.insert(problem->id).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          row.where, ": expected an id of its own, found ", Quoted(problem->id), " again"));
    }
    data.problems.push_back(*std::move(problem));
  }
  data.sha256 = reader->Sha256Hex();
  if (!data.problems.empty()) return data;
  std::string reasons;
  for (const auto& [reason, count] : data.left_out) {
    absl::StrAppend(&reasons, ", ", count, " ", reason);
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ": holds no problems", reasons));
}

}  // namespace r1
