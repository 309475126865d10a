// What a learner rank answers to workers and to other ranks, without gRPC: the pools implement
// these, rollout_service.cc and ledger_client.cc carry them over the wire, and tests and the
// simulation call them directly. Implementations are thread-safe and never block but where said.
#pragma once

#include <functional>

#include "common/status.h"
#include "proto/rollout.pb.h"
#include "proto/weights.pb.h"

namespace r1::learner {

// True when the caller has gone, so that a wait for it may end.
using CallerGone = std::function<bool()>;

class RolloutHandler {
 public:
  virtual ~RolloutHandler() = default;
  // FailedPrecondition names both identities when the caller means another learner.
  [[nodiscard]] virtual absl::Status CheckIdentity(const v1::RunIdentity& run) const = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::StageSpecReply> GetStageSpec(
      const v1::StageSpecRequest& request) = 0;
  // Blocks for up to request.wait_seconds.
  [[nodiscard]] virtual absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(
      const v1::AcquireLeasesRequest& request, const CallerGone& gone) = 0;
  // InvalidArgument with the field's path for a malformed group; what is well-formed but not wanted
  // is a refused acknowledgement.
  [[nodiscard]] virtual absl::StatusOr<v1::GroupAck> AcceptGroup(v1::Group group) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::HeartbeatReply> Heartbeat(
      const v1::HeartbeatRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::LeaveReply> Leave(const v1::LeaveRequest& request) = 0;
};

class WeightHandler {
 public:
  virtual ~WeightHandler() = default;
  // NotFound: a version that was never published or is no longer needed.
  [[nodiscard]] virtual absl::StatusOr<v1::WeightManifest> GetManifest(
      const v1::WeightManifestRequest& request) = 0;
  // The chunk that starts at request.offset; empty at the end of the version's bytes. OutOfRange
  // beyond it.
  [[nodiscard]] virtual absl::StatusOr<v1::WeightChunk> GetChunk(
      const v1::WeightChunksRequest& request) = 0;
};

// Rank 0's, for the other ranks.
class LedgerHandler {
 public:
  virtual ~LedgerHandler() = default;
  [[nodiscard]] virtual absl::StatusOr<v1::RegisterRankReply> RegisterRank(
      const v1::RegisterRankRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::ReportGroupReply> ReportGroup(
      const v1::ReportGroupRequest& request) = 0;
  // Blocks for up to request.wait_seconds.
  [[nodiscard]] virtual absl::StatusOr<v1::AwaitBulletinReply> AwaitBulletin(
      const v1::AwaitBulletinRequest& request, const CallerGone& gone) = 0;
};

}  // namespace r1::learner
