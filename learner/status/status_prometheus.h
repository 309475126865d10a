// The board as Prometheus metrics. Names begin with r1_, units stand last, labels are bounded; no
// prompt, sample or group id is ever a label, and no sample text appears: whoever may scrape sees
// numbers only.
#pragma once

#include <string>

#include "learner/status/status_board.h"

namespace r1::learner {

// The body for /metrics (kPrometheusContentType).
std::string StatusToPrometheus(const StatusBoard& board);

}  // namespace r1::learner
