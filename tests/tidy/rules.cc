#include "tests/tidy/rules.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/utf8.h"

namespace r1::tidy {
namespace {

constexpr size_t kColumnsMax = 100;
constexpr size_t kConfigLinesMax = 60;

std::string Extension(const std::string& path) {
  return std::filesystem::path(path).extension().string();
}
std::string Stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }
bool IsHeader(const std::string& path) {
  return Extension(path) == ".h" || Extension(path) == ".cuh";
}
bool IsCpp(const std::string& path) {
  return IsHeader(path) || Extension(path) == ".cc" || Extension(path) == ".cu";
}
bool IsBuildFile(const std::string& path) {
  return Extension(path) == ".cmake" || absl::EndsWith(path, "CMakeLists.txt");
}
bool IsTest(const std::string& path) { return absl::StartsWith(path, "tests/"); }

// "rollout" for rollout/engine/engine.h and for tests/rollout/engine_test.cc.
std::string FolderOf(const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  return parts[0] == "tests" && parts.size() > 2 ? parts[1] : parts[0];
}

// Collects the violations of one file.
class Report {
 public:
  explicit Report(const SourceFile& file) : file_(file) {}
  void Add(size_t line_index, const std::string& what) {
    violations_.push_back({file_.path, static_cast<int>(line_index) + 1, what});
  }
  std::vector<Violation> Take() { return std::move(violations_); }

 private:
  const SourceFile& file_;
  std::vector<Violation> violations_;
};

// "common/log.h" of `#include "common/log.h"` or <common/log.h>; empty for other lines.
std::string IncludedPath(const std::string& line) {
  std::string rest = line;
  rest.erase(std::remove(rest.begin(), rest.end(), ' '), rest.end());
  if (!absl::StartsWith(rest, "#include")) return "";
  const size_t open = rest.find_first_of("<\"");
  const size_t close = rest.find_first_of(">\"", open + 1);
  if (open == std::string::npos || close == std::string::npos) return "";
  return rest.substr(open + 1, close - open - 1);
}

// The folders of ours that a folder sees besides itself. Folders that are not listed (cli, and
// tests that mirror none of them) see all.
const std::map<std::string, std::set<std::string>>& VisibleFolders() {
  static const auto* visible = new std::map<std::string, std::set<std::string>>{
      {"proto", {}},
      {"common", {"proto"}},
      {"kernels", {"common"}},
      {"rewards", {"common", "proto"}},
      {"rollout", {"kernels", "rewards", "common", "proto"}},
      {"learner", {"kernels", "common", "proto"}},
      {"docs", {"common", "proto"}},
  };
  return *visible;
}

// Headers of a library, by the beginning of their path, and the folders that may include them.
struct Library {
  std::string name;
  std::vector<std::string> beginnings;
  std::set<std::string> folders;
};

const std::vector<Library>& Libraries() {
  static const auto* libraries = new std::vector<Library>{
      {"LibTorch", {"torch/", "ATen/", "c10/"}, {"learner"}},
      {"CUDA",
       {"cuda", "cublas", "curand", "cub/", "cooperative_groups"},
       {"kernels", "rollout", "learner"}},
      {"MPI", {"mpi.h"}, {"learner"}},
      {"NCCL", {"nccl"}, {"learner"}},
      {"gRPC", {"grpcpp/", "grpc/", "grpc++/"}, {"rollout", "learner", "rewards"}},
  };
  return *libraries;
}

bool BeginsWithAny(const std::string& path, const std::vector<std::string>& beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(), [&](const std::string& beginning) {
    return absl::StartsWith(path, beginning);
  });
}

// Why this file may not include that header; empty when it may.
std::string BorderProblem(const std::string& path, const std::string& included) {
  const std::string folder = FolderOf(path);
  const auto visible = VisibleFolders().find(folder);
  const std::string target = included.substr(0, included.find('/'));
  const bool is_ours = VisibleFolders().count(target) > 0 || target == "cli";
  if (visible != VisibleFolders().end() && is_ours && target != folder &&
      visible->second.count(target) == 0) {
    return absl::StrCat(folder, " sees ",
                        visible->second.empty() ? "nothing" : absl::StrJoin(visible->second, ", "),
                        ", not ", target);
  }
  const std::string stem = Stem(path);
  const bool is_grpc = absl::EndsWith(included, ".grpc.pb.h") ||
                       BeginsWithAny(included, Libraries().back().beginnings);
  const bool is_endpoint = absl::EndsWith(stem, "_service") || absl::EndsWith(stem, "_client") ||
                           absl::EndsWith(stem, "_service_test") ||
                           absl::EndsWith(stem, "_client_test");
  if (is_grpc && !is_endpoint) return "gRPC types belong in *_service.* and *_client.* only";
  const bool is_collective = included == "mpi.h" || absl::StartsWith(included, "nccl");
  if (is_collective && !absl::StartsWith(path, "learner/collectives")) {
    return absl::StrCat(included, " belongs in learner/collectives.* only");
  }
  for (const Library& library : Libraries()) {
    const bool is_bound =
        visible != VisibleFolders().end() && BeginsWithAny(included, library.beginnings);
    if (is_bound && library.folders.count(folder) == 0) {
      return absl::StrCat(folder, " does not see ", library.name);
    }
  }
  return "";
}

struct BannedCall {
  std::string text;  // as it is written; not preceded by a letter, digit or _
  std::string why;
  bool in_tests = false;                   // banned in tests as well
  std::vector<std::string> allowed_paths;  // parts of the paths where it belongs
};

const std::vector<BannedCall>& BannedCalls() {
  static const auto* calls = new std::vector<BannedCall>{
      {"std::string_view", "absl::string_view: Debian's abseil has a type of its own", true, {}},
      {"using namespace",
       "the namespace's name, since every includer would get it",
       true,
       {".cc", ".cu"}},
      {"rand(", "common/rng.h: every random number is a function of the run's seed", true, {}},
      {"srand(", "common/rng.h: every random number is a function of the run's seed", true, {}},
      {"std::random_device",
       "common/rng.h: every random number is a function of the run's seed",
       true,
       {}},
      {"std::mt19937",
       "common/rng.h: every random number is a function of the run's seed",
       false,
       {}},
      {"std::this_thread::sleep",
       "a wait that ends when it is told to (StopSignal::WaitFor)",
       false,
       {"learner/status/http_server.cc"}},
      {"usleep(",
       "a wait that ends when it is told to (StopSignal::WaitFor)",
       false,
       {"cli/run_supervisor.cc"}},
      // gRPC takes its deadlines as system_clock.
      {"system_clock::now",
       "Clock (common/clock.h)",
       false,
       {"common/clock.", "common/log.", "_client.", "_service."}},
      {"steady_clock::now", "Clock (common/clock.h)", false, {"common/clock.", "/bench/"}},
      {"high_resolution_clock", "Clock (common/clock.h)", true, {}},
      {"sprintf(", "absl::StrFormat: it knows the size", true, {}},
      {"strcpy(", "std::string", true, {}},
      {"strcat(", "std::string", true, {}},
      {"assert(", "R1_CHECK: it stays on in release", true, {}},
  };
  return *calls;
}

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Whether `text` stands in the line, not as the end of a longer name; as a word of its own, not as
// its beginning either.
bool ContainsName(const std::string& line, const std::string& text, bool is_word) {
  for (size_t at = line.find(text); at != std::string::npos; at = line.find(text, at + 1)) {
    const size_t end = at + text.size();
    const bool begins = at == 0 || !IsNameCharacter(line[at - 1]);
    const bool ends = !is_word || end == line.size() || !IsNameCharacter(line[end]);
    if (begins && ends) return true;
  }
  return false;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsSnakeCase(const std::string& name) {
  return !name.empty() && std::islower(static_cast<unsigned char>(name[0])) != 0 &&
         std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return std::isupper(c) != 0; });
}

bool IsCamelCase(const std::string& name) {
  return !name.empty() && std::isupper(static_cast<unsigned char>(name[0])) != 0 &&
         !absl::StrContains(name, "_");
}

bool IsUpperCase(const std::string& name) {
  return std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return std::islower(c) != 0; });
}

// Blanks literals and comments of one line after another; remembers what goes on in the next line.
class Blanker {
 public:
  std::string Blank(const std::string& line) {
    std::string blanked = line;
    for (size_t i = 0; i < line.size();) {
      const size_t length = Step(line, i);
      if (state_ != State::kCode || was_inside_) {
        std::fill_n(blanked.begin() + static_cast<int64_t>(i), length, ' ');
      }
      i += length;
    }
    if (state_ == State::kLineComment) state_ = State::kCode;
    return blanked;
  }

 private:
  enum class State { kCode, kLineComment, kBlockComment, kString, kCharacter, kRawString };

  // Consumes one token at i and returns its length; afterwards state_ or was_inside_ says whether
  // it is to be blanked.
  size_t Step(const std::string& line, size_t i) {
    was_inside_ = state_ != State::kCode;
    const auto at = [&](const std::string& text) {
      return line.compare(i, text.size(), text) == 0;
    };
    switch (state_) {
      case State::kCode:
        return StepCode(line, i);
      case State::kLineComment:
        return line.size() - i;
      case State::kBlockComment:
        return at("*/") ? Leave(2) : 1;
      case State::kRawString:
        return at(raw_end_) ? Leave(raw_end_.size()) : 1;
      case State::kString:
      case State::kCharacter:
        if (line[i] == '\\') return std::min<size_t>(2, line.size() - i);
        return line[i] == (state_ == State::kString ? '"' : '\'') ? Leave(1) : 1;
    }
    return 1;
  }

  size_t StepCode(const std::string& line, size_t i) {
    const auto at = [&](const std::string& text) {
      return line.compare(i, text.size(), text) == 0;
    };
    if (at("//")) return Enter(State::kLineComment, line.size() - i);
    if (at("/*")) return Enter(State::kBlockComment, 2);
    if (at("R\"") && (i == 0 || !IsNameCharacter(line[i - 1]))) {
      const size_t open = line.find('(', i);
      if (open == std::string::npos) return 1;
      raw_end_ = absl::StrCat(")", line.substr(i + 2, open - i - 2), "\"");
      return Enter(State::kRawString, open + 1 - i);
    }
    if (line[i] == '"') return Enter(State::kString, 1);
    // 1'000 is one number.
    if (line[i] == '\'' && (i == 0 || !IsNameCharacter(line[i - 1]))) {
      return Enter(State::kCharacter, 1);
    }
    return 1;
  }

  size_t Enter(State state, size_t length) {
    state_ = state;
    return length;
  }
  size_t Leave(size_t length) {
    state_ = State::kCode;
    return length;
  }

  State state_ = State::kCode;
  bool was_inside_ = false;
  std::string raw_end_;
};

}  // namespace

SourceFile MakeSourceFile(const std::string& path, const std::string& text) {
  SourceFile file;
  file.path = path;
  file.lines = absl::StrSplit(text, '\n');
  file.ends_with_newline = file.lines.back().empty();
  if (file.ends_with_newline) file.lines.pop_back();
  return file;
}

std::vector<SourceFile> ReadRepository(const std::string& root) {
  const std::set<std::string> skipped_folders = {".git",   ".deps", ".venv",       "build", "runs",
                                                 "corpus", ".gpu",  "__pycache__", "golden"};
  const std::set<std::string> extensions = {".h",     ".cc",   ".cu", ".cuh",  ".proto",
                                            ".cmake", ".toml", ".md", ".json", ".sh",
                                            ".py",    ".html", ".js", ".css"};
  std::vector<SourceFile> files;
  std::filesystem::recursive_directory_iterator walk(root);
  for (auto entry = begin(walk); entry != end(walk); ++entry) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory() && skipped_folders.count(name) > 0) entry.disable_recursion_pending();
    const std::string path = std::filesystem::relative(entry->path(), root).string();
    const bool is_text =
        extensions.count(Extension(path)) > 0 || name == "CMakeLists.txt" || name == "Makefile";
    if (!entry->is_regular_file() || !is_text) continue;
    std::ostringstream text;
    text << std::ifstream(entry->path()).rdbuf();
    files.push_back(MakeSourceFile(path, text.str()));
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return files;
}

std::vector<std::string> BlankCommentsAndLiterals(const std::vector<std::string>& lines) {
  Blanker blanker;
  std::vector<std::string> blanked;
  for (const std::string& line : lines) blanked.push_back(blanker.Blank(line));
  return blanked;
}

std::vector<Violation> CheckIncludes(const SourceFile& file) {
  Report report(file);
  if (!IsCpp(file.path)) return {};
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const std::string included = IncludedPath(file.lines[i]);
    const std::string problem = included.empty() ? "" : BorderProblem(file.path, included);
    if (!problem.empty()) report.Add(i, absl::StrCat("#include ", included, ": ", problem));
  }
  return report.Take();
}

std::vector<Violation> CheckLineLength(const SourceFile& file) {
  Report report(file);
  if (!IsCpp(file.path) && !IsBuildFile(file.path) && Extension(file.path) != ".proto") return {};
  for (size_t i = 0; i < file.lines.size(); ++i) {
    // Continuation bytes of UTF-8 take no column.
    const auto columns = std::count_if(file.lines[i].begin(), file.lines[i].end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    });
    if (static_cast<size_t>(columns) > kColumnsMax) {
      report.Add(i, absl::StrCat("expected at most ", kColumnsMax, " columns, found ", columns));
    }
  }
  return report.Take();
}

std::vector<Violation> CheckCharacters(const SourceFile& file) {
  Report report(file);
  const bool tabs_allowed = Stem(file.path) == "Makefile";
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const std::string& line = file.lines[i];
    if (!line.empty() && (line.back() == ' ' || line.back() == '\t')) {
      report.Add(i, "trailing blank");
    }
    if (!IsValidUtf8(line)) report.Add(i, "invalid UTF-8");
    const bool has_control = std::any_of(line.begin(), line.end(), [&](unsigned char c) {
      return (c < 0x20 && !(c == '\t' && tabs_allowed)) || c == 0x7F;
    });
    if (has_control) report.Add(i, "tab or control character");
  }
  if (!file.ends_with_newline) {
    report.Add(file.lines.size() - 1, "no line break at the end of the file");
  }
  if (!file.lines.empty() && file.lines.back().empty()) {
    report.Add(file.lines.size() - 1, "empty line at the end");
  }
  return report.Take();
}

std::vector<Violation> CheckMarkers(const SourceFile& file) {
  Report report(file);
  if (FolderOf(file.path) == "tidy") return {};  // names them
  const std::vector<std::string> markers = {"TODO", "FIXME", "XXX"};
  for (size_t i = 0; i < file.lines.size(); ++i) {
    for (const std::string& marker : markers) {
      if (ContainsName(file.lines[i], marker, /*is_word=*/true)) {
        report.Add(i, absl::StrCat("leftover marker ", marker));
      }
    }
  }
  return report.Take();
}

std::vector<Violation> CheckMacros(const SourceFile& file) {
  Report report(file);
  if (!IsCpp(file.path)) return {};
  bool has_pragma_once = false;
  const std::vector<std::string> code = BlankCommentsAndLiterals(file.lines);
  for (size_t i = 0; i < code.size(); ++i) {
    if (absl::StartsWith(code[i], "#pragma once")) has_pragma_once = true;
    const size_t define = code[i].find("#define ");
    if (define != std::string::npos && code[i].compare(define + 8, 3, "R1_") != 0) {
      report.Add(i, "a macro must begin with R1_; headers use #pragma once, not guards");
    }
  }
  if (IsHeader(file.path) && !has_pragma_once) report.Add(0, "a header must have #pragma once");
  return report.Take();
}

std::vector<Violation> CheckBannedCalls(const SourceFile& file) {
  Report report(file);
  if (!IsCpp(file.path)) return {};
  const std::vector<std::string> code = BlankCommentsAndLiterals(file.lines);
  for (const BannedCall& call : BannedCalls()) {
    if (IsTest(file.path) && !call.in_tests) continue;
    const auto is_in_path = [&](const std::string& part) {
      return absl::StrContains(file.path, part);
    };
    if (std::any_of(call.allowed_paths.begin(), call.allowed_paths.end(), is_in_path)) continue;
    for (size_t i = 0; i < code.size(); ++i) {
      if (ContainsName(code[i], call.text, /*is_word=*/false)) {
        report.Add(i, absl::StrCat(call.text, ": use ", call.why));
      }
    }
  }
  return report.Take();
}

std::vector<Violation> CheckProtoNames(const SourceFile& file) {
  Report report(file);
  if (Extension(file.path) != ".proto") return {};
  bool in_enum = false;
  const std::vector<std::string> code = BlankCommentsAndLiterals(file.lines);
  for (size_t i = 0; i < code.size(); ++i) {
    const std::vector<std::string> words = absl::StrSplit(code[i], ' ', absl::SkipEmpty());
    if (words.empty()) continue;
    if (words[0] == "enum" || words[0] == "message") {
      in_enum = words[0] == "enum";
      if (words.size() < 2 || !IsCamelCase(words[1])) report.Add(i, "expected a CamelCase name");
    } else if (words[0] == "}") {
      in_enum = false;
    } else if (words[0] != "option" && words[0] != "syntax") {
      const auto equals = std::find(words.begin(), words.end(), "=");
      // "int32 name = 7", not "[(rule) = {…".
      const bool is_numbered =
          equals != words.end() && equals + 1 != words.end() && IsDigit((equals + 1)->front());
      if (equals == words.begin() || !is_numbered) continue;
      const std::string& name = *(equals - 1);
      const bool good = in_enum ? IsUpperCase(name) : IsSnakeCase(name);
      if (!good) {
        report.Add(
            i, absl::StrCat("expected ", in_enum ? "UPPER_CASE" : "snake_case", ", found ", name));
      }
    }
  }
  return report.Take();
}

std::vector<Violation> CheckConfigs(const SourceFile& file) {
  Report report(file);
  if (!absl::StartsWith(file.path, "configs/") || Extension(file.path) != ".toml") return {};
  if (file.lines.size() > kConfigLinesMax) {
    report.Add(kConfigLinesMax, absl::StrCat("expected at most ", kConfigLinesMax, " lines, found ",
                                             file.lines.size()));
  }
  if (file.lines.empty() || !absl::StartsWith(file.lines[0], "# ")) {
    report.Add(
        0, "expected a first comment: what it does, on which hardware, how long, what to expect");
  }
  return report.Take();
}

}  // namespace r1::tidy
