// Decides what each step computes: one token for every running sample first, then prompts in
// chunks, oldest first; then waiting groups are admitted in the order of their arrival while there
// is room. When the KV cache runs out, the youngest running sequence gives up its blocks and goes
// back to the head of the queue with the tokens it has; they are computed again later, with the
// same bits. The oldest sequence always moves on, so everything finishes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "rollout/engine/block_manager.h"
#include "rollout/engine/sequence.h"

namespace r1::rollout {

// Tokens [first, first + count) of a sequence. When they reach its end, the next token is drawn for
// each of its samples.
struct ScheduledTokens {
  Sequence* sequence;
  int first;
  int count;
  bool draws() const { return first + count == sequence->length(); }
};

struct StepPlan {
  std::vector<BlockCopy> copies;  // to be made before the step
  std::vector<ScheduledTokens> tokens;
};

// Not thread-safe. A step: Schedule, compute, advance Sequence::computed, append tokens to samples,
// Settle.
class Scheduler {
 public:
  struct Limits {
    int running_samples_max;
    int prefill_tokens_max;
  };

  // `blocks` outlives the scheduler. A sequence alone must always fit into it; see Engine::Submit.
  Scheduler(const Limits& limits, BlockManager* blocks) : limits_(limits), blocks_(blocks) {}

  // At most running_samples_max samples.
  void Add(std::unique_ptr<Sequence> sequence);
  void Cancel(uint64_t request_id);
  // Overwrites the plan. Calling it again without having computed anything gives an equivalent
  // plan.
  void Schedule(StepPlan* plan);
  // Splits groups whose first tokens have been drawn, and moves finished samples out.
  void Settle(std::vector<GeneratedSample>* finished);

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int running_samples() const { return running_samples_; }
  int waiting_sequences() const { return static_cast<int>(waiting_.size()); }
  uint64_t preemptions_total() const { return preemptions_total_; }

 private:
  void ScheduleRunning(StepPlan* plan, int* prefill_tokens);
  void Admit(StepPlan* plan, int* prefill_tokens);
  void PreemptYoungest();
  void Split(Sequence* group, std::vector<std::unique_ptr<Sequence>>* running,
             std::vector<GeneratedSample>* finished);

  Limits limits_;
  BlockManager* blocks_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  std::deque<std::unique_ptr<Sequence>> waiting_;
  int running_samples_ = 0;
  uint64_t preemptions_total_ = 0;
};

}  // namespace r1::rollout
