#include "learner/report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace r1::learner {
namespace {

using nlohmann::ordered_json;

// A number of an evaluation, or "-" where it was not measured.
std::string Share(const ordered_json& eval, const char* name) {
  const auto found = eval.find(name);
  return found == eval.end() || !found->is_number() ? "-"
                                                    : absl::StrFormat("%.3f", found->get<double>());
}

std::string EvalColumns(const ordered_json& eval) {
  const auto length = eval.find("length_mean");
  return absl::StrFormat(
      "%7s  [%s, %s]  %6s  [%s, %s]  %6s  %6s", Share(eval, "pass@1"), Share(eval, "pass@1_low"),
      Share(eval, "pass@1_high"), Share(eval, "greedy"), Share(eval, "greedy_low"),
      Share(eval, "greedy_high"), Share(eval, "format_frac"),
      length == eval.end() ? "-" : absl::StrFormat("%.1f", length->get<double>()));
}

std::string FormatStages(const ordered_json& report) {
  size_t kind_width = 9;
  for (const ordered_json& stage : report.at("stages")) {
    kind_width = std::max(kind_width, stage.at("kind").get<std::string>().size());
  }
  const int width = static_cast<int>(kind_width);
  std::string text =
      absl::StrFormat("%-14s %-*s %7s  %7s  %-14s  %6s  %-14s  %6s  %6s\n", "stage", width, "kind",
                      "updates", "sampled", "95 % interval", "greedy", "95 % interval", "format",
                      "length");
  double prompts = 0;
  for (const ordered_json& stage : report.at("stages")) {
    const ordered_json& evals = stage.at("eval");
    const auto held_out = evals.find("held_out");
    std::string columns = held_out == evals.end() ? "" : EvalColumns(*held_out);
    if (stage.contains("rows")) {
      columns = absl::StrFormat("%7d samples kept", stage.at("rows").get<int64_t>());
    }
    absl::StrAppendFormat(&text, "%-14s %-*s %7d  %s\n", stage.at("name").get<std::string>(), width,
                          stage.at("kind").get<std::string>(), stage.at("updates").get<int64_t>(),
                          columns);
    if (held_out != evals.end()) prompts = std::max(prompts, held_out->value("samples", 0.0));
    const auto textbook = evals.find("textbook");
    if (textbook != evals.end()) {
      absl::StrAppendFormat(&text, "%-14s %-*s %7s  %s\n", "  its textbook", width, "", "",
                            EvalColumns(*textbook));
    }
  }
  absl::StrAppendFormat(&text, "accuracy on %.0f held-out samples; whole run %.0f s\n", prompts,
                        report.at("seconds").get<double>());
  return text;
}

}  // namespace

std::string MakeReportJson(const v1::Config& config, const std::string& run_id, double seconds,
                           const std::vector<MetricsRow>& rows) {
  ordered_json stages = ordered_json::array();
  for (int i = 0; i < config.stage_size(); ++i) {
    std::map<std::string, std::map<std::string, double>> evals;
    int64_t steps = 0;
    int64_t updates = 0;
    double rows_kept = -1;  // of a rejection_sampling stage
    for (const MetricsRow& row : rows) {
      if (row.stage_index != static_cast<uint32_t>(i)) continue;
      steps = std::max(steps, row.step);
      updates = std::max(updates, row.update);
      for (const auto& [key, value] : row.values) {
        if (key == "rejection/rows") rows_kept = std::max(rows_kept, value);
        if (!absl::StartsWith(key, "eval/")) continue;
        const size_t slash = key.find('/', 5);
        if (slash != std::string::npos)
          evals[key.substr(5, slash - 5)][key.substr(slash + 1)] = value;
      }
    }
    stages.push_back({{"name", config.stage(i).name()},
                      {"kind", config.stage(i).kind()},
                      {"steps", steps},
                      {"updates", updates},
                      {"eval", evals}});
    if (rows_kept >= 0) stages.back()["rows"] = static_cast<int64_t>(rows_kept);
  }
  const ordered_json report = {
      {"run_id", run_id}, {"seconds", seconds}, {"stages", std::move(stages)}};
  return report.dump(2) + "\n";
}

absl::StatusOr<std::string> FormatReport(const std::string& report_json) {
  try {
    return FormatStages(ordered_json::parse(report_json));
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat("report.json is no report of a run: ", error.what()));
  }
}

}  // namespace r1::learner
