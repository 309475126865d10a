#include "learner/status/status_routes.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/prometheus_text.h"
#include "common/proto_json.h"
#include "common/query_string.h"
#include "learner/status/dashboard_assets.h"
#include "learner/status/status_prometheus.h"

namespace r1::learner {
namespace {

constexpr char kJson[] = "application/json; charset=utf-8";
constexpr char kText[] = "text/plain; charset=utf-8";
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

HttpReply JsonError(int status, const absl::Status& error) {
  return {.status = status, .content_type = kJson, .body = ErrorToJson(error)};
}

absl::StatusOr<std::string> StatusJson(const StatusBoard& board, const QueryString& query) {
  R1_RETURN_IF_ERROR(query.CheckKnown({}));
  return MessageToJson(board.Status());
}

absl::StatusOr<std::string> MetricsJson(const StatusBoard& board, const QueryString& query) {
  R1_RETURN_IF_ERROR(query.CheckKnown({"keys", "since", "points_max"}));
  v1::MetricsRequest request;
  for (const auto& key : absl::StrSplit(query.Text("keys", ""), ',', absl::SkipEmpty())) {
    request.add_keys(std::string(key));
  }
  R1_ASSIGN_OR_RETURN(const int64_t since, query.Integer("since", 0, 0, kInt64Max));
  R1_ASSIGN_OR_RETURN(const int64_t points_max, query.Integer("points_max", 0, 0, kInt32Max));
  request.set_since(since);
  request.set_points_max(static_cast<int32_t>(points_max));
  R1_ASSIGN_OR_RETURN(const v1::MetricsReply reply, board.Metrics(request));
  return MessageToJson(reply);
}

absl::StatusOr<std::string> SamplesJson(const StatusBoard& board, const QueryString& query) {
  R1_RETURN_IF_ERROR(query.CheckKnown({"step", "groups_max", "stage", "purpose"}));
  v1::SamplesRequest request;
  R1_ASSIGN_OR_RETURN(const int64_t step, query.Integer("step", -1, -1, kInt64Max));
  R1_ASSIGN_OR_RETURN(const int64_t groups_max,
                      query.Integer("groups_max", 0, 0, SampleRing::kGroupsMax));
  request.set_step(step);
  request.set_groups_max(static_cast<int32_t>(groups_max));
  request.set_stage(query.Text("stage", ""));
  request.set_purpose(query.Text("purpose", ""));
  R1_ASSIGN_OR_RETURN(const v1::SamplesReply reply, board.Samples(request));
  return MessageToJson(reply);
}

absl::StatusOr<std::string> EventsJson(const StatusBoard& board, const QueryString& query) {
  R1_RETURN_IF_ERROR(query.CheckKnown({"since"}));
  v1::EventsRequest request;
  R1_ASSIGN_OR_RETURN(const int64_t since, query.Integer("since", 0, 0, kInt64Max));
  request.set_since(since);
  R1_ASSIGN_OR_RETURN(const v1::EventsReply reply, board.Events(request));
  return MessageToJson(reply);
}

absl::StatusOr<std::string> ConfigJson(const StatusBoard& board, const QueryString& query) {
  R1_RETURN_IF_ERROR(query.CheckKnown({}));
  v1::ConfigReply reply;
  reply.set_toml(board.config_toml());
  return MessageToJson(reply);
}

struct ApiRoute {
  absl::string_view path;
  absl::StatusOr<std::string> (*reply)(const StatusBoard&, const QueryString&);
};

constexpr ApiRoute kApiRoutes[] = {
    {"/api/v1/status", StatusJson},   {"/api/v1/metrics", MetricsJson},
    {"/api/v1/samples", SamplesJson}, {"/api/v1/events", EventsJson},
    {"/api/v1/config", ConfigJson},
};

HttpReply ServeApi(const ApiRoute& route, const StatusBoard& board, const HttpRequest& request) {
  const absl::StatusOr<QueryString> query = QueryString::Parse(request.query);
  if (!query.ok()) return JsonError(400, query.status());
  absl::StatusOr<std::string> json = route.reply(board, *query);
  if (!json.ok()) {
    return JsonError(absl::IsInvalidArgument(json.status()) ? 400 : 500, json.status());
  }
  return {.content_type = kJson, .body = *std::move(json)};
}

HttpReply Readiness(const StatusBoard& board) {
  const v1::RunStatus status = board.Status();
  if (status.ready()) return {.content_type = kText, .body = "ready\n"};
  return {.status = 503,
          .content_type = kText,
          .body = absl::StrCat("not ready: ", status.not_ready_reason(), "\n")};
}

HttpReply Serve(const StatusBoard& board, const HttpRequest& request) {
  for (const ApiRoute& route : kApiRoutes) {
    if (request.path == route.path) return ServeApi(route, board, request);
  }
  for (const DashboardAsset& asset : DashboardAssets()) {
    if (request.path == asset.path) {
      return {.content_type = asset.content_type, .body = std::string(asset.content)};
    }
  }
  if (request.path == "/healthz") return {.content_type = kText, .body = "ok\n"};
  if (request.path == "/readyz") return Readiness(board);
  if (request.path == "/metrics") {
    return {.content_type = kPrometheusContentType, .body = StatusToPrometheus(board)};
  }
  return JsonError(404, absl::NotFoundError("no such path; the API is under /api/v1/"));
}

}  // namespace

HttpHandler MakeStatusHandler(const StatusBoard& board) {
  return [&board](const HttpRequest& request) { return Serve(board, request); };
}

absl::StatusOr<std::unique_ptr<HttpServer>> StartStatusServer(const std::string& address,
                                                              const StatusBoard& board) {
  return HttpServer::Start(address, MakeStatusHandler(board));
}

}  // namespace r1::learner
