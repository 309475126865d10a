#include "rewards/code/judge.h"

#include <signal.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/hash.h"
#include "common/json.h"
#include "rewards/code/compare_output.h"
#include "rewards/code/cpp_program.h"

namespace r1::rewards::code {
namespace {

// Exit codes by which sandbox/inside/zygote.py and harness/test.h say what happened. A program may
// use them as well: it only makes its own verdict worse or another kind of bad.
constexpr int kSyntaxErrorExit = 100;
constexpr int kAssertExit = 101;

constexpr size_t kCompiledMax = 256;
constexpr size_t kDetailBytesMax = 300;

// What a job's end says before its output is looked at; kPass: nothing against it.
Verdict VerdictOfEnd(const JobResult& result) {
  const int status = result.wait_status;
  const bool by_signal = WIFSIGNALED(status);
  if (by_signal && WTERMSIG(status) == SIGSYS) return Verdict::kSecurityViolation;
  if (result.passed_output_limit) return Verdict::kOutputLimit;
  if (result.passed_memory_limit) return Verdict::kMemoryLimit;
  if (result.passed_cpu_limit || result.passed_wall_limit) return Verdict::kTimeout;
  if (by_signal && WTERMSIG(status) == SIGXCPU) return Verdict::kTimeout;
  if (by_signal && WTERMSIG(status) == SIGXFSZ) return Verdict::kOutputLimit;
  if (by_signal || WEXITSTATUS(status) != 0) return Verdict::kRuntimeError;
  return Verdict::kPass;
}

std::string LastLine(absl::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  text.remove_prefix(text.rfind('\n') + 1);
  return std::string(text.substr(0, kDetailBytesMax));
}

Judgement JudgementOf(Verdict verdict, absl::string_view detail) {
  return {.verdict = verdict, .tests_passed = 0, .detail = std::string(detail)};
}

Judgement InfraError(const absl::Status& status) {
  return JudgementOf(Verdict::kInfraError, status.message());
}

// Of a job that should end with exit code 0.
Judgement JudgeEnd(const JobResult& result) {
  const Verdict verdict = VerdictOfEnd(result);
  if (verdict != Verdict::kRuntimeError) return JudgementOf(verdict, "");
  const bool is_syntax =
      WIFEXITED(result.wait_status) && WEXITSTATUS(result.wait_status) == kSyntaxErrorExit;
  return JudgementOf(is_syntax ? Verdict::kCompileError : verdict, LastLine(result.error_output));
}

Judgement JudgeOutput(const CodeProblem& problem, const CodeTest& test, const JobResult& result) {
  const Judgement end = JudgeEnd(result);
  if (end.verdict != Verdict::kPass) return end;
  const bool is_equal = EqualOutputs(result.output, test.output, problem.tolerance);
  return JudgementOf(is_equal ? Verdict::kPass : Verdict::kWrongAnswer, "");
}

// The result must be there once, and the program must have ended well: what else it wrote to the
// descriptor makes it wrong.
Judgement JudgeValue(const CodeProblem& problem, const CodeTest& test, const JobResult& result) {
  const Judgement end = JudgeEnd(result);
  if (end.verdict != Verdict::kPass) return end;
  const std::optional<ExactJson> frame = ParseExactJson(result.results);
  const ExactJson* const value = frame ? frame->FindOrNull("value") : nullptr;
  const bool is_equal = value != nullptr && Equal(*value, test.expected, problem.tolerance);
  return JudgementOf(is_equal ? Verdict::kPass : Verdict::kWrongAnswer, "");
}

// A secret that the program under test cannot know. From the kernel, not from the run's seed: a
// reproducible secret would be none.
absl::StatusOr<std::string> MakeToken() {
  char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != static_cast<ssize_t>(sizeof(bytes))) {
    return absl::UnavailableError(absl::StrCat("getrandom: ", strerror(errno)));
  }
  return absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
}

Job PythonJob(const JobLimits& limits, const nlohmann::json& what, absl::string_view text) {
  Job job;
  job.limits = limits;
  job.text = absl::StrCat(DumpJson(what), "\n", text);
  return job;
}

// Of the two jobs of a Python test: `tested` is the program's, `testing` the test's own.
Judgement JudgePythonTest(const JobResult& testing, const JobResult& tested,
                          const std::string& token) {
  // What happened to the program comes first: the test can only say that it was gone.
  const Judgement program = JudgeEnd(tested);
  const bool is_program_fine = tested.was_ended || program.verdict == Verdict::kPass;
  const bool has_limit =
      VerdictOfEnd(tested) != Verdict::kPass && VerdictOfEnd(tested) != Verdict::kRuntimeError;
  if (has_limit || !is_program_fine) return program;
  if (testing.results == token && VerdictOfEnd(testing) == Verdict::kPass) {
    return JudgementOf(Verdict::kPass, "");
  }
  const Judgement test = JudgeEnd(testing);
  const bool by_assert =
      WIFEXITED(testing.wait_status) && WEXITSTATUS(testing.wait_status) == kAssertExit;
  if (by_assert || test.verdict == Verdict::kPass) {
    return JudgementOf(Verdict::kWrongAnswer, test.detail);
  }
  return test.verdict == Verdict::kCompileError ? JudgementOf(Verdict::kRuntimeError, test.detail)
                                                : test;
}

}  // namespace

const char* VerdictName(Verdict verdict) {
  static constexpr const char* kNames[] = {"infra_error",   "compile_error", "security_violation",
                                           "output_limit",  "memory_limit",  "timeout",
                                           "runtime_error", "wrong_answer",  "pass"};
  return kNames[static_cast<size_t>(verdict)];
}

Judgement Judge::Run(const CodeProblem& problem, const std::string& code, bool all_tests) {
  // A slot may have been lost to the kernel; a second one is tried before the sample is given up.
  const Judgement first = RunOnce(problem, code, all_tests);
  return first.verdict == Verdict::kInfraError ? RunOnce(problem, code, all_tests) : first;
}

Judgement Judge::RunOnce(const CodeProblem& problem, const std::string& code, bool all_tests) {
  Judgement total = JudgementOf(Verdict::kPass, "");
  for (const CodeTest& test : problem.tests) {
    const Judgement one = problem.language == Language::kPython ? RunPythonTest(problem, test, code)
                                                                : RunCppTest(problem, test, code);
    if (one.verdict == Verdict::kInfraError) return one;
    if (one.verdict == Verdict::kPass) {
      ++total.tests_passed;
      continue;
    }
    if (total.verdict == Verdict::kPass) {
      total.verdict = one.verdict;
      total.detail = one.detail;
    }
    if (!all_tests || one.verdict == Verdict::kCompileError) break;
  }
  return total;
}

Judgement Judge::RunPythonTest(const CodeProblem& problem, const CodeTest& test,
                               const std::string& code) {
  const std::string program = absl::StrCat(problem.setup, "\n", code);
  if (problem.kind != Kind::kAssertMain) {
    const bool is_stdio = problem.kind == Kind::kStdio;
    Job job = PythonJob(problem.limits, {{"do", "script"}}, program);
    job.input = test.input;
    if (!is_stdio) {
      // The arguments as they are written: nlohmann would round large integers.
      job.text =
          absl::StrCat("{\"do\":\"function\",\"entry_point\":", JsonString(problem.entry_point),
                       ",\"args\":", test.arguments, "}\n", program);
      job.takes_results = true;
    }
    const absl::StatusOr<std::vector<JobResult>> results = pool_->Run({job});
    if (!results.ok()) return InfraError(results.status());
    return is_stdio ? JudgeOutput(problem, test, (*results)[0])
                    : JudgeValue(problem, test, (*results)[0]);
  }
  const absl::StatusOr<std::string> token = MakeToken();
  if (!token.ok()) return InfraError(token.status());
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return InfraError(absl::UnavailableError(absl::StrCat("socketpair: ", strerror(errno))));
  }
  const OwnedFd test_end(ends[0]), program_end(ends[1]);
  Job testing = PythonJob(problem.limits,
                          {{"do", "test"},
                           {"setup", problem.setup},
                           {"entry_point", problem.entry_point},
                           {"token", *token}},
                          test.main);
  testing.channel = test_end.get();
  testing.takes_results = true;
  Job tested =
      PythonJob(problem.limits, {{"do", "serve"}, {"entry_point", problem.entry_point}}, program);
  tested.channel = program_end.get();
  const absl::StatusOr<std::vector<JobResult>> results = pool_->Run({testing, tested});
  if (!results.ok()) return InfraError(results.status());
  return JudgePythonTest((*results)[0], (*results)[1], *token);
}

Judgement Judge::RunCppTest(const CodeProblem& problem, const CodeTest& test,
                            const std::string& code) {
  const std::shared_ptr<const Compiled> compiled = Compile(problem, code, test.main);
  if (compiled->judgement.verdict != Verdict::kPass) return compiled->judgement;
  Job job;
  job.program = Program::kDescriptor;
  job.program_fd = compiled->program.get();
  job.arguments = {"main"};
  job.limits = problem.limits;
  job.input = test.input;
  job.text = test.arguments;
  job.takes_results = problem.kind != Kind::kStdio;
  const absl::StatusOr<std::vector<JobResult>> results = pool_->Run({job});
  if (!results.ok()) return InfraError(results.status());
  const JobResult& result = (*results)[0];
  if (problem.kind == Kind::kStdio) return JudgeOutput(problem, test, result);
  if (problem.kind == Kind::kFunction) return JudgeValue(problem, test, result);
  const Judgement end = JudgeEnd(result);
  const bool by_assert =
      WIFEXITED(result.wait_status) && WEXITSTATUS(result.wait_status) == kAssertExit;
  if (by_assert) return JudgementOf(Verdict::kWrongAnswer, end.detail);
  if (end.verdict != Verdict::kPass) return end;
  return JudgementOf(result.results == compiled->token ? Verdict::kPass : Verdict::kWrongAnswer,
                     "");
}

std::shared_ptr<const Judge::Compiled> Judge::Compile(const CodeProblem& problem,
                                                      const std::string& code,
                                                      const std::string& test_main) {
  auto made = std::make_shared<Compiled>();
  const std::string key =
      Sha256Hex(absl::StrCat(problem.standard, "\n", MakeCppProgram(problem, code, test_main, "")));
  {
    absl::MutexLock lock(&mutex_);
    const auto found = compiled_.find(key);
    if (found != compiled_.end()) return found->second;
  }
  const absl::StatusOr<std::string> token = MakeToken();
  if (!token.ok()) {
    made->judgement = InfraError(token.status());
    return made;
  }
  made->token = *token;
  Job job;
  job.program = Program::kPath;
  job.arguments = {"/usr/bin/g++",
                   absl::StrCat("-std=gnu++", problem.standard),
                   "-O1",
                   "-w",
                   "-I/r1/include",
                   "-x",
                   "c++",
                   "-",
                   "-o",
                   kExportPath};
  job.input = MakeCppProgram(problem, code, test_main, *token);
  job.exports = true;
  job.limits.cpu_seconds = 30;
  job.limits.wall_seconds = 120;
  job.limits.memory_bytes = 2ull << 30;
  job.limits.files_bytes = 256ull << 20;
  absl::StatusOr<std::vector<JobResult>> results = pool_->Run({job}, /*compiles=*/true);
  if (!results.ok()) {
    made->judgement = InfraError(results.status());
    return made;
  }
  JobResult& result = (*results)[0];
  if (result.exported.is_open()) {
    made->program = std::move(result.exported);
    made->judgement.verdict = Verdict::kPass;
  } else {
    const size_t error = result.error_output.find("error:");
    const absl::string_view line =
        error == std::string::npos ? "" : absl::string_view(result.error_output).substr(error);
    made->judgement = JudgementOf(Verdict::kCompileError,
                                  line.substr(0, std::min(line.find('\n'), kDetailBytesMax)));
  }
  absl::MutexLock lock(&mutex_);
  // Programs come in groups of one prompt and are soon out of date: all go when it is full.
  if (compiled_.size() >= kCompiledMax) compiled_.clear();
  compiled_[key] = made;
  return made;
}

}  // namespace r1::rewards::code
