// r1_bench_rewards [--code] [FILE.jsonl…]: with --code, the rates of the sandbox (code_bench.h).
// For each file, the reward `math` over labelled rows {response or prediction, answer, expected}:
// the share of verdicts that are as expected, the rows that are not, and how many rows one core
// judges in a second.

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/utf8.h"
#include "rewards/bench/code_bench.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

struct LabelledRow {
  std::string id, response, prediction, answer;
  bool expected = false;
};

absl::StatusOr<std::vector<LabelledRow>> ReadRows(const std::string& path) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<JsonlReader> reader, JsonlReader::Open(path));
  std::vector<LabelledRow> rows;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) return rows;
    R1_RETURN_IF_ERROR(row.status);
    const JsonFields fields(row.object, row.where);
    LabelledRow labelled;
    R1_ASSIGN_OR_RETURN(labelled.id, fields.String("id", ""));
    R1_ASSIGN_OR_RETURN(labelled.response, fields.String("response", ""));
    R1_ASSIGN_OR_RETURN(labelled.prediction, fields.String("prediction", ""));
    R1_ASSIGN_OR_RETURN(labelled.answer, fields.String("answer"));
    R1_ASSIGN_OR_RETURN(labelled.expected, fields.Bool("expected", true));
    rows.push_back(std::move(labelled));
  }
}

RewardInput InputOf(const LabelledRow& row) {
  RewardInput input;
  input.response = row.response;
  input.prediction = row.prediction;
  input.answer = row.answer;
  return input;
}

void PrintVerdicts(const std::vector<LabelledRow>& rows, const Reward& reward) {
  int right = 0, false_positives = 0, masked = 0;
  for (const LabelledRow& row : rows) {
    const Score score = reward.ScoreSample(InputOf(row));
    const bool verdict = score.value == 1;
    right += verdict == row.expected ? 1 : 0;
    false_positives += verdict && !row.expected ? 1 : 0;
    masked += score.masked ? 1 : 0;
    if (verdict == row.expected) continue;
    std::cout << "  " << row.id << " expected " << row.expected << ", found " << score.reason
              << ": " << Quoted(row.answer) << " | "
              << Quoted(row.prediction.empty()
                            ? row.response.substr(row.response.size() -
                                                  std::min<size_t>(row.response.size(), 80))
                            : row.prediction)
              << "\n";
  }
  std::cout << absl::StreamFormat(
      "  %d of %d as expected (%.2f %%), %d false positives, %d masked\n", right, rows.size(),
      100.0 * right / rows.size(), false_positives, masked);
}

// Each row again and again for about a second, with its output filled up to `bytes_min`.
void PrintRate(std::vector<LabelledRow> rows, const Reward& reward, size_t bytes_min,
               const std::string& what) {
  for (LabelledRow& row : rows) {
    const std::string text =
        row.response.empty() ? "Therefore $x = 1$, and so on.\n" : row.response;
    std::string filler;
    while (filler.size() + row.response.size() < bytes_min) filler += text;
    if (bytes_min > 0) row.response = filler.substr(0, bytes_min) + row.response;
  }
  double slowest = 0;
  int64_t judged = 0;
  const Clock& clock = RealClock();
  const double begin = clock.MonotonicSeconds();
  double seconds = 0;
  while (seconds < 1) {
    for (const LabelledRow& row : rows) {
      const double row_begin = clock.MonotonicSeconds();
      (void)reward.ScoreSample(InputOf(row));
      slowest = std::max(slowest, clock.MonotonicSeconds() - row_begin);
    }
    judged += static_cast<int64_t>(rows.size());
    seconds = clock.MonotonicSeconds() - begin;
  }
  std::cout << absl::StreamFormat("  %s: %.0f a second on one core, slowest %.2f ms\n", what,
                                  judged / seconds, slowest * 1e3);
}

}  // namespace
}  // namespace r1::rewards

int main(int argc, char** argv) {
  using r1::rewards::LabelledRow;
  if (argc < 2) {
    std::cerr << "usage: r1_bench_rewards [--code] [FILE.jsonl…]\n";
    return 2;
  }
  const auto reward = r1::rewards::MakeReward("math");
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--code") {
      if (!r1::rewards::PrintCodeRates()) return 1;
      continue;
    }
    const absl::StatusOr<std::vector<LabelledRow>> rows = r1::rewards::ReadRows(argv[i]);
    if (!rows.ok() || rows->empty()) {
      std::cerr << "r1_bench_rewards: " << argv[i] << ": "
                << (rows.ok() ? "no rows" : rows.status().message()) << "\n";
      return 1;
    }
    std::cout << argv[i] << "\n";
    const bool is_pairs = !rows->front().prediction.empty();
    r1::rewards::PrintVerdicts(*rows, **reward);
    r1::rewards::PrintRate(*rows, **reward, 0, is_pairs ? "pairs" : "outputs");
    if (!is_pairs) r1::rewards::PrintRate(*rows, **reward, 8 << 10, "outputs of 8 KiB and more");
  }
  return 0;
}
