// The rollout worker: leases groups from a learner, generates and scores their samples, and sends
// them back until they are acknowledged. It owns nothing that matters: it may be killed at any
// time.
//
//   const absl::Status status = RunWorker({.learner = "127.0.0.1:7000"}, ProcessStopSignal());
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/stop_signal.h"
#include "common/weights.h"
#include "proto/rollout.pb.h"
#include "rollout/engine/engine.h"
#include "rollout/learner_transport.h"
#include "rollout/scorer.h"

namespace r1::rollout {

struct WorkerOptions {
  std::string learner = "";             // HOST:PORT of rank 0; loopback
  std::string build = "";               // as `r1 version` prints it
  std::string host = "";                // for the status page; empty = this machine's name
  std::string device = "";              // EngineOptions::device; empty = what the run says
  int threads = 0;                      // of the engine; 0 = what the stage says
  double connect_timeout_seconds = 30;  // for the first connection
  double retry_seconds = 30;            // how long the learner may be gone later
};

// What a stage needs at the worker, made from its spec.
struct StageTools {
  std::unique_ptr<Engine> engine;
  std::shared_ptr<const Scorer> scorer;
  std::function<absl::Status(const WeightsSnapshot&)> check_weights;
  uint64_t weights_bytes_max = 0;
};

// The parts that tests replace.
struct WorkerParts {
  std::vector<std::string> runnable_isas;  // best first
  uint32_t kernel_version = 0;
  std::function<absl::StatusOr<std::unique_ptr<LearnerTransport>>(const std::string& address)>
      connect;
  std::function<absl::StatusOr<StageTools>(const v1::StageSpec&, const WorkerOptions&)> make_stage;
};

// Runs until the learner says that the run is finished, or `stop` is raised (leases are handed back
// within 2 s): both OK. Errors: InvalidArgument (address), FailedPrecondition (the learner refuses
// this worker), Unavailable (no learner for retry_seconds), DataLoss (weights), or what the engine
// or a reward said; the learner is told before the worker leaves.
[[nodiscard]] absl::Status RunWorkerWith(const WorkerOptions& options, const WorkerParts& parts,
                                         const StopSignal& stop);

// With the real engine, tokenizer, rewards and transport.
[[nodiscard]] absl::Status RunWorker(const WorkerOptions& options, const StopSignal& stop);

}  // namespace r1::rollout
