// The table at the end of a run: held-out accuracy, format and length after each stage, made from
// metrics.jsonl.
#pragma once

#include <string>
#include <vector>

#include "common/status.h"
#include "learner/metrics.h"
#include "proto/config.pb.h"

namespace r1::learner {

// report.json: the run, its wall-clock seconds, and for each stage the last evaluation on every
// set, as written in metrics.jsonl ("eval/held_out/pass@1", …).
std::string MakeReportJson(const v1::Config& config, const std::string& run_id, double seconds,
                           const std::vector<MetricsRow>& rows);

// The same for people: fixed columns, 95 % intervals. DataLoss when it is no report.
[[nodiscard]] absl::StatusOr<std::string> FormatReport(const std::string& report_json);

}  // namespace r1::learner
