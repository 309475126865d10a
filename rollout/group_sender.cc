#include "rollout/group_sender.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/log.h"

namespace r1::rollout {
namespace {

constexpr double kPauseMin = 0.05;
constexpr double kPauseMax = 1;
constexpr double kSliceSeconds = 0.25;

// The learner understood and said no; everything else is worth another try.
bool IsFatal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ||
         absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status) ||
         absl::IsUnimplemented(status);
}

}  // namespace

GroupSender::GroupSender(const Options& options, LearnerTransport& learner, SharedBook& shared,
                         std::function<void(const absl::Status&)> on_fatal,
                         std::function<void()> on_contact)
    : options_(options),
      learner_(learner),
      shared_(shared),
      on_fatal_(std::move(on_fatal)),
      on_contact_(std::move(on_contact)),
      thread_([this] { Run(); }) {}

GroupSender::~GroupSender() {
  {
    absl::MutexLock lock(&shared_.mutex);
    stopping_ = true;
    shared_.changed.SignalAll();
  }
  thread_.join();
}

void GroupSender::Run() {
  double pause = kPauseMin;
  for (;;) {
    {
      absl::MutexLock lock(&shared_.mutex);
      while (!stopping_ && !shared_.book.HasUnsent(options_.address)) {
        shared_.changed.WaitWithTimeout(&shared_.mutex, absl::Seconds(kSliceSeconds));
      }
      if (stopping_) return;
    }
    const double begin = RealClock().MonotonicSeconds();
    const absl::Status status = RunStream();
    if (IsFatal(status)) return on_fatal_(status);

    absl::MutexLock lock(&shared_.mutex);
    if (stopping_) return;
    const size_t dropped = shared_.book.ResendAll(options_.address);
    R1_LOG(kInfo) << "stream of groups to " << options_.address << " ended (" << status.ToString()
                  << "); sending what is not acknowledged again";
    if (dropped > 0) {
      R1_LOG(kError) << dropped << " groups were sent again and again and never acknowledged; "
                     << "dropped, the learner will lease them again";
    }
    // A stream that lived counts as a fresh start.
    if (RealClock().MonotonicSeconds() - begin > kPauseMax) pause = kPauseMin;
    const absl::Time until = absl::Now() + absl::Seconds(pause);
    while (!stopping_ && absl::Now() < until) {
      shared_.changed.WaitWithDeadline(&shared_.mutex, until);
    }
    pause = std::min(2 * pause, kPauseMax);
  }
}

absl::Status GroupSender::RunStream() {
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<GroupStream> stream,
                      learner_.OpenGroupStream(options_.address, options_.run, options_.worker_id));
  bool broken = false;  // guarded by the shared lock
  std::thread reader([&] { ReadAcknowledgements(*stream, broken); });
  bool given_up = false;
  for (;;) {
    std::shared_ptr<const v1::Group> group;
    {
      absl::MutexLock lock(&shared_.mutex);
      while (!stopping_ && !broken && !given_up) {
        const double now = RealClock().MonotonicSeconds();
        group = shared_.book.NextUnsentOrNull(options_.address, now);
        if (group != nullptr) break;
        const double oldest = shared_.book.OldestSent(options_.address).value_or(now);
        given_up = now - oldest > options_.acknowledge_seconds;
        if (!given_up) {
          shared_.changed.WaitWithTimeout(&shared_.mutex, absl::Seconds(kSliceSeconds));
        }
      }
    }
    if (group == nullptr || !stream->Write(*group)) break;
  }
  {
    absl::MutexLock lock(&shared_.mutex);
    // A broken stream has the learner's own status, which cancelling might hide.
    if (!broken && (stopping_ || given_up)) stream->Cancel();
  }
  reader.join();
  const absl::Status status = stream->Finish();
  if (!given_up) return status;
  return absl::UnavailableError(
      absl::StrCat("no acknowledgement for ", options_.acknowledge_seconds, " s"));
}

void GroupSender::ReadAcknowledgements(GroupStream& stream, bool& broken) {
  v1::GroupAck ack;
  while (stream.Read(ack)) {
    on_contact_();
    if (ack.outcome() == v1::GroupAck::OUTCOME_REFUSED) {
      R1_LOG(kInfo) << "the learner does not want a group: " << ack.reason();
    }
    absl::MutexLock lock(&shared_.mutex);
    shared_.book.Acknowledge(ack);
    shared_.changed.SignalAll();
  }
  absl::MutexLock lock(&shared_.mutex);
  broken = true;
  shared_.changed.SignalAll();
}

}  // namespace r1::rollout
