#include "cli/evaluation/sample_scorer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace r1::cli {
namespace {

// Samples that wait to be scored: generation is held back beyond it.
constexpr size_t kWaitingMax = 1024;
constexpr size_t kExtractedBytesMax = 4096;

}  // namespace

absl::StatusOr<std::vector<NamedReward>> MakeSuiteRewards(const LoadedSuite& suite) {
  std::vector<NamedReward> rewards;
  for (const v1::RewardConfig& config : suite.suite.reward()) {
    absl::StatusOr<std::unique_ptr<rewards::Reward>> reward = rewards::MakeReward(config);
    if (!reward.ok()) {
      return Annotate(reward.status(), suite.Where(absl::StrCat("reward.", config.name())));
    }
    rewards.push_back({config.name(), *std::move(reward)});
  }
  return rewards;
}

absl::StatusOr<std::unique_ptr<SampleScorer>> SampleScorer::Start(
    std::vector<NamedReward> rewards, const std::vector<EvaluationProblem>& problems, uint64_t seed,
    int threads, SampleLog& log) {
  for (const NamedReward& named : rewards) {
    R1_RETURN_IF_ERROR(Annotate(named.reward->Prepare(), absl::StrCat("reward ", named.name)));
  }
  std::unique_ptr<SampleScorer> scorer(new SampleScorer(std::move(rewards), problems, seed, log));
  for (int i = 0; i < threads; ++i) {
    scorer->threads_.emplace_back([worker = scorer.get()] { worker->Work(); });
  }
  return scorer;
}

SampleScorer::~SampleScorer() {
  {
    absl::MutexLock lock(&mutex_);
    waiting_.clear();
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool SampleScorer::HasRoom() const { return waiting_.size() < kWaitingMax || !failure_.ok(); }

absl::Status SampleScorer::Add(RawSample sample) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &SampleScorer::HasRoom));
  R1_RETURN_IF_ERROR(failure_);
  waiting_.push_back(std::move(sample));
  return absl::OkStatus();
}

absl::Status SampleScorer::Finish() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &SampleScorer::IsIdle));
  return failure_;
}

void SampleScorer::Work() {
  for (;;) {
    RawSample raw;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &SampleScorer::HasWork));
      if (waiting_.empty()) return;
      raw = std::move(waiting_.front());
      waiting_.pop_front();
      ++working_;
    }
    const absl::Status written = log_.Append(Score(std::move(raw)));
    absl::MutexLock lock(&mutex_);
    --working_;
    if (!written.ok() && failure_.ok()) failure_ = written;
  }
}

ScoredSample SampleScorer::Score(RawSample raw) const {
  const EvaluationProblem& problem = problems_[raw.id.problem];
  ScoredSample scored{.raw = std::move(raw), .problem_id = problem.id};
  const bool is_greedy = scored.raw.id.sample == SampleId::kGreedy;
  const rewards::RewardInput input{
      .prompt = problem.prompt,
      .response = scored.raw.text,
      .finished = scored.raw.finish_reason == "stop",
      .think_prefilled = scored.raw.think_prefilled,
      .answer = problem.answer,
      .n_tokens = scored.raw.tokens,
      .columns_json = problem.columns_json,
      .run_seed = seed_,
      .group_id = scored.raw.id.problem,
      .sample_index = is_greedy ? 0 : static_cast<uint32_t>(scored.raw.id.sample)};
  for (const NamedReward& named : rewards_) {
    const rewards::Score score = named.reward->ScoreSample(input);
    RewardScore& kept = scored.scores.emplace_back();
    kept.name = named.name;
    kept.reason = score.reason;
    if (!score.masked) kept.value = score.value;
    if (!score.error.empty() && scored.error.empty()) {
      scored.error = absl::StrCat(named.name, ": ", score.error);
    }
    if (scored.scores.size() == 1) scored.extracted = score.extracted.substr(0, kExtractedBytesMax);
  }
  return scored;
}

}  // namespace r1::cli
