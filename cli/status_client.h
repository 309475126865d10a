// Reads a learner's StatusService; for `r1 status` and the progress of `r1 run`.
#pragma once

#include <memory>
#include <string>

#include "common/status.h"
#include "proto/status.pb.h"

namespace r1::cli {

// Thread-safe.
class StatusClient {
 public:
  // address: HOST:PORT of the learner's gRPC server.
  explicit StatusClient(const std::string& address);
  ~StatusClient();
  StatusClient(const StatusClient&) = delete;
  StatusClient& operator=(const StatusClient&) = delete;

  // Unavailable or DeadlineExceeded when the learner does not answer in time.
  [[nodiscard]] absl::StatusOr<v1::RunStatus> GetStatus(double timeout_seconds);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1::cli
