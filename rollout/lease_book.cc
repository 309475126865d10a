#include "rollout/lease_book.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace r1::rollout {
namespace {

constexpr uint32_t kGroupsMax = 4096;  // leases in the book, outgoing groups included
constexpr uint32_t kSendsMax = 20;

}  // namespace

void LeaseBook::Add(std::vector<v1::Lease> leases, double now) {
  for (v1::Lease& lease : leases) {
    Entry& entry = entries_[KeyOf(lease)];
    if (entry.lease != nullptr && entry.state != State::kQueued) continue;
    entry.received_at = now;
    entry.lease = std::make_shared<const v1::Lease>(std::move(lease));
  }
}

LeaseBook::Room LeaseBook::RoomFor(uint32_t running_samples_max) const {
  // A quarter more than what can run, so that the engine does not wait for the next leases.
  const uint64_t samples_max = running_samples_max + running_samples_max / 4;
  uint64_t samples = 0;
  for (const auto& [key, entry] : entries_) {
    if (entry.state == State::kOutgoing) continue;
    samples += entry.lease->missing_samples_size() - entry.group.samples_size();
  }
  if (samples >= samples_max || entries_.size() >= kGroupsMax) return {};
  return {.groups = kGroupsMax - static_cast<uint32_t>(entries_.size()),
          .samples = static_cast<uint32_t>(samples_max - samples)};
}

std::vector<v1::LeaseKey> LeaseBook::Held() const {
  std::vector<v1::LeaseKey> held;
  for (const auto& [key, entry] : entries_) {
    v1::LeaseKey& lease = held.emplace_back();
    lease.set_stage_index(key.stage_index);
    lease.set_purpose(key.purpose);
    lease.set_group_id(key.group_id);
  }
  return held;
}

std::optional<LeaseBook::Target> LeaseBook::NextTarget() const {
  std::optional<Target> next;
  for (const auto& [key, entry] : entries_) {
    if (entry.state != State::kQueued) continue;
    const Target target = TargetOf(*entry.lease);
    if (!next.has_value() || target < *next) next = target;
  }
  return next;
}

std::vector<LeaseBook::Submission> LeaseBook::TakeQueued(const Target& target, double now) {
  std::vector<Submission> submissions;
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto current = next++;
    Entry& entry = current->second;
    if (entry.state != State::kQueued || TargetOf(*entry.lease) != target) continue;
    if (now - entry.received_at > entry.lease->timeout_seconds()) {
      entries_.erase(current);
      continue;
    }
    entry.state = State::kRunning;
    entry.request_id = next_request_id_++;
    entry.submitted_at = now;
    running_[entry.request_id] = current->first;
    const v1::Lease& lease = *entry.lease;
    *entry.group.mutable_run() = run_;
    entry.group.set_worker_id(worker_id_);
    entry.group.set_stage_index(lease.stage_index());
    entry.group.set_purpose(lease.purpose());
    entry.group.set_group_id(lease.group_id());
    entry.group.set_attempt(lease.attempt());
    entry.group.set_policy_version(lease.policy_version());
    submissions.push_back({.request_id = entry.request_id, .lease = entry.lease});
  }
  return submissions;
}

size_t LeaseBook::DropQueued(const Target& target) {
  return std::erase_if(entries_, [&target](const auto& item) {
    return item.second.state == State::kQueued && TargetOf(*item.second.lease) == target;
  });
}

std::shared_ptr<const v1::Lease> LeaseBook::LeaseOf(uint64_t request_id) const {
  return entries_.at(running_.at(request_id)).lease;
}

void LeaseBook::Generated(uint64_t request_id, double now) {
  Entry& entry = entries_.at(running_.at(request_id));
  entry.group.mutable_timings()->set_generate_seconds(now - entry.submitted_at);
}

bool LeaseBook::AddScored(uint64_t request_id, v1::Sample sample, double score_seconds) {
  Entry& entry = entries_.at(running_.at(request_id));
  v1::SampleTimings& timings = *entry.group.mutable_timings();
  timings.set_score_seconds(timings.score_seconds() + score_seconds);
  *entry.group.add_samples() = std::move(sample);
  if (!IsComplete(entry)) return false;
  MakeOutgoing(entry);
  return true;
}

bool LeaseBook::AddFailed(uint64_t request_id) {
  const Key key = running_.at(request_id);
  Entry& entry = entries_.at(key);
  ++entry.failed_samples;
  if (!IsComplete(entry)) return false;
  if (!entry.group.samples().empty()) {
    MakeOutgoing(entry);
    return true;
  }
  running_.erase(request_id);
  entries_.erase(key);
  return false;
}

bool LeaseBook::IsComplete(const Entry& entry) {
  const int done = entry.group.samples_size() + entry.failed_samples;
  R1_CHECK(done <= entry.lease->missing_samples_size());
  return done == entry.lease->missing_samples_size();
}

void LeaseBook::MakeOutgoing(Entry& entry) {
  running_.erase(entry.request_id);
  std::sort(
      entry.group.mutable_samples()->begin(), entry.group.mutable_samples()->end(),
      [](const v1::Sample& a, const v1::Sample& b) { return a.sample_index() < b.sample_index(); });
  entry.state = State::kOutgoing;
  entry.order = next_order_++;
  entry.message = std::make_shared<const v1::Group>(std::move(entry.group));
  entry.group.Clear();
}

void LeaseBook::GiveUpUnfinished() {
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto current = next++;
    Entry& entry = current->second;
    if (entry.state == State::kOutgoing) continue;
    if (entry.group.samples().empty()) {
      running_.erase(entry.request_id);
      entries_.erase(current);
    } else {
      MakeOutgoing(entry);
    }
  }
}

std::shared_ptr<const v1::Group> LeaseBook::NextUnsentOrNull(const std::string& address,
                                                             double now) {
  Entry* next = nullptr;
  for (auto& [key, entry] : entries_) {
    if (entry.state != State::kOutgoing || entry.sent) continue;
    if (entry.lease->learner_address() != address) continue;
    if (next == nullptr || entry.order < next->order) next = &entry;
  }
  if (next == nullptr) return nullptr;
  next->sent = true;
  next->sent_at = now;
  ++next->sends;
  return next->message;
}

bool LeaseBook::HasUnsent(const std::string& address) const {
  return std::any_of(entries_.begin(), entries_.end(), [&address](const auto& item) {
    const Entry& entry = item.second;
    return entry.state == State::kOutgoing && !entry.sent &&
           entry.lease->learner_address() == address;
  });
}

std::set<std::string> LeaseBook::OutgoingAddresses() const {
  std::set<std::string> addresses;
  for (const auto& [key, entry] : entries_) {
    if (entry.state == State::kOutgoing) addresses.insert(entry.lease->learner_address());
  }
  return addresses;
}

std::optional<double> LeaseBook::OldestSent(const std::string& address) const {
  std::optional<double> oldest;
  for (const auto& [key, entry] : entries_) {
    if (entry.state != State::kOutgoing || !entry.sent) continue;
    if (entry.lease->learner_address() != address) continue;
    if (!oldest.has_value() || entry.sent_at < *oldest) oldest = entry.sent_at;
  }
  return oldest;
}

size_t LeaseBook::ResendAll(const std::string& address) {
  size_t dropped = 0;
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto current = next++;
    Entry& entry = current->second;
    if (entry.state != State::kOutgoing || entry.lease->learner_address() != address) continue;
    entry.sent = false;
    if (entry.sends < kSendsMax) continue;
    entries_.erase(current);
    ++dropped;
  }
  return dropped;
}

bool LeaseBook::Acknowledge(const v1::GroupAck& ack) {
  const auto found = entries_.find({ack.stage_index(), ack.purpose(), ack.group_id()});
  if (found == entries_.end() || found->second.state != State::kOutgoing) return false;
  if (found->second.message->attempt() != ack.attempt()) return false;
  entries_.erase(found);
  return true;
}

size_t LeaseBook::queued() const {
  return std::count_if(entries_.begin(), entries_.end(),
                       [](const auto& item) { return item.second.state == State::kQueued; });
}

size_t LeaseBook::outgoing() const {
  return std::count_if(entries_.begin(), entries_.end(),
                       [](const auto& item) { return item.second.state == State::kOutgoing; });
}

}  // namespace r1::rollout
