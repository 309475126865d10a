// Sends the outgoing groups of one learner rank on a stream of their own and takes the
// acknowledgements, until Stop. A stream that breaks, or on which acknowledgements stay out, is
// opened again with growing pauses, and what was not acknowledged is sent again.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "rollout/learner_transport.h"
#include "rollout/lease_book.h"

namespace r1::rollout {

// The worker's book with its lock; `changed` is signalled whenever the book changes.
struct SharedBook {
  absl::Mutex mutex;
  absl::CondVar changed;
  LeaseBook book ABSL_GUARDED_BY(mutex);
};

class GroupSender {
 public:
  struct Options {
    std::string address;
    v1::RunIdentity run;
    std::string worker_id;
    double acknowledge_seconds = 10;  // longer without an answer: the stream is given up
  };
  // `on_fatal`: an error that sending again cannot mend. `on_contact`: the learner answered. Both
  // are called on the sender's threads.
  GroupSender(const Options& options, LearnerTransport& learner, SharedBook& shared,
              std::function<void(const absl::Status&)> on_fatal, std::function<void()> on_contact);
  // Ends at once; flush first by waiting until nothing is outgoing.
  ~GroupSender();

 private:
  void Run();
  absl::Status RunStream();
  void ReadAcknowledgements(GroupStream& stream, bool& broken);

  const Options options_;
  LearnerTransport& learner_;
  SharedBook& shared_;
  const std::function<void(const absl::Status&)> on_fatal_;
  const std::function<void()> on_contact_;
  bool stopping_ ABSL_GUARDED_BY(shared_.mutex) = false;
  std::thread thread_;
};

}  // namespace r1::rollout
