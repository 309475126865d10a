#include "common/evaluation/suite.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/config_problems.h"
#include "common/filesystem.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr uint64_t kFileBytesMax = 256 << 10;
constexpr absl::string_view kPlaceholder = "{prompt}";
// Beyond it the exact expectation over subsets takes too long.
constexpr int64_t kMajorityMax = 128;

// "2024-08-01".
bool IsDate(absl::string_view text) {
  const auto number = [text](size_t at, size_t digits) {
    int value = -1;
    return absl::SimpleAtoi(text.substr(at, digits), &value) ? value : -1;
  };
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const bool all_digits = std::all_of(text.begin(), text.end(), [](char c) {
    return c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  return all_digits && number(0, 4) > 0 && number(5, 2) >= 1 && number(5, 2) <= 12 &&
         number(8, 2) >= 1 && number(8, 2) <= 31;
}

bool FindsAnswers(const std::string& reward) {
  return reward == "math" || reward == "multiple_choice" || reward == "exact_match";
}

// What depends on several fields, or that no rule of the schema can say.
class Checker {
 public:
  explicit Checker(const LoadedSuite& loaded) : loaded_(loaded), suite_(loaded.suite) {}

  absl::Status Check() {
    CheckName();
    CheckPrompt();
    CheckData();
    for (int i = 0; i < suite_.metrics_size(); ++i) CheckMetric(suite_.metrics(i));
    if (suite_.reward_size() == 0) {
      Report("reward",
             "expected at least one [[reward]], the first of which decides what is "
             "correct, found none");
    }
    return problems_.ToStatus();
  }

 private:
  void Report(const std::string& path, absl::string_view what) {
    std::string around = path;
    while (loaded_.positions.count(around) == 0 && !around.empty()) {
      const size_t dot = around.rfind('.');
      around.resize(dot == std::string::npos ? 0 : dot);
    }
    problems_.Add(loaded_.positions.at(around), path, what);
  }

  void CheckName() {
    const std::string& name = suite_.name();
    const bool is_good =
        !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
          return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
        });
    if (is_good) return;
    Report("name", absl::StrCat("expected 1 to 64 letters, digits, _ or -, found ", Quoted(name)));
  }

  void CheckPrompt() {
    const absl::string_view text = suite_.prompt().template_();
    const size_t at = text.find(kPlaceholder);
    if (at != absl::string_view::npos && text.rfind(kPlaceholder) == at) return;
    Report("prompt.template",
           absl::StrCat("expected ", kPlaceholder, " once, found ", Quoted(text)));
  }

  void CheckData() {
    const v1::SuiteData& data = suite_.data();
    const bool has_choices = data.format() == "multiple_choice";
    if (has_choices != (data.choice_columns_size() > 0)) {
      Report("data.choice_columns",
             has_choices ? "expected the columns of the choices, found none"
                         : absl::StrCat("expected none with format \"", data.format(), "\", found ",
                                        data.choice_columns_size()));
    }
    for (const auto& [path, date] :
         {std::pair<const char*, const std::string&>("data.date_from", data.date_from()),
          {"data.date_to", data.date_to()}}) {
      if (date.empty()) continue;
      if (!IsDate(date)) {
        Report(path, absl::StrCat("expected a day as in \"2024-08-01\", found ", Quoted(date)));
      } else if (data.format() != "livecodebench") {
        Report(path, "expected a date with format \"livecodebench\" only, found one");
      }
    }
    const bool has_both = !data.date_from().empty() && !data.date_to().empty();
    if (has_both && data.date_from() > data.date_to()) {
      Report("data.date_to", absl::StrCat("expected a day not before data.date_from, ",
                                          data.date_from(), ", found ", data.date_to()));
    }
  }

  void CheckMetric(const std::string& name) {
    const absl::StatusOr<SuiteMetric> metric = ParseSuiteMetric(name);
    if (!metric.ok()) return Report("metrics", metric.status().message());
    if (metric->k > suite_.sampling().samples()) {
      Report("metrics", absl::StrCat("expected at most the ", suite_.sampling().samples(),
                                     " samples of sampling.samples, found ", Quoted(name)));
    }
    const bool is_vote = metric->kind == SuiteMetric::Kind::kConsensus ||
                         metric->kind == SuiteMetric::Kind::kMajority;
    if (is_vote && suite_.reward_size() > 0 && !FindsAnswers(suite_.reward(0).name())) {
      Report("metrics", absl::StrCat("expected ", Quoted(name),
                                     " with a first reward that finds the answer that is voted "
                                     "for (math, multiple_choice or exact_match), found ",
                                     Quoted(suite_.reward(0).name())));
    }
    if (metric->kind == SuiteMetric::Kind::kRating && suite_.data().format() != "codeforces") {
      Report("metrics", absl::StrCat("expected \"rating\" with data.format = \"codeforces\" only, "
                                     "found it with \"",
                                     suite_.data().format(), "\""));
    }
  }

  const LoadedSuite& loaded_;
  const v1::EvaluationSuite& suite_;
  ConfigProblems problems_;
};

}  // namespace

std::string LoadedSuite::Where(const std::string& path) const {
  const auto found = positions.find(path);
  return found != positions.end() ? found->second.text : positions.at("").text;
}

absl::StatusOr<SuiteMetric> ParseSuiteMetric(absl::string_view name) {
  using Kind = SuiteMetric::Kind;
  static const auto* const kinds = new std::map<std::string, Kind>{{"pass", Kind::kPass},
                                                                   {"cons", Kind::kConsensus},
                                                                   {"maj", Kind::kMajority},
                                                                   {"greedy", Kind::kGreedy},
                                                                   {"rating", Kind::kRating}};
  const size_t at = name.find('@');
  const std::string word(name.substr(0, at));
  const auto found = kinds->find(word);
  const bool takes_k =
      found != kinds->end() && found->second != Kind::kGreedy && found->second != Kind::kRating;
  const bool has_k = at != absl::string_view::npos;
  SuiteMetric metric;
  if (found == kinds->end() || takes_k != has_k ||
      (has_k && (!absl::SimpleAtoi(name.substr(at + 1), &metric.k) || metric.k < 1 ||
                 absl::StrCat(metric.k) != name.substr(at + 1)))) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected \"pass@K\", \"cons@K\", \"maj@K\", \"greedy\" or \"rating\", found ",
                     Quoted(name), DidYouMean(word, {"pass", "cons", "maj", "greedy", "rating"})));
  }
  metric.kind = found->second;
  if (metric.kind == Kind::kMajority && metric.k > kMajorityMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at most maj@", kMajorityMax, ", found ", Quoted(name)));
  }
  return metric;
}

bool HasMetric(const v1::EvaluationSuite& suite, SuiteMetric::Kind kind) {
  return std::any_of(suite.metrics().begin(), suite.metrics().end(), [kind](const auto& name) {
    const absl::StatusOr<SuiteMetric> metric = ParseSuiteMetric(name);
    return metric.ok() && metric->kind == kind;
  });
}

absl::StatusOr<LoadedSuite> LoadSuiteText(const std::string& name, const std::string& text,
                                          const std::vector<std::string>& overrides) {
  LoadedSuite loaded;
  R1_ASSIGN_OR_RETURN(loaded.positions, LoadSchemaText(name, text, overrides, loaded.suite));
  R1_RETURN_IF_ERROR(Checker(loaded).Check());
  return loaded;
}

absl::StatusOr<LoadedSuite> LoadSuite(const std::string& path,
                                      const std::vector<std::string>& overrides) {
  const absl::StatusOr<std::string> text = RealFileSystem().Read(path, kFileBytesMax);
  if (!text.ok()) return Annotate(text.status(), "suite file");
  return LoadSuiteText(path, *text, overrides);
}

}  // namespace r1
