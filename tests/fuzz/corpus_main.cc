// Runs a fuzz target without libFuzzer: every file of the corpus, then mutations of them. Mutation
// i is a pure function of the corpus, the dictionary and i, so a failure is found again with
// `--only i`. It is no substitute for a fuzzer, which sees coverage; it makes every target an
// ordinary test under every compiler and sanitizer.
//
//   x_fuzz [--mutations N] [--only I] [--length-max BYTES] [--dictionary FILE] CORPUS_FOLDER

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/filesystem.h"
#include "common/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Sanitizers read these at start: their reports should end in SIGABRT, so that the input is named
// below.
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }
// Present when a sanitizer is linked, which then wants the other signals for itself.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace r1 {
namespace {

constexpr uint64_t kFileBytesMax = uint64_t{1} << 24;
constexpr unsigned kSecondsPerInputMax = 10;
constexpr int64_t kResidentKibMax = int64_t{2} << 20;  // sanitizers' shadow memory included

// What runs now, for the handlers: they may only call write(2).
char current_input[512];

void PrintCurrentInput() {
  const size_t length = std::char_traits<char>::length(current_input);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, current_input, length);
}

void OnFatalSignal(int signal_number) {
  PrintCurrentInput();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void OnTimeout(int) {
  PrintCurrentInput();
  const char text[] = "fuzz: the input ran longer than 10 s\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
  _exit(1);
}

struct Options {
  uint64_t mutations = 20000;
  int64_t only = -1;
  size_t length_max = 4096;
  std::string dictionary;
  std::string corpus;
};

class Runner {
 public:
  explicit Runner(const Options& options) : options_(options) {}

  absl::Status LoadInputs() {
    R1_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        RealFileSystem().List(options_.corpus));
    for (const std::string& name : names) {
      R1_ASSIGN_OR_RETURN(std::string input,
                          RealFileSystem().Read(JoinPath(options_.corpus, name), kFileBytesMax));
      corpus_.push_back(std::move(input));
      corpus_names_.push_back(name);
    }
    if (corpus_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(options_.corpus, ": no file in the corpus"));
    }
    if (options_.dictionary.empty()) return absl::OkStatus();
    return LoadDictionary();
  }

  absl::Status Run() {
    if (options_.only >= 0) {
      return RunInput(Mutation(static_cast<uint64_t>(options_.only)), MutationLabel(options_.only));
    }
    for (size_t i = 0; i < corpus_.size(); ++i) {
      R1_RETURN_IF_ERROR(RunInput(corpus_[i], JoinPath(options_.corpus, corpus_names_[i])));
    }
    for (uint64_t i = 0; i < options_.mutations; ++i) {
      R1_RETURN_IF_ERROR(RunInput(Mutation(i), MutationLabel(i)));
    }
    std::cout << "fuzz: " << corpus_.size() << " corpus files and " << options_.mutations
              << " mutations ran clean" << std::endl;
    return absl::OkStatus();
  }

 private:
  // libFuzzer's format: lines of [name=]"text with \\, \" and \xAB", and # comments.
  absl::Status LoadDictionary() {
    R1_ASSIGN_OR_RETURN(const std::string text,
                        RealFileSystem().Read(options_.dictionary, kFileBytesMax));
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      const size_t open = line.find('"');
      const size_t close = line.rfind('"');
      if (line.empty() || line[0] == '#') continue;
      std::string word;
      if (open == close || !absl::CUnescape(line.substr(open + 1, close - open - 1), &word)) {
        return absl::InvalidArgumentError(
            absl::StrCat(options_.dictionary, ": expected \"a word in quotes\", found ", line));
      }
      dictionary_.push_back(std::move(word));
    }
    return absl::OkStatus();
  }

  static std::string MutationLabel(uint64_t index) {
    return absl::StrCat("mutation ", index, " (again: --only ", index, ")");
  }

  absl::Status RunInput(const std::string& input, const std::string& label) {
    std::snprintf(current_input, sizeof(current_input), "\nfuzz: failed on %s\n", label.c_str());
    if (options_.only >= 0) std::cerr << "input: \"" << absl::CHexEscape(input) << "\"\n";
    alarm(kSecondsPerInputMax);
    // A copy of exactly this size, so that AddressSanitizer sees a read past the end.
    const std::vector<uint8_t> bytes(input.begin(), input.end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    alarm(0);
    struct rusage usage = {};
    if (getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > kResidentKibMax) {
      return absl::ResourceExhaustedError(absl::StrCat(label, ": expected at most ",
                                                       kResidentKibMax, " KiB of memory, found ",
                                                       usage.ru_maxrss));
    }
    return absl::OkStatus();
  }

  std::string Mutation(uint64_t index) const {
    Rng rng(/*run_seed=*/1, /*stage_index=*/0, RngPurpose::kTest, /*group_id=*/index,
            /*sample_index=*/0);
    std::string input = corpus_[rng.NextBelow(corpus_.size())];
    const uint64_t changes = 1 + rng.NextBelow(6);
    for (uint64_t i = 0; i < changes; ++i) Change(rng, input);
    if (input.size() > options_.length_max) input.resize(options_.length_max);
    return input;
  }

  void Change(Rng& rng, std::string& input) const {
    const size_t at = rng.NextBelow(input.size() + 1);
    const size_t left = input.size() - at;
    const size_t count = left == 0 ? 0 : 1 + rng.NextBelow(std::min<size_t>(left, 32));
    switch (rng.NextBelow(8)) {
      case 0:  // flip a bit
        if (left > 0) input[at] = static_cast<char>(input[at] ^ (1 << rng.NextBelow(8)));
        break;
      case 1:  // any byte
        if (left > 0) input[at] = static_cast<char>(rng.NextBelow(256));
        break;
      case 2:  // insert bytes
        for (uint64_t n = 1 + rng.NextBelow(4); n > 0; --n) input.insert(at, 1, RandomByte(rng));
        break;
      case 3:  // delete a piece
        input.erase(at, count);
        break;
      case 4:  // repeat a piece
        for (uint64_t n = 1 + rng.NextBelow(8); n > 0; --n) {
          input.insert(at, input.substr(at, count));
        }
        break;
      case 5: {  // the front of this input, the back of another
        const std::string& other = corpus_[rng.NextBelow(corpus_.size())];
        input = input.substr(0, at) + other.substr(rng.NextBelow(other.size() + 1));
        break;
      }
      case 6:  // a number at a limit
        input.replace(at, count, kNumbers[rng.NextBelow(std::size(kNumbers))]);
        break;
      case 7:  // a word of the format
        if (!dictionary_.empty()) input.insert(at, dictionary_[rng.NextBelow(dictionary_.size())]);
        break;
    }
  }

  // Half of them printable, since most formats are text.
  static char RandomByte(Rng& rng) {
    return static_cast<char>(rng.NextBelow(2) == 0 ? rng.NextBelow(256) : ' ' + rng.NextBelow(95));
  }

  static constexpr const char* kNumbers[] = {"0",
                                             "-1",
                                             "127",
                                             "128",
                                             "255",
                                             "65536",
                                             "2147483647",
                                             "-2147483648",
                                             "4294967295",
                                             "4294967296",
                                             "9223372036854775807",
                                             "-9223372036854775808",
                                             "18446744073709551615",
                                             "18446744073709551616",
                                             "1e308",
                                             "1e-320"};

  const Options options_;
  std::vector<std::string> corpus_;
  std::vector<std::string> corpus_names_;
  std::vector<std::string> dictionary_;
};

absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name.rfind("--", 0) != 0) {
      options.corpus = name;
      continue;
    }
    const std::string value = ++i < arguments.size() ? arguments[i] : "";
    const bool known = (name == "--mutations" && absl::SimpleAtoi(value, &options.mutations)) ||
                       (name == "--only" && absl::SimpleAtoi(value, &options.only)) ||
                       (name == "--length-max" && absl::SimpleAtoi(value, &options.length_max)) ||
                       (name == "--dictionary" && !(options.dictionary = value).empty());
    if (!known) {
      return absl::InvalidArgumentError(absl::StrCat("bad flag or value: ", name, " ", value));
    }
  }
  if (options.corpus.empty()) return absl::InvalidArgumentError("expected a corpus folder");
  return options;
}

absl::Status RunCorpus(const std::vector<std::string>& arguments) {
  R1_ASSIGN_OR_RETURN(const Options options, ParseOptions(arguments));
  Runner runner(options);
  R1_RETURN_IF_ERROR(runner.LoadInputs());
  return runner.Run();
}

}  // namespace
}  // namespace r1

int main(int argc, char** argv) {
  if (__sanitizer_set_death_callback == nullptr) {
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
      signal(signal_number, r1::OnFatalSignal);
    }
  }
  signal(SIGABRT, r1::OnFatalSignal);
  signal(SIGALRM, r1::OnTimeout);
  const absl::Status status = r1::RunCorpus(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "fuzz: " << status << "\n";
  return 1;
}
