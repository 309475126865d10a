// The paths of the status page: the dashboard, probes, Prometheus and the JSON API, all from one
// StatusBoard.
//
//   /                      the dashboard; /app.js /app.css /favicon.svg belong to it
//   /healthz               200 while the process lives
//   /readyz                200 while the run progresses, else 503; the body says why
//   /metrics               Prometheus text 0.0.4
//   /api/v1/status         RunStatus       } the messages of proto/status.proto as JSON
//   /api/v1/metrics        MetricsReply    } keys=a,b/* since=ROW points_max=N
//   /api/v1/samples        SamplesReply    } step=N groups_max=N stage=NAME purpose=train|eval
//   /api/v1/events         EventsReply     } since=ID
//   /api/v1/config         ConfigReply     }
// A bad parameter is 400 and an unknown path 404, both with {"error": "…"}.
#pragma once

#include <memory>
#include <string>

#include "learner/status/http_server.h"
#include "learner/status/status_board.h"

namespace r1::learner {

// The handler borrows the board. Thread-safe.
HttpHandler MakeStatusHandler(const StatusBoard& board);

// HttpServer::Start with that handler; the board must outlive the server.
[[nodiscard]] absl::StatusOr<std::unique_ptr<HttpServer>> StartStatusServer(
    const std::string& address, const StatusBoard& board);

}  // namespace r1::learner
