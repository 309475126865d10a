// Every endpoint of the status page over a real socket, with hostile text on the board.

#include "learner/status/status_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "learner/status/dashboard_assets.h"
#include "tests/common/prometheus_parser.h"
#include "tests/learner/status/raw_client.h"

namespace r1::learner {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr char kHostile[] = "</script><script>alert(1)</script>\"\\\n\xFF";

class StatusRoutesTest : public testing::Test {
 protected:
  StatusRoutesTest() : board_(Options()) {
    board_.SetLiveProvider([] { return Live(); });
    board_.BeginStage("rl", 2, 0, 350);
    MetricsRow row{.stage = "rl", .stage_index = 2, .step = 0, .update = 0, .values = {}};
    for (int step = 0; step < 40; ++step) {
      row.step = step;
      row.values = {
          {"reward/mean", step / 40.0}, {"reward/format/mean", 1}, {"policy/kl_ref", 0.01}};
      if (step == 20) row.values["policy/kl_ref"] = std::numeric_limits<double>::quiet_NaN();
      board_.AddRow(row);
    }
    v1::SampleRecord sample;
    sample.set_stage("rl");
    sample.set_step(39);
    sample.set_purpose("train");
    sample.set_text(kHostile);
    sample.set_prompt("secret prompt");
    sample.set_reward(std::numeric_limits<double>::infinity());
    sample.set_tokens(33);
    board_.AddSamples({sample});
    auto server = StartStatusServer("127.0.0.1:0", board_);
    R1_CHECK(server.ok());
    server_ = *std::move(server);
  }

  StatusBoardOptions Options() {
    StatusBoardOptions options;
    options.run_id = "run";
    options.incarnation = 7;
    options.version = "0.1.0";
    options.commit = "abc\"def";
    options.config_toml = "[run]\nseed = 1\n";
    options.stages = 3;
    options.stall_seconds = 60;
    options.clock = &clock_;
    return options;
  }

  static LiveStatus Live() {
    LiveStatus live;
    v1::WorkerStatus worker;
    worker.set_worker_id("worker-1");
    worker.set_host(kHostile);
    worker.set_connected(true);
    worker.set_tokens_per_second(1234.5);
    worker.set_lag(2);
    live.workers.push_back(worker);
    v1::QueueStatus queue;
    queue.set_name("accepted");
    queue.set_size(5);
    queue.set_limit(64);
    live.queues.push_back(queue);
    live.awaited = "3 of 64 groups of step 40";
    live.counters.set_trained(100);
    return live;
  }

  RawReply Get(const std::string& target) { return Request(server_->address(), target); }
  json GetJson(const std::string& target, int status = 200) {
    const RawReply reply = Get(target);
    EXPECT_EQ(reply.status, status) << target << ": " << reply.body;
    EXPECT_EQ(HeaderOf(reply, "Content-Type"), "application/json; charset=utf-8");
    return json::parse(reply.body);
  }

  ManualClock clock_;
  StatusBoard board_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(StatusRoutesTest, TheDashboardAndItsFilesAreServedAndSmall) {
  size_t bytes = 0;
  for (const DashboardAsset& asset : DashboardAssets()) {
    const RawReply reply = Get(std::string(asset.path));
    EXPECT_EQ(reply.status, 200) << asset.path;
    EXPECT_EQ(reply.body, asset.content);
    EXPECT_EQ(HeaderOf(reply, "Content-Type"), asset.content_type);
    EXPECT_THAT(reply.body, Not(HasSubstr("innerHTML")));
    bytes += reply.body.size();
  }
  EXPECT_LE(bytes, 60u * 1024);
  EXPECT_EQ(DashboardAssets().front().path, "/");
  // No address outside: the only absolute one is SVG's namespace.
  for (const DashboardAsset& asset : DashboardAssets()) {
    if (asset.path == "/favicon.svg") continue;
    EXPECT_THAT(std::string(asset.content), Not(HasSubstr("://"))) << asset.path;
  }
}

TEST_F(StatusRoutesTest, ProbesSayWhetherTheProcessLivesAndTheRunMoves) {
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_EQ(Get("/readyz").status, 200);
  clock_.Advance(61);
  const RawReply stalled = Get("/readyz");
  EXPECT_EQ(stalled.status, 503);
  EXPECT_THAT(stalled.body, HasSubstr("not ready: nothing has moved for 61 s"));
  EXPECT_THAT(stalled.body, HasSubstr("3 of 64 groups of step 40"));
  board_.SetState(RunState::kFinished);
  EXPECT_THAT(Get("/readyz").body, HasSubstr("the run is finished"));
  EXPECT_EQ(Get("/healthz").status, 200);
}

TEST_F(StatusRoutesTest, PrometheusParsesAndHoldsNoText) {
  const RawReply reply = Get("/metrics");
  EXPECT_EQ(HeaderOf(reply, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  std::string error;
  const auto body = PrometheusParser::Parse(reply.body, &error);
  ASSERT_TRUE(body.has_value()) << error;
  const auto value = [&](const std::string& name,
                         const std::map<std::string, std::string>& labels) {
    for (const PrometheusSample& sample : body->samples) {
      if (sample.name == name && sample.labels == labels) return sample.value;
    }
    ADD_FAILURE() << "no sample " << name;
    return std::nan("");
  };
  EXPECT_EQ(value("r1_build_info", {{"version", "0.1.0"}, {"commit", "abc\"def"}, {"torch", ""}}),
            1);
  EXPECT_EQ(value("r1_run_info", {{"run", "run"}, {"stage", "rl"}, {"state", "running"}}), 1);
  EXPECT_EQ(value("r1_workers_connected", {}), 1);
  EXPECT_EQ(value("r1_policy_lag_steps", {}), 2);
  EXPECT_EQ(value("r1_queue_depth", {{"queue", "accepted"}}), 5);
  EXPECT_EQ(value("r1_groups_total", {{"outcome", "trained"}}), 100);
  EXPECT_EQ(value("r1_generated_tokens_total", {}), 33);
  EXPECT_EQ(value("r1_response_length_tokens_count", {}), 1);
  EXPECT_EQ(value("r1_reward_mean", {{"reward", "total"}}), 39 / 40.0);
  EXPECT_EQ(value("r1_reward_mean", {{"reward", "format"}}), 1);
  EXPECT_EQ(value("r1_metric", {{"key", "policy/kl_ref"}}), 0.01);
  EXPECT_EQ(value("r1_metrics_rows_total", {}), 40);
  EXPECT_GT(value("process_resident_memory_bytes", {}), 1e6);
  EXPECT_THAT(reply.body, Not(HasSubstr("script")));
  EXPECT_THAT(reply.body, Not(HasSubstr("secret")));
  for (const auto& [name, type] : body->types) {
    EXPECT_TRUE(name.rfind("r1_", 0) == 0 || name.rfind("process_", 0) == 0) << name;
    EXPECT_EQ(type == "counter", absl::EndsWith(name, "_total")) << name;
  }
}

TEST_F(StatusRoutesTest, StatusHoldsWhatThePageShows) {
  const json status = GetJson("/api/v1/status");
  EXPECT_EQ(status["state"], "running");
  EXPECT_EQ(status["stage"], "rl");
  EXPECT_EQ(status["awaited"], "3 of 64 groups of step 40");
  EXPECT_EQ(status["workers"][0]["host"], "</script><script>alert(1)</script>\"\\\n\xEF\xBF\xBD");
  EXPECT_EQ(status["latest"]["reward/mean"], 39 / 40.0);
  EXPECT_EQ(status["metrics_rows"], "40");
  EXPECT_EQ(status["ready"], true);
}

TEST_F(StatusRoutesTest, MetricsTakeKeysSinceAndPointsMax) {
  const json all = GetJson("/api/v1/metrics");
  EXPECT_EQ(all["series"].size(), 3u);
  EXPECT_EQ(all["incarnation"], "7");
  const json some = GetJson("/api/v1/metrics?keys=policy/*,nothing&since=20");
  ASSERT_EQ(some["series"].size(), 1u);
  EXPECT_EQ(some["series"][0]["row"].size(), 20u);
  EXPECT_EQ(some["series"][0]["row"][0], 21);
  EXPECT_EQ(some["series"][0]["value"][0], "NaN");  // valid JSON for a browser
  const json thin = GetJson("/api/v1/metrics?keys=reward%2Fmean&points_max=6");
  EXPECT_LE(thin["series"][0]["value"].size(), 8u);
}

TEST_F(StatusRoutesTest, SamplesComeBackAsTheyAreButValid) {
  const json reply = GetJson("/api/v1/samples?step=39&groups_max=4&stage=rl&purpose=train");
  ASSERT_EQ(reply["samples"].size(), 1u);
  EXPECT_EQ(reply["samples"][0]["text"], "</script><script>alert(1)</script>\"\\\n\xEF\xBF\xBD");
  EXPECT_EQ(reply["samples"][0]["reward"], "Infinity");
  EXPECT_EQ(reply["available"][0]["step"], "39");
  EXPECT_EQ(GetJson("/api/v1/samples?step=3")["samples"].size(), 0u);
}

TEST_F(StatusRoutesTest, EventsAndConfig) {
  const json events = GetJson("/api/v1/events");
  EXPECT_EQ(events["events"][0]["text"], "stage rl begins");
  EXPECT_EQ(GetJson("/api/v1/events?since=1")["events"].size(), 0u);
  EXPECT_EQ(GetJson("/api/v1/config")["toml"], "[run]\nseed = 1\n");
}

TEST_F(StatusRoutesTest, BadParametersAre400WithAReason) {
  const std::pair<const char*, const char*> bad[] = {
      {"/api/v1/metrics?sinse=1", "unknown parameter sinse"},
      {"/api/v1/metrics?since=-1", "since must be an integer"},
      {"/api/v1/metrics?since=99999999999999999999", "since must be an integer"},
      {"/api/v1/metrics?points_max=x", "points_max must be an integer"},
      {"/api/v1/metrics?keys=%ZZ", "two hexadecimal digits"},
      {"/api/v1/samples?step=-2", "step must be an integer"},
      {"/api/v1/samples?groups_max=100000", "groups_max must be an integer from 0 to 256"},
      {"/api/v1/samples?purpose=fun", "purpose must be train or eval"},
      {"/api/v1/events?since=1&since=2", "since is given twice"},
      {"/api/v1/status?verbose=1", "unknown parameter verbose"},
      {"/api/v1/config?%00=1", "unknown parameter"},
  };
  for (const auto& [target, reason] : bad) {
    EXPECT_THAT(GetJson(target, 400)["error"].get<std::string>(), HasSubstr(reason)) << target;
  }
}

TEST_F(StatusRoutesTest, NothingButTheListedPathsExists) {
  for (const char* target :
       {"/nothing", "//", "/api/v1", "/api/v1/status/", "/api/v2/status", "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd", "/app.js/../../../etc/passwd", "/app.js%00.html", "/./app.js",
        "/index.html", "/app%2ejs", "/..\\..\\etc\\passwd", "/proc/self/environ", "*",
        "http://localhost/app.js"}) {
    const json error = GetJson(target, 404);
    EXPECT_EQ(error["error"], "no such path; the API is under /api/v1/") << target;
  }
}

}  // namespace
}  // namespace r1::learner
