// The same board over gRPC, in one process.

#include "learner/status/status_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>

namespace r1::learner {
namespace {

TEST(StatusServiceTest, AnswersWhatTheBoardHolds) {
  StatusBoardOptions options;
  options.run_id = "run";
  options.config_toml = "[run]\n";
  StatusBoard board(options);
  board.BeginStage("rl", 0, 0, 10);
  board.AddRow({.stage = "rl", .stage_index = 0, .step = 0, .update = 0, .values = {{"x", 1}}});
  StatusServiceImpl service(board);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto stub = v1::StatusService::NewStub(server->InProcessChannel({}));

  const auto call = [&](auto method, const auto& request, auto& reply) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    return ((*stub).*method)(&context, request, &reply);
  };
  v1::RunStatus status;
  EXPECT_TRUE(call(&v1::StatusService::Stub::GetStatus, v1::StatusRequest(), status).ok());
  EXPECT_EQ(status.stage(), "rl");
  v1::MetricsReply metrics;
  EXPECT_TRUE(call(&v1::StatusService::Stub::GetMetrics, v1::MetricsRequest(), metrics).ok());
  EXPECT_EQ(metrics.series(0).value(0), 1);
  v1::SamplesReply samples;
  EXPECT_TRUE(call(&v1::StatusService::Stub::GetSamples, v1::SamplesRequest(), samples).ok());
  EXPECT_EQ(samples.samples_size(), 0);
  v1::EventsReply events;
  EXPECT_TRUE(call(&v1::StatusService::Stub::GetEvents, v1::EventsRequest(), events).ok());
  EXPECT_EQ(events.events_size(), 1);
  v1::ConfigReply config;
  EXPECT_TRUE(call(&v1::StatusService::Stub::GetConfig, v1::ConfigRequest(), config).ok());
  EXPECT_EQ(config.toml(), "[run]\n");

  v1::MetricsRequest bad;
  bad.set_since(-1);
  const grpc::Status refused = call(&v1::StatusService::Stub::GetMetrics, bad, metrics);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused.error_message().find("since"), std::string::npos);
  server->Shutdown();
}

}  // namespace
}  // namespace r1::learner
