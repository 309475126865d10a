// The learner as a worker sees it, without gRPC: the seam between the worker and the wire.
// learner_client.cc is the real one; tests put faults in between. Thread-safe, but for GroupStream.
// Every call has a deadline.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/status.h"
#include "proto/rollout.pb.h"
#include "proto/weights.pb.h"

namespace r1::rollout {

// Groups out, acknowledgements in. One thread may write while another reads.
class GroupStream {
 public:
  virtual ~GroupStream() = default;
  // False: the stream is broken, Finish() says why.
  virtual bool Write(const v1::Group& group) = 0;
  // Blocks; false at the end.
  virtual bool Read(v1::GroupAck& ack) = 0;
  virtual void Cancel() = 0;
  // After the last Write and Read.
  virtual absl::Status Finish() = 0;
};

class LearnerTransport {
 public:
  virtual ~LearnerTransport() = default;
  virtual const std::string& address() const = 0;

  [[nodiscard]] virtual absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::StageSpecReply> GetStageSpec(
      const v1::StageSpecRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(
      const v1::AcquireLeasesRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::HeartbeatReply> Heartbeat(
      const v1::HeartbeatRequest& request) = 0;
  [[nodiscard]] virtual absl::Status Leave(const v1::LeaveRequest& request) = 0;

  [[nodiscard]] virtual absl::StatusOr<v1::WeightManifest> GetManifest(
      const v1::WeightManifestRequest& request) = 0;
  // Calls `sink` with each chunk in order; an error of the sink ends the transfer and is returned.
  using ChunkSink = std::function<absl::Status(const v1::WeightChunk&)>;
  [[nodiscard]] virtual absl::Status GetChunks(const v1::WeightChunksRequest& request,
                                               const ChunkSink& sink) = 0;

  // To the rank at `address`. Errors of the connection show at the first Write or Read.
  // InvalidArgument: not a loopback address.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<GroupStream>> OpenGroupStream(
      const std::string& address, const v1::RunIdentity& run, const std::string& worker_id) = 0;

  // Calls in progress (not streams) return Cancelled; later ones are not affected.
  virtual void CancelCalls() = 0;
};

}  // namespace r1::rollout
