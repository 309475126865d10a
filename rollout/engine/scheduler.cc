#include "rollout/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace r1::rollout {
namespace {

GeneratedSample MoveOut(const Sequence& sequence, Sample* sample) {
  return {.request_id = sequence.request->request_id,
          .sample_index = sample->sample_index,
          .token_ids = std::move(sample->token_ids),
          .logprobs = std::move(sample->logprobs),
          .raw_logprobs = std::move(sample->raw_logprobs),
          .stopped = sample->stopped};
}

}  // namespace

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  R1_CHECK(!sequence->samples.empty());
  R1_CHECK(static_cast<int>(sequence->samples.size()) <= limits_.running_samples_max);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::Cancel(uint64_t request_id) {
  const auto matches = [&](const std::unique_ptr<Sequence>& sequence) {
    return sequence->request->request_id == request_id;
  };
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    if (!matches(sequence)) continue;
    running_samples_ -= static_cast<int>(sequence->samples.size());
    blocks_->Free(&sequence->blocks);
  }
  std::erase_if(running_, matches);
  std::erase_if(waiting_, matches);
}

void Scheduler::Schedule(StepPlan* plan) {
  plan->copies.clear();
  plan->tokens.clear();
  int prefill_tokens = limits_.prefill_tokens_max;
  const uint64_t preemptions_before = preemptions_total_;
  ScheduleRunning(plan, &prefill_tokens);
  // Blocks that were just taken from somebody are not for newcomers.
  if (preemptions_total_ == preemptions_before) Admit(plan, &prefill_tokens);
}

void Scheduler::ScheduleRunning(StepPlan* plan, int* prefill_tokens) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* sequence = running_[i].get();
    const int missing = sequence->length() - sequence->computed;
    int count = 1;
    if (missing > 1) {  // its blocks were allocated on admission
      count = std::min(missing, *prefill_tokens);
      *prefill_tokens -= count;
    } else {
      while (!blocks_->PrepareWrite(sequence->computed, &sequence->blocks, &plan->copies)) {
        R1_CHECK(running_.size() > 1);
        PreemptYoungest();
        if (i == running_.size()) return;  // it was the youngest itself
      }
    }
    if (count > 0) plan->tokens.push_back({sequence, sequence->computed, count});
  }
}

void Scheduler::Admit(StepPlan* plan, int* prefill_tokens) {
  while (!waiting_.empty() && *prefill_tokens > 0) {
    Sequence* sequence = waiting_.front().get();
    const int samples = static_cast<int>(sequence->samples.size());
    if (running_samples_ + samples > limits_.running_samples_max) return;
    // Every running sample may need one more block soon, and so may every sample of the group once
    // it is split.
    const int reserve = running_.empty() ? 0 : running_samples_ + samples;
    const int length = sequence->length();
    if (blocks_->free_blocks() < blocks_->BlocksFor(length) + reserve) return;

    sequence->blocks = blocks_->Allocate(length);
    const int count = std::min(length, *prefill_tokens);
    *prefill_tokens -= count;
    plan->tokens.push_back({sequence, 0, count});
    running_samples_ += samples;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Scheduler::PreemptYoungest() {
  std::unique_ptr<Sequence> youngest = std::move(running_.back());
  running_.pop_back();
  running_samples_ -= static_cast<int>(youngest->samples.size());
  blocks_->Free(&youngest->blocks);
  youngest->computed = 0;
  waiting_.push_front(std::move(youngest));
  ++preemptions_total_;
}

void Scheduler::Settle(std::vector<GeneratedSample>* finished) {
  const auto unchanged = [](const std::unique_ptr<Sequence>& sequence) {
    return sequence->samples.size() == 1 ? !sequence->samples.front().finished
                                         : sequence->samples.front().token_ids.empty();
  };
  if (std::all_of(running_.begin(), running_.end(), unchanged)) return;
  std::vector<std::unique_ptr<Sequence>> running;
  for (std::unique_ptr<Sequence>& sequence : running_) {
    if (unchanged(sequence)) {
      running.push_back(std::move(sequence));
    } else {
      Split(sequence.get(), &running, finished);
    }
  }
  running_ = std::move(running);
}

void Scheduler::Split(Sequence* group, std::vector<std::unique_ptr<Sequence>>* running,
                      std::vector<GeneratedSample>* finished) {
  for (Sample& sample : group->samples) {
    if (sample.finished) {
      finished->push_back(MoveOut(*group, &sample));
      --running_samples_;
      continue;
    }
    auto child = std::make_unique<Sequence>();
    child->request = group->request;
    child->samples.push_back(std::move(sample));
    child->blocks = blocks_->Fork(group->blocks);
    child->computed = group->computed;
    running->push_back(std::move(child));
  }
  blocks_->Free(&group->blocks);
}

}  // namespace r1::rollout
