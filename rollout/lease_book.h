// A worker's leases from receipt to acknowledgement: queued, running in the engine, outgoing.
// Pure: no clock (time is an argument), no lock, no I/O; the simulation runs it unchanged.
//
// Leases of several policy versions are worked off one version after the other, oldest first. A
// group leaves when all its samples are scored, and stays here until the learner acknowledges it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/rollout.pb.h"

namespace r1::rollout {

class LeaseBook {
 public:
  // What must be loaded to work on a lease.
  struct Target {
    uint32_t stage_index = 0;
    uint64_t policy_version = 0;
    friend auto operator<=>(const Target&, const Target&) = default;
  };

  LeaseBook(const v1::RunIdentity& run, const std::string& worker_id)
      : run_(run), worker_id_(worker_id) {}

  // A lease that is here already (it ran out at the learner and came again) replaces a queued one
  // and leaves a running or outgoing one alone: its samples are the same.
  void Add(std::vector<v1::Lease> leases, double now);
  // Room for more, given how many samples the engine can run.
  struct Room {
    uint32_t groups = 0;
    uint32_t samples = 0;
  };
  Room RoomFor(uint32_t running_samples_max) const;
  // For AcquireLeasesRequest.held.
  std::vector<v1::LeaseKey> Held() const;

  // Oldest target with queued leases.
  std::optional<Target> NextTarget() const;
  // Queued leases of the target become running; those that ran out meanwhile are dropped, as the
  // learner has given them away.
  struct Submission {
    uint64_t request_id = 0;
    std::shared_ptr<const v1::Lease> lease;
  };
  std::vector<Submission> TakeQueued(const Target& target, double now);
  // Drops the queued leases of a target that the learner no longer has; returns their number.
  size_t DropQueued(const Target& target);
  // The lease of a running request.
  std::shared_ptr<const v1::Lease> LeaseOf(uint64_t request_id) const;

  // A sample of a running request was generated.
  void Generated(uint64_t request_id, double now);
  // A scored sample. True when its group is complete and outgoing.
  bool AddScored(uint64_t request_id, v1::Sample sample, double score_seconds);
  // The reward of a sample of a running request failed here: the group leaves without it, and the
  // learner leases what is missing again. True when the group is complete and outgoing.
  bool AddFailed(uint64_t request_id);
  // Everything but outgoing groups is given up; finished samples of incomplete groups go out, too.
  void GiveUpUnfinished();

  // Outgoing groups of one address, oldest first. Null when none waits to be sent.
  std::shared_ptr<const v1::Group> NextUnsentOrNull(const std::string& address, double now);
  bool HasUnsent(const std::string& address) const;
  std::set<std::string> OutgoingAddresses() const;
  // When the oldest group that is sent and not acknowledged was sent.
  std::optional<double> OldestSent(const std::string& address) const;
  // The stream broke. Groups that were sent too often are dropped; returns their number.
  size_t ResendAll(const std::string& address);
  // Ends the group, whatever the outcome; false when nothing waits for this acknowledgement.
  bool Acknowledge(const v1::GroupAck& ack);

  size_t queued() const;
  size_t running() const { return running_.size(); }
  size_t outgoing() const;

 private:
  struct Key {
    uint32_t stage_index;
    v1::Purpose purpose;
    uint64_t group_id;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  enum class State { kQueued, kRunning, kOutgoing };
  struct Entry {
    State state = State::kQueued;
    std::shared_ptr<const v1::Lease> lease;
    double received_at = 0;
    uint64_t request_id = 0;
    double submitted_at = 0;
    v1::Group group;  // scored samples so far
    int failed_samples = 0;
    // Outgoing.
    std::shared_ptr<const v1::Group> message;
    uint64_t order = 0;
    bool sent = false;
    double sent_at = 0;
    uint32_t sends = 0;
  };
  static Key KeyOf(const v1::Lease& lease) {
    return {lease.stage_index(), lease.purpose(), lease.group_id()};
  }
  static Target TargetOf(const v1::Lease& lease) {
    return {lease.stage_index(), lease.policy_version()};
  }
  // Whether the last of the lease's samples is there.
  static bool IsComplete(const Entry& entry);
  void MakeOutgoing(Entry& entry);

  const v1::RunIdentity run_;
  const std::string worker_id_;
  std::map<Key, Entry> entries_;
  std::map<uint64_t, Key> running_;  // by request_id
  uint64_t next_request_id_ = 1;
  uint64_t next_order_ = 1;
};

}  // namespace r1::rollout
