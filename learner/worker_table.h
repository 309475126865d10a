// What the workers say of themselves, for the status page: who they are, and their rate from the
// heartbeats of the last seconds. Not thread-safe: the pool's lock guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "learner/group_ledger.h"
#include "proto/rollout.pb.h"
#include "proto/status.pb.h"

namespace r1::learner {

class WorkerTable {
 public:
  void Joined(const std::string& worker, const v1::JoinRequest& request);
  void Heartbeat(const std::string& worker, const v1::WorkerStats& stats, double now);
  // Forgets workers that the ledger forgot.
  void Prune(const GroupLedger& ledger);
  // Ordered by the time of joining.
  std::vector<v1::WorkerStatus> Rows(const GroupLedger& ledger, uint64_t newest_version,
                                     double now) const;
  // "w3 (host, pid 17)".
  std::string Describe(const std::string& worker) const;

 private:
  struct Row {
    uint64_t serial = 0;  // order of joining
    std::string host;
    int64_t pid = 0;
    v1::WorkerStats stats;
    std::deque<std::pair<double, uint64_t>> tokens;  // time, generated_tokens_total
  };

  std::map<std::string, Row> rows_;
  uint64_t joined_ = 0;
};

}  // namespace r1::learner
