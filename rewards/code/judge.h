// Judges a program by its tests: compiles it once where it is compiled, runs each test in a sandbox
// of its own, and compares in this process. What a test expects never enters the sandbox of the
// program: not the expected output, and for Python not the test either, which runs in a second
// sandbox and calls the program through a socket (sandbox/inside/remote.py).
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "rewards/code/problem.h"
#include "rewards/code/sandbox/pool.h"

namespace r1::rewards::code {

// In the order of their weight: of several that fit, the first is given.
enum class Verdict {
  kInfraError,  // the sandbox failed; says nothing about the program
  kCompileError,
  kSecurityViolation,  // a system call that only an attack makes
  kOutputLimit,
  kMemoryLimit,
  kTimeout,
  kRuntimeError,
  kWrongAnswer,
  kPass,
};
const char* VerdictName(Verdict verdict);

struct Judgement {
  Verdict verdict = Verdict::kInfraError;  // of the first test that is not passed
  int tests_passed = 0;
  std::string detail;  // a line for a person: the compiler's first error, or the sandbox's
};

// Thread-safe.
class Judge {
 public:
  explicit Judge(std::shared_ptr<SandboxPool> pool) : pool_(std::move(pool)) {}

  // Stops at the first test that is not passed, unless `all_tests`.
  Judgement Run(const CodeProblem& problem, const std::string& code, bool all_tests);

 private:
  // A compiled program; null with a Judgement that is not kPass when it does not compile.
  struct Compiled {
    OwnedFd program;
    std::string token;
    Judgement judgement;
  };

  Judgement RunOnce(const CodeProblem& problem, const std::string& code, bool all_tests);
  Judgement RunPythonTest(const CodeProblem& problem, const CodeTest& test,
                          const std::string& code);
  Judgement RunCppTest(const CodeProblem& problem, const CodeTest& test, const std::string& code);
  std::shared_ptr<const Compiled> Compile(const CodeProblem& problem, const std::string& code,
                                          const std::string& test_main);

  const std::shared_ptr<SandboxPool> pool_;
  absl::Mutex mutex_;
  // By the hash of all that g++ sees but the token.
  absl::flat_hash_map<std::string, std::shared_ptr<const Compiled>> compiled_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::rewards::code
