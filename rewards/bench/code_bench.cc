#include "rewards/bench/code_bench.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "rewards/code/judge.h"
#include "rewards/code/sandbox/pool.h"

namespace r1::rewards {
namespace {

using code::CodeProblem;
using code::Judge;
using code::SandboxPool;

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

// Of this process and of all that it has started and reaped: the slots hand theirs on at their end.
double CpuSeconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage;
    getrusage(who, &usage);
    sum += Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
  }
  return sum;
}

struct Measured {
  double wall_seconds = 0;
  double cpu_seconds = 0;  // with the sandbox's self-test and the starts of its interpreters
  int failed = 0;
};

absl::StatusOr<Measured> JudgeMany(int threads_count, int verdicts) {
  CodeProblem problem;
  problem.tests.resize(1);
  problem.tests[0].input = "20 22\n";
  problem.tests[0].output = "42\n";
  const std::string program = "a, b = map(int, input().split())\nprint(a + b)\n";
  Measured measured;
  const double cpu_before = CpuSeconds();
  {
    R1_ASSIGN_OR_RETURN(std::unique_ptr<SandboxPool> pool, SandboxPool::Start({}));
    Judge judge{std::shared_ptr<SandboxPool>(std::move(pool))};
    std::atomic<int> left{verdicts}, failed{0};
    const double begin = RealClock().MonotonicSeconds();
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_count; ++i) {
      threads.emplace_back([&] {
        while (left.fetch_sub(1) > 0) {
          failed += judge.Run(problem, program, false).verdict == code::Verdict::kPass ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    measured.wall_seconds = RealClock().MonotonicSeconds() - begin;
    measured.failed = failed;
  }
  measured.cpu_seconds = CpuSeconds() - cpu_before;
  return measured;
}

bool PrintVerdictRate(int threads_count, int verdicts) {
  // The difference of two runs, so that the start is in neither.
  const absl::StatusOr<Measured> few = JudgeMany(threads_count, 4 * threads_count);
  const absl::StatusOr<Measured> many = JudgeMany(threads_count, verdicts);
  if (!few.ok() || !many.ok()) {
    std::cout << "no sandbox: " << (few.ok() ? many : few).status().message() << "\n";
    return false;
  }
  const double cpu = (many->cpu_seconds - few->cpu_seconds) / (verdicts - 4 * threads_count);
  std::cout << absl::StreamFormat(
      "  Python verdicts, %d threads: %.0f a second, %.2f ms of processor time each (%.0f a second "
      "a core), %d failed\n",
      threads_count, verdicts / many->wall_seconds, 1e3 * cpu, 1 / cpu, many->failed);
  return true;
}

double MedianMs(std::vector<double>& seconds) {
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return 1e3 * seconds[seconds.size() / 2];
}

void PrintExecutedRun() {
  constexpr int kRuns = 200;
  const Clock& clock = RealClock();
  std::vector<double> bare, boxed;
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  for (int i = 0; i < kRuns; ++i) {
    const double begin = clock.MonotonicSeconds();
    pid_t pid = -1;
    if (posix_spawn(&pid, "/bin/true", nullptr, nullptr, arguments, environ) != 0) return;
    waitpid(pid, nullptr, 0);
    bare.push_back(clock.MonotonicSeconds() - begin);
  }
  auto pool = SandboxPool::Start({});
  if (!pool.ok()) return;
  code::Job job;
  job.program = code::Program::kPath;
  job.arguments = {"/bin/true"};
  for (int i = 0; i < kRuns; ++i) {
    const double begin = clock.MonotonicSeconds();
    if (!(*pool)->Run({job}).ok()) return;
    boxed.push_back(clock.MonotonicSeconds() - begin);
  }
  const double bare_ms = MedianMs(bare), boxed_ms = MedianMs(boxed);
  std::cout << absl::StreamFormat(
      "  /bin/true: %.2f ms bare, %.2f ms in the sandbox, %.2f ms more (medians of %d)\n", bare_ms,
      boxed_ms, boxed_ms - bare_ms, kRuns);
}

}  // namespace

bool PrintCodeRates() {
  std::cout << "code\n";
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (const int threads : {1, 2 * processors}) {
    if (!PrintVerdictRate(threads, 1000 * std::max(1, threads / 2))) return false;
  }
  PrintExecutedRun();
  return true;
}

}  // namespace r1::rewards
