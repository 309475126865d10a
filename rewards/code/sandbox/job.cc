#include "rewards/code/sandbox/job.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "common/clock.h"
#include "rewards/code/sandbox/memory_file.h"
#include "rewards/code/sandbox/tree_watch.h"

namespace r1::rewards::code {
namespace {

// How long the kernel may take to start a job, and to kill and reap a tree.
constexpr double kGraceSeconds = 20;
// The first look at a job's processor time; later ones come when it can have used the rest.
constexpr double kWatchSeconds = 0.02;
constexpr uint64_t kExportBytesMax = 64ull << 20;

absl::Status ErrnoError(const char* what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

// The reading end of one of a job's pipes.
struct Capture {
  OwnedFd pipe;
  std::string* text = nullptr;
};

// One job under way.
struct Watched {
  const Job* job = nullptr;
  JobResult result;
  RunCgroup cgroup;
  OwnedFd init;
  std::vector<Capture> captures;
  double begin = 0;
  double next_look = 0;
  double kill_deadline = 0;  // 0: not killed
  bool is_finished = false;
};

class Supervisor {
 public:
  Supervisor(Slot& slot, CgroupTree& cgroups, const std::vector<Job>& jobs, LayerSet layers)
      : slot_(slot), cgroups_(cgroups), layers_(layers), watched_(jobs.size()) {
    for (size_t i = 0; i < jobs.size(); ++i) watched_[i].job = &jobs[i];
  }

  absl::Status Run() {
    for (size_t i = 0; i < watched_.size(); ++i) R1_RETURN_IF_ERROR(StartJob(i));
    while (std::any_of(watched_.begin(), watched_.end(),
                       [](const Watched& watched) { return !watched.is_finished; })) {
      R1_RETURN_IF_ERROR(Wait());
    }
    return failure_;
  }

  std::vector<JobResult> TakeResults() {
    std::vector<JobResult> results;
    for (Watched& watched : watched_) results.push_back(std::move(watched.result));
    return results;
  }

 private:
  absl::Status StartJob(size_t index) {
    Watched& watched = watched_[index];
    const Job& job = *watched.job;
    R1_ASSIGN_OR_RETURN(watched.cgroup, cgroups_.NewRun({.memory_bytes = job.limits.memory_bytes,
                                                         .processes = job.limits.processes + 1},
                                                        layers_));
    RunRequest request;
    R1_RETURN_IF_ERROR(FillRequest(index, job, request));
    std::vector<OwnedFd> owned;  // closed once they are sent
    std::vector<int> fds;
    const auto give = [&](OwnedFd fd) {
      fds.push_back(fd.get());
      owned.push_back(std::move(fd));
    };
    R1_ASSIGN_OR_RETURN(OwnedFd input, MakeMemoryFile("input", job.input));
    give(std::move(input));
    R1_ASSIGN_OR_RETURN(OwnedFd output, AddCapture(watched, &watched.result.output));
    give(std::move(output));
    R1_ASSIGN_OR_RETURN(OwnedFd errors, AddCapture(watched, &watched.result.error_output));
    give(std::move(errors));
    R1_ASSIGN_OR_RETURN(OwnedFd text, MakeMemoryFile("text", job.text));
    give(std::move(text));
    if (job.channel >= 0) fds.push_back(job.channel);
    if (job.takes_results) {
      R1_ASSIGN_OR_RETURN(OwnedFd results, AddCapture(watched, &watched.result.results));
      give(std::move(results));
    }
    request.passed = static_cast<uint32_t>(fds.size()) - 3;
    if (job.program == Program::kDescriptor) fds.push_back(job.program_fd);
    if (job.exports) {
      R1_ASSIGN_OR_RETURN(watched.result.exported, MakeEmptyMemoryFile("export"));
      fds.push_back(watched.result.exported.get());
    }
    const std::vector<int> procs = watched.cgroup.procs();
    fds.insert(fds.end(), procs.begin(), procs.end());
    request.cgroups = static_cast<uint32_t>(procs.size());
    watched.begin = clock_.MonotonicSeconds();
    watched.next_look = watched.begin + kWatchSeconds;
    return slot_.Send(request, fds);
  }

  absl::Status FillRequest(size_t index, const Job& job, RunRequest& request) {
    request.run = static_cast<uint32_t>(index);
    request.program = job.program;
    request.layers = layers_;
    request.exports = job.exports ? 1 : 0;
    request.export_bytes_max = kExportBytesMax;
    // Backstops for what the control group does together, and all there is without one.
    request.cpu_seconds = static_cast<uint32_t>(std::ceil(job.limits.cpu_seconds)) + 1;
    request.files_bytes = job.limits.files_bytes;
    if (Contains(layers_, Layer::kMemoryRlimit)) {
      request.address_space_bytes = job.limits.memory_bytes + (256ull << 20);
    }
    // Counted a user: the slot's own processes are among them.
    request.processes = Contains(layers_, Layer::kMemoryRlimit) ? job.limits.processes + 8
                                                                : job.limits.processes * 2 + 64;
    for (const std::string& argument : job.arguments) {
      if (request.argument_bytes + argument.size() + 1 > kArgumentBytesMax) {
        return absl::InternalError("a job's arguments are too long");
      }
      memcpy(request.arguments + request.argument_bytes, argument.c_str(), argument.size() + 1);
      request.argument_bytes += static_cast<uint32_t>(argument.size()) + 1;
    }
    return absl::OkStatus();
  }

  // Returns the writing end.
  static absl::StatusOr<OwnedFd> AddCapture(Watched& watched, std::string* text) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe");
    watched.captures.push_back({.pipe = OwnedFd(ends[0]), .text = text});
    OwnedFd writing(ends[1]);
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return ErrnoError("fcntl");
    return writing;
  }

  absl::Status Wait() {
    std::vector<pollfd> waits = {{.fd = slot_.control(), .events = POLLIN, .revents = 0}};
    const double now = clock_.MonotonicSeconds();
    double wake = now + 1;
    for (Watched& watched : watched_) {
      if (watched.is_finished) continue;
      wake = std::min(wake, watched.kill_deadline > 0
                                ? watched.kill_deadline
                                : std::min(watched.next_look,
                                           watched.begin + watched.job->limits.wall_seconds));
      for (const Capture& capture : watched.captures) {
        if (capture.pipe.is_open()) {
          waits.push_back({.fd = capture.pipe.get(), .events = POLLIN, .revents = 0});
        }
      }
    }
    const int timeout_ms = static_cast<int>(std::ceil(std::max(0.0, wake - now) * 1e3));
    if (poll(waits.data(), waits.size(), timeout_ms) < 0 && errno != EINTR) {
      return ErrnoError("poll");
    }
    if (waits[0].revents != 0) R1_RETURN_IF_ERROR(HearSlot());
    for (Watched& watched : watched_) {
      if (watched.is_finished) continue;
      Drain(watched);
      R1_RETURN_IF_ERROR(Look(watched));
    }
    return absl::OkStatus();
  }

  absl::Status HearSlot() {
    OwnedFd init;
    R1_ASSIGN_OR_RETURN(const Reply reply, slot_.Receive(init));
    if (reply.run >= watched_.size()) return absl::InternalError("a reply for no run");
    Watched& watched = watched_[reply.run];
    if (reply.kind == ReplyKind::kRunStarted) {
      watched.init = std::move(init);
      if (watched.kill_deadline > 0) Kill(watched);
      return absl::OkStatus();
    }
    if (reply.kind == ReplyKind::kFailed) {
      failure_ = absl::UnavailableError(
          absl::StrCat("the sandbox could not ", reply.step, ": ", strerror(reply.error)));
    }
    Drain(watched);
    Finish(watched, reply);
    return absl::OkStatus();
  }

  void Finish(Watched& watched, const Reply& reply) {
    JobResult& result = watched.result;
    result.wait_status = reply.wait_status;
    result.wall_seconds = clock_.MonotonicSeconds() - watched.begin;
    result.cpu_seconds =
        std::max(watched.cgroup.CpuSeconds(), 1e-6 * static_cast<double>(reply.cpu_microseconds));
    result.memory_bytes_max = std::max(watched.cgroup.MemoryBytesMax(),
                                       static_cast<int64_t>(reply.resident_kib_max) * 1024);
    if (watched.cgroup.HitMemoryLimit()) result.passed_memory_limit = true;
    if (result.cpu_seconds > watched.job->limits.cpu_seconds) result.passed_cpu_limit = true;
    if (reply.exported == 0) result.exported.Close();
    watched.captures.clear();
    watched.init.Close();
    watched.cgroup = RunCgroup();
    watched.is_finished = true;
    if (&watched != &watched_.front()) return;
    for (Watched& other : watched_) {
      if (other.is_finished || other.kill_deadline > 0) continue;
      other.result.was_ended = true;
      Kill(other);
    }
  }

  // Reads what is there. Beyond its limit a text is not kept, and the job is killed.
  void Drain(Watched& watched) {
    for (Capture& capture : watched.captures) {
      char buffer[1 << 16];
      ssize_t bytes = 0;
      while (capture.pipe.is_open() &&
             (bytes = read(capture.pipe.get(), buffer, sizeof(buffer))) > 0) {
        const size_t room = watched.job->limits.output_bytes - capture.text->size();
        capture.text->append(buffer, std::min(room, static_cast<size_t>(bytes)));
        if (static_cast<size_t>(bytes) <= room) continue;
        watched.result.passed_output_limit = true;
        Kill(watched);
        capture.pipe.Close();
      }
      if (bytes == 0) capture.pipe.Close();
    }
  }

  // Kills a job that has passed a limit.
  absl::Status Look(Watched& watched) {
    const JobLimits& limits = watched.job->limits;
    const double now = clock_.MonotonicSeconds();
    if (watched.kill_deadline > 0) {
      if (now < watched.kill_deadline) return absl::OkStatus();
      return absl::DeadlineExceededError(
          absl::StrCat("the sandbox's slot did not end a job within ", kGraceSeconds, " s"));
    }
    if (now >= watched.begin + limits.wall_seconds) {
      watched.result.passed_wall_limit = true;
      Kill(watched);
    } else if (now >= watched.next_look) {
      const double used = watched.cgroup.CpuSeconds();
      if (used > limits.cpu_seconds) {
        watched.result.passed_cpu_limit = true;
        Kill(watched);
      }
      const bool watches_memory = Contains(layers_, Layer::kMemoryRlimit);
      if (watches_memory && watched.init.is_open() &&
          ResidentBytes(slot_.helper(), watched.init.get()) > limits.memory_bytes) {
        watched.result.passed_memory_limit = true;
        Kill(watched);
      }
      watched.next_look =
          now +
          (watches_memory ? kWatchSeconds : std::max(kWatchSeconds, limits.cpu_seconds - used));
    }
    return absl::OkStatus();
  }

  void Kill(Watched& watched) {
    if (watched.kill_deadline == 0) {
      watched.kill_deadline = clock_.MonotonicSeconds() + kGraceSeconds;
    }
    // Before kRunStarted there is nothing to kill yet; HearSlot does it then.
    if (watched.init.is_open()) {
      syscall(__NR_pidfd_send_signal, watched.init.get(), SIGKILL, nullptr, 0);
    }
  }

  Slot& slot_;
  CgroupTree& cgroups_;
  const LayerSet layers_;
  const Clock& clock_ = RealClock();
  std::vector<Watched> watched_;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::vector<JobResult>> RunJobs(Slot& slot, CgroupTree& cgroups,
                                               const std::vector<Job>& jobs, LayerSet layers) {
  R1_CHECK(!jobs.empty());
  R1_CHECK(jobs.size() <= kRunsAtOnceMax);
  Supervisor supervisor(slot, cgroups, jobs, layers);
  const absl::Status status = supervisor.Run();
  if (!status.ok()) {
    slot.End();  // before the control groups are removed
    return status;
  }
  return supervisor.TakeResults();
}

}  // namespace r1::rewards::code
