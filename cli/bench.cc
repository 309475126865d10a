// r1 bench: starts one of the benchmark programs that were built beside r1.

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/subprocess.h"
#include "common/nearest_name.h"

namespace r1::cli {
namespace {

struct Benchmark {
  const char* name;  // r1_bench_<name>
  const char* what;
};
constexpr Benchmark kBenchmarks[] = {
    {"tokenizer", "encoding and decoding, beside Hugging Face's tokenizers"},
    {"rewards", "math and code rewards, beside math-verify"},
    {"generate", "the whole engine with a model of any config.json, on CPU or GPU"},
    {"kernels", "each kernel, on CPU or GPU, beside its limit"},
    {"engine", "the CPU engine's operators with a preset"},
    {"policy", "the learner's forward and backward pass"},
};

// Becomes the benchmark: its output, signals and exit code are those of `r1 bench`.
absl::Status Become(const std::string& name, const std::vector<std::string>& arguments) {
  std::vector<std::string> known;
  for (const Benchmark& benchmark : kBenchmarks) known.push_back(benchmark.name);
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    return absl::InvalidArgumentError(absl::StrCat("expected one of ", absl::StrJoin(known, ", "),
                                                   ", found \"", name, "\"",
                                                   DidYouMean(name, known)));
  }
  const std::string own_path = OwnProgramPath();
  const std::string path =
      absl::StrCat(own_path.substr(0, own_path.rfind('/')), "/r1_bench_", name);
  std::vector<char*> words = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) {
    words.push_back(const_cast<char*>(argument.c_str()));
  }
  words.push_back(nullptr);
  execv(path.c_str(), words.data());
  const std::string advice = errno == ENOENT ? "; `make build` builds it" : "";
  return absl::NotFoundError(absl::StrCat("start ", path, ": ", strerror(errno), advice));
}

int Bench(const ParsedCommand& parsed) {
  const std::vector<std::string>& words = parsed.positionals();
  return ReportError("bench",
                     Become(words[0], std::vector<std::string>(words.begin() + 1, words.end())));
}

std::string KnownBenchmarks() {
  std::vector<std::string> lines;
  for (const Benchmark& benchmark : kBenchmarks) {
    lines.push_back(absl::StrCat(benchmark.name, " (", benchmark.what, ")"));
  }
  return absl::StrJoin(lines, "; ");
}

}  // namespace

const Command& BenchCommand() {
  static const auto* command = new Command{
      {.name = "bench",
       .summary = "Measures a part of the program, beside its limit or the best known peer.",
       .positionals = {{.name = "BENCHMARK", .help = KnownBenchmarks(), .ends_flags = true},
                       {.name = "ARGUMENTS",
                        .help = "the benchmark's own; --help lists them",
                        .optional = true,
                        .repeated = true}}},
      &Bench};
  return *command;
}

}  // namespace r1::cli
