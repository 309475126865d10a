#include "learner/worker_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace r1::learner {
namespace {

constexpr double kRateWindowSeconds = 5;

}  // namespace

void WorkerTable::Joined(const std::string& worker, const v1::JoinRequest& request) {
  Row& row = rows_[worker];
  row.serial = ++joined_;
  row.host = request.host();
  row.pid = request.pid();
  row.stats.set_phase("joining");
}

void WorkerTable::Heartbeat(const std::string& worker, const v1::WorkerStats& stats, double now) {
  const auto found = rows_.find(worker);
  if (found == rows_.end()) return;
  Row& row = found->second;
  row.stats = stats;
  row.tokens.emplace_back(now, stats.generated_tokens_total());
  while (row.tokens.size() > 2 && now - row.tokens.front().first > kRateWindowSeconds) {
    row.tokens.pop_front();
  }
}

void WorkerTable::Prune(const GroupLedger& ledger) {
  std::erase_if(rows_, [&ledger](const auto& item) { return !ledger.Knows(item.first); });
}

std::vector<v1::WorkerStatus> WorkerTable::Rows(const GroupLedger& ledger, uint64_t newest_version,
                                                double now) const {
  std::vector<std::pair<uint64_t, v1::WorkerStatus>> ordered;
  for (const auto& [worker, row] : rows_) {
    v1::WorkerStatus status;
    status.set_worker_id(worker);
    status.set_host(row.host);
    status.set_pid(row.pid);
    status.set_policy_version(row.stats.policy_version());
    status.set_lag(newest_version - std::min(newest_version, row.stats.policy_version()));
    if (row.tokens.size() >= 2) {
      const auto& [first_time, first_tokens] = row.tokens.front();
      const auto& [last_time, last_tokens] = row.tokens.back();
      if (last_time > first_time && last_tokens >= first_tokens) {
        status.set_tokens_per_second(static_cast<double>(last_tokens - first_tokens) /
                                     (last_time - first_time));
      }
    }
    status.set_last_seen_seconds(now - ledger.LastSeen(worker));
    status.set_phase(row.stats.phase());
    status.set_leased_groups(static_cast<uint32_t>(ledger.LeasesOf(worker)));
    status.set_running_samples(row.stats.running_samples());
    status.set_generated_tokens_total(row.stats.generated_tokens_total());
    status.set_kv_used_frac(row.stats.kv_used_frac());
    status.set_connected(ledger.IsConnected(worker));
    ordered.emplace_back(row.serial, std::move(status));
  }
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<v1::WorkerStatus> rows;
  for (auto& [serial, status] : ordered) rows.push_back(std::move(status));
  return rows;
}

std::string WorkerTable::Describe(const std::string& worker) const {
  const auto found = rows_.find(worker);
  if (found == rows_.end()) return worker;
  return absl::StrCat(worker, " (", found->second.host, ", pid ", found->second.pid, ")");
}

}  // namespace r1::learner
