// The folder of a run: who it is, who holds it, and where its files are.
//
//   <run>/lock              held by the learner; names its process
//   <run>/config.toml       the resolved config
//   <run>/build.json        the program that runs it, newest start
//   <run>/run.json          run_id and incarnation
//   <run>/endpoint.json     addresses, while a learner runs
//   <run>/metrics.jsonl     learner/metrics.h
//   <run>/events.out.tfevents.*   learner/tensorboard_writer.h
//   <run>/samples/          learner/sample_writer.h
//   <run>/checkpoints/      learner/checkpoint.h
//   <run>/logs/attempt_<n>/ one file a process, and logs/latest -> attempt_<n>
//   <run>/report.json       final table; its presence says that the run is finished
//
// The order of a start: InspectRun (before anything is started), RunDirectory::Open,
// CheckpointStore::Recover, CutBack, then the writers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/status.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace r1::learner {

struct RunInspection {
  bool is_new = true;
  bool finished = false;
  std::string report_json;  // of a finished run
};

// Looks at config.run().dir() without changing anything. InvalidArgument: the folder holds
// something that is no run. FailedPrecondition: it is the run of another config; names every field
// that differs and is not safe to change, with both values, and a fresh run.dir.
[[nodiscard]] absl::StatusOr<RunInspection> InspectRun(const v1::Config& config);

// FailedPrecondition, naming pid and host, when a learner holds the run right now.
[[nodiscard]] absl::Status CheckNotHeld(const std::string& run);

// Makes <run>/logs/attempt_<n> with the next free n, points logs/latest to it, and returns its
// path. For whoever starts the processes of a run; needs no lock.
[[nodiscard]] absl::StatusOr<std::string> CreateAttemptFolder(const std::string& run);

struct Endpoint {
  std::string grpc_address;
  std::string http_address;
  std::string host;
  int64_t pid = 0;
  std::string run_id;
  uint64_t incarnation = 0;
};

// <run>/endpoint.json. NotFound: no learner has written it, or the last one ended in order.
[[nodiscard]] absl::StatusOr<Endpoint> ReadEndpoint(const std::string& run);

// The run, held by this process until the object goes: a second learner on the same folder is
// refused, on this machine and, where the file system has flock, on others. Not thread-safe. Works
// on the machine's file system.
class RunDirectory {
 public:
  // Creates the run or resumes it. Checks as InspectRun, takes the lock, writes config.toml and
  // build.json, and counts the incarnation up by one (not for a finished run, of which nothing is
  // touched). FailedPrecondition also when another process holds the run: names its pid and host.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RunDirectory>> Open(
      const v1::Config& config, const std::string& build_json);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::string& path() const { return path_; }
  const std::string& run_id() const { return run_id_; }  // 16 hex digits
  uint64_t incarnation() const { return incarnation_; }  // 1 at the first start
  bool finished() const { return inspection_.finished; }
  const std::string& report_json() const { return inspection_.report_json; }

  std::string metrics_path() const;
  std::string samples_folder() const;
  std::string checkpoints_folder() const;

  // Fills host, pid, run_id and incarnation and replaces endpoint.json; RemoveEndpoint at an
  // orderly end.
  [[nodiscard]] absl::Status WriteEndpoint(const std::string& grpc_address,
                                           const std::string& http_address) const;
  void RemoveEndpoint() const;

  // Adds to the state, just before it is saved, the offsets to which CutBack will return.
  // `metrics_bytes` is what MetricsWriter::Sync returned.
  static void RecordOffsets(uint64_t metrics_bytes, v1::CheckpointState* state);
  // Cuts metrics.jsonl back to the checkpoint's offset and removes later samples. Null: the run
  // begins again.
  [[nodiscard]] absl::Status CutBack(const v1::CheckpointState* checkpoint) const;

  // The run is finished: writes report.json.
  [[nodiscard]] absl::Status Finish(const std::string& report_json);

 private:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  absl::Status TakeLock();
  void RemoveLeftovers() const;
  absl::Status LoadIdentity();
  absl::Status WriteDescription(const v1::Config& config, const std::string& build_json) const;

  const std::string path_;
  int lock_file_ = -1;
  std::string run_id_;
  uint64_t incarnation_ = 0;
  RunInspection inspection_;
};

}  // namespace r1::learner
