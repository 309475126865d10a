// `code`: 1 when the program in the response passes all tests of its problem, each in the sandbox;
// else 0, with the verdict on the first test that failed as the reason. The accuracy reward of
// DeepSeek-R1 (2501.12948 §2.2.2) for programming problems. With partial_credit the score is the
// share of tests that it passes.
//
// The problem is in the columns of the data row (problem.h). A row that is no problem, and a
// failure of the sandbox, mask the sample.

#include "rewards/code/code_reward.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/base/const_init.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/log.h"
#include "rewards/code/extract_code.h"
#include "rewards/code/judge.h"
#include "rewards/code/problem.h"

namespace r1::rewards {
namespace {

// The process's sandbox and compiled programs: made by the first reward that needs them, gone with
// the last.
class SharedJudge {
 public:
  static SharedJudge& Get() {
    static auto* const shared = new SharedJudge;
    return *shared;
  }

  void Configure(const code::SandboxOptions& options, OnUnavailable on_unavailable) {
    absl::MutexLock lock(&mutex_);
    options_ = options;
    on_unavailable_ = on_unavailable;
    failure_ = absl::OkStatus();
  }

  OnUnavailable on_unavailable() {
    absl::MutexLock lock(&mutex_);
    return on_unavailable_;
  }

  // A machine that failed once is not asked again.
  absl::StatusOr<std::shared_ptr<code::Judge>> Acquire() {
    absl::MutexLock lock(&mutex_);
    if (std::shared_ptr<code::Judge> judge = judge_.lock()) return judge;
    R1_RETURN_IF_ERROR(failure_);
    absl::StatusOr<std::unique_ptr<code::SandboxPool>> pool = code::SandboxPool::Start(options_);
    if (!pool.ok()) {
      failure_ = pool.status();
      if (on_unavailable_ == OnUnavailable::kDisable) R1_LOG(kError) << failure_.message();
      return failure_;
    }
    auto judge =
        std::make_shared<code::Judge>(std::shared_ptr<code::SandboxPool>(*std::move(pool)));
    judge_ = judge;
    return judge;
  }

 private:
  absl::Mutex mutex_;
  code::SandboxOptions options_ ABSL_GUARDED_BY(mutex_);
  OnUnavailable on_unavailable_ ABSL_GUARDED_BY(mutex_) = OnUnavailable::kFail;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::weak_ptr<code::Judge> judge_ ABSL_GUARDED_BY(mutex_);
};

class CodeReward : public Reward {
 public:
  explicit CodeReward(const v1::RewardConfig& config)
      : partial_credit_(config.code().partial_credit()) {}

  absl::Status Prepare() const override {
    const absl::Status status = FindJudge().status();
    const bool is_disabled = SharedJudge::Get().on_unavailable() == OnUnavailable::kDisable;
    return is_disabled && absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
  }

  Score ScoreSample(const RewardInput& input) const override {
    const absl::StatusOr<code::CodeProblem> problem = code::ParseProblem(input.columns_json);
    if (!problem.ok()) return ErrorScore("bad_problem", std::string(problem.status().message()));
    std::string text(input.prediction);
    if (text.empty()) {
      const code::CodeExtraction extraction =
          code::ExtractCode(input.response, input.think_prefilled, problem->language);
      if (!extraction.found) return {.reason = extraction.reason};
      text = std::string(extraction.text);
    }
    const absl::StatusOr<std::shared_ptr<code::Judge>> judge = FindJudge();
    if (!judge.ok()) {
      return ErrorScore("sandbox_unavailable", std::string(judge.status().message()));
    }
    const code::Judgement judgement = (*judge)->Run(*problem, text, partial_credit_);
    if (judgement.verdict == code::Verdict::kInfraError) {
      return ErrorScore(kInfraError, judgement.detail);
    }
    const bool has_passed = judgement.verdict == code::Verdict::kPass;
    const double share =
        static_cast<double>(judgement.tests_passed) / static_cast<double>(problem->tests.size());
    const double all_or_nothing = has_passed ? 1.0 : 0.0;
    return {.value = partial_credit_ ? share : all_or_nothing,
            .reason = code::VerdictName(judgement.verdict),
            .extracted = std::move(text)};
  }

  // Limits in time depend on the machine and its load.
  bool deterministic() const override { return false; }

 private:
  // Kept from the first call on, so that the sandbox lives as long as this reward.
  absl::StatusOr<std::shared_ptr<code::Judge>> FindJudge() const {
    absl::MutexLock lock(&mutex_);
    if (judge_ == nullptr) {
      R1_ASSIGN_OR_RETURN(judge_, SharedJudge::Get().Acquire());
    }
    return judge_;
  }

  const bool partial_credit_;
  mutable absl::Mutex mutex_;
  mutable std::shared_ptr<code::Judge> judge_ ABSL_GUARDED_BY(mutex_);
};

R1_REGISTER(RewardRegistry, "code", MakeWithSettings<CodeReward>);

}  // namespace

void ConfigureSandbox(const code::SandboxOptions& options, OnUnavailable on_unavailable) {
  SharedJudge::Get().Configure(options, on_unavailable);
}

}  // namespace r1::rewards
