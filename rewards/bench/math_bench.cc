// r1_bench_rewards [--code] [FILE.jsonl…]: with --code, the rates of the sandbox (code_bench.h).
// For each file, the reward `math` over labelled rows {response or prediction, answer, expected}:
// the share of verdicts that are as expected, the rows that are not, and how many rows one core
// judges in a second; then the same by math-verify, when Python has it. Without arguments: the
// sandbox, and the labelled rows of the tests.

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/bench/python_peer.h"
#include "common/clock.h"
#include "common/command_line.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/utf8.h"
#include "rewards/bench/code_bench.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

constexpr size_t kLongBytes = 8 << 10;

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

const CommandSpec kCommand = {
    .name = "rewards",
    .summary = "Measures the rewards math, beside math-verify if Python has it, and code.",
    .positionals = {{.name = "FILES",
                     .help = "JSONL, rows {response or prediction, answer, expected}; without any "
                             "and without --code: everything, with the rows of the tests",
                     .optional = true,
                     .repeated = true}},
    .flags = {{.name = "code", .help = "verdicts a second of the sandbox"}}};

bool MeasureFile(const std::string& path, const Reward& reward) {
  const absl::StatusOr<std::vector<LabelledRow>> rows = ReadRows(path);
  if (!rows.ok() || rows->empty()) {
    std::cerr << "r1_bench_rewards: " << path << ": "
              << (rows.ok() ? "no rows" : rows.status().message()) << "\n";
    return false;
  }
  std::cout << path << "\n";
  const bool is_pairs = !rows->front().prediction.empty();
  PrintVerdicts(*rows, reward);
  PrintRate(*rows, reward, 0, is_pairs ? "pairs" : "outputs");
  if (!is_pairs) PrintRate(*rows, reward, kLongBytes, "outputs of 8 KiB and more");
  std::cout.flush();
  return RunPythonPeer("math_verify", "math-verify", R1_PEER_SCRIPT, {path});
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<ParsedCommand> command = ParseCommand(kCommand, arguments);
  if (!command.ok()) {
    std::cerr << "r1_bench_rewards: " << command.status().message() << "\n";
    return 2;
  }
  if (command->Has("help")) {
    std::cout << CommandHelp("r1 bench", kCommand);
    return 0;
  }
  std::vector<std::string> files = command->positionals();
  const bool everything = files.empty() && !command->Has("code");
  if (everything) files = {R1_FIXTURES "/math_hard.jsonl", R1_FIXTURES "/math_outputs.jsonl"};
  if ((everything || command->Has("code")) && !PrintCodeRates()) return 3;
  const auto reward = MakeReward("math");
  for (const std::string& path : files) {
    if (!MeasureFile(path, **reward)) return 3;
  }
  return 0;
}

}  // namespace
}  // namespace r1::rewards

int main(int argc, char** argv) {
  return r1::rewards::Main(std::vector<std::string>(argv + 1, argv + argc));
}
