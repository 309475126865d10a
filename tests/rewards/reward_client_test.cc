// Reward plugins that are a gRPC service: the contract of tests/rewards/plugin_contract.h against a
// server in this process.

#include <grpcpp/grpcpp.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/json.h"
#include "proto/reward.grpc.pb.h"
#include "tests/rewards/plugin_contract.h"

namespace r1::rewards {
namespace {

class ContractService : public v1::RewardService::Service {
 public:
  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRewardRequest* request,
                        v1::DescribeRewardReply* reply) override {
    const auto config = ParseJson(request->config_json(), "config_json");
    if (config.ok()) value_ = config->value("value", 0.0);
    reply->set_protocol_version(v1::REWARD_PROTOCOL_VERSION_CURRENT);
    return grpc::Status::OK;
  }

  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRewardsRequest* request,
                     v1::ScoreRewardsReply* reply) override {
    for (const v1::RewardSample& sample : request->samples()) {
      const std::vector<std::string> words = absl::StrSplit(sample.response(), ' ');
      if (words[0] == "hang") {
        // Until the client gives up, for that is when the call is cancelled.
        while (!context->IsCancelled()) usleep(1000);
      }
      const bool once = words[0] == "crash_once" && access(words[1].c_str(), F_OK) != 0;
      if (once) std::ofstream(words[1]).put('x');
      // The client sees a server that dies as a connection that breaks.
      if (once || words[0] == "crash") return {grpc::StatusCode::UNAVAILABLE, "gone"};
      ScoreOne(sample, words[0], *reply->add_scores());
    }
    return grpc::Status::OK;
  }

 private:
  void ScoreOne(const v1::RewardSample& sample, const std::string& word, v1::SampleScore& score) {
    score.set_score(0.5);
    score.set_reason("half way");
    (*score.mutable_parts())["a"] = 0.25;
    if (word == "throw") score.set_error("as asked");
    if (word == "config") score.set_score(value_);
    if (word == "nan") score.set_score(std::numeric_limits<double>::quiet_NaN());
    if (word == "range") score.set_score(7);
    if (word != "echo") return;
    const RewardInput echo = EchoSample();
    const bool same = sample.prompt() == echo.prompt && sample.prediction() == echo.prediction &&
                      sample.answer() == echo.answer && sample.language() == echo.language &&
                      sample.columns_json() == echo.columns_json && !sample.finished() &&
                      sample.think_prefilled() && sample.n_tokens() == *echo.n_tokens;
    score.set_score(same ? 1 : 0);
  }

  std::atomic<double> value_ = 0;
};

// One server for all tests.
int ServerPort() {
  static int port = 0;
  static auto* service = new ContractService;
  static auto* server = [] {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service);
    return builder.BuildAndStart().release();
  }();
  R1_CHECK(server != nullptr);
  return port;
}

INSTANTIATE_TEST_SUITE_P(Service, PluginContract,
                         testing::Values(PluginRouteCase{"address",
                                                         [](v1::RewardPluginConfig& plugin) {
                                                           plugin.set_address(absl::StrCat(
                                                               "127.0.0.1:", ServerPort()));
                                                         }}),
                         [](const auto& info) { return info.param.name; });

TEST(RewardClientTest, AServiceThatIsNotThereMeetsTheDeadline) {
  v1::RewardConfig config =
      PluginConfig({"", [](v1::RewardPluginConfig& plugin) { plugin.set_address("127.0.0.1:1"); }});
  config.mutable_plugin()->set_start_timeout_seconds(0.3);
  config.mutable_plugin()->set_attempts(1);
  const Score score = ScoreResponse(**MakeReward(config), "half");
  EXPECT_TRUE(score.masked);
  EXPECT_THAT(score.error, testing::HasSubstr("127.0.0.1:1"));
}

TEST(RewardClientTest, AnAddressWithoutAPortIsRefused) {
  for (const char* address : {"localhost", ":1", "localhost:", "localhost:0", "localhost:70000"}) {
    const v1::RewardConfig config =
        PluginConfig({"", [&](v1::RewardPluginConfig& plugin) { plugin.set_address(address); }});
    EXPECT_THAT(std::string(MakeReward(config).status().message()),
                testing::HasSubstr("expected HOST:PORT"));
  }
}

}  // namespace
}  // namespace r1::rewards
