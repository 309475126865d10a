#include "rollout/worker.h"

#include <unistd.h>

#include <algorithm>

#include "common/clock.h"
#include "common/log.h"
#include "common/network_address.h"
#include "common/wait_log.h"
#include "rollout/worker_session.h"

namespace r1::rollout {
namespace {

constexpr double kJoinPauseMin = 0.05;
constexpr double kJoinPauseMax = 1;
// Sessions in a row that end at once with "join again": the two sides do not understand each other.
constexpr int kShortSessionsMax = 10;
constexpr double kShortSessionSeconds = 2;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? std::string(name) : "unknown";
}

// Repeated until the learner answers; Cancelled when `stop` is raised before that.
absl::StatusOr<v1::JoinReply> JoinLearner(LearnerTransport& learner, const v1::JoinRequest& request,
                                          double patience_seconds, const StopSignal& stop) {
  WaitLog log(RealClock());
  double pause = kJoinPauseMin;
  for (;;) {
    absl::StatusOr<v1::JoinReply> reply = learner.Join(request);
    const bool transient =
        absl::IsUnavailable(reply.status()) || absl::IsDeadlineExceeded(reply.status());
    if (!transient) return reply;
    if (log.seconds() > patience_seconds) {
      return absl::UnavailableError(absl::StrCat("no learner at ", learner.address(), " for ",
                                                 static_cast<int>(log.seconds()),
                                                 " s: ", reply.status().message()));
    }
    log.Poll([&] { return absl::StrCat("a learner at ", learner.address()); });
    if (stop.WaitFor(pause)) return absl::CancelledError("stopped");
    pause = std::min(2 * pause, kJoinPauseMax);
  }
}

}  // namespace

absl::Status RunWorkerWith(const WorkerOptions& options, const WorkerParts& parts,
                           const StopSignal& stop) {
  R1_RETURN_IF_ERROR(CheckLoopback(options.learner, "learner"));
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<LearnerTransport> learner,
                      parts.connect(options.learner));
  v1::JoinRequest request;
  request.set_protocol_version(v1::PROTOCOL_VERSION_CURRENT);
  request.set_build(options.build);
  request.set_host(options.host.empty() ? HostName() : options.host);
  request.set_pid(getpid());
  for (const std::string& isa : parts.runnable_isas) request.add_runnable_isas(isa);
  request.set_kernel_version(parts.kernel_version);

  double patience = options.connect_timeout_seconds;
  int short_sessions = 0;
  for (;;) {
    const absl::StatusOr<v1::JoinReply> reply = JoinLearner(*learner, request, patience, stop);
    if (absl::IsCancelled(reply.status()) && stop.raised()) return absl::OkStatus();
    if (!reply.ok()) return reply.status();
    R1_LOG(kInfo) << "joined run " << reply->run().run_id() << " incarnation "
                  << reply->run().incarnation() << " at " << options.learner << " as "
                  << reply->worker_id();
    const double begin = RealClock().MonotonicSeconds();
    const absl::Status status = WorkerSession(options, parts, *learner, *reply, stop).Run();
    // FailedPrecondition: the learner was restarted, or has forgotten this worker.
    if (!absl::IsFailedPrecondition(status)) return status;
    const bool is_short = RealClock().MonotonicSeconds() - begin < kShortSessionSeconds;
    short_sessions = is_short ? short_sessions + 1 : 0;
    if (short_sessions >= kShortSessionsMax) return status;
    R1_LOG(kWarning) << "joining again: " << status.message();
    patience = options.retry_seconds;
  }
}

}  // namespace r1::rollout
