// The route of reward plugins that are a gRPC RewardService (proto/reward.proto). The connection is
// not encrypted: the address belongs to a network that one trusts.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/utf8.h"
#include "proto/reward.grpc.pb.h"
#include "rewards/plugin/plugin_instance.h"
#include "rewards/plugin/protocol.h"

namespace r1::rewards {
namespace {

std::chrono::system_clock::time_point After(double seconds) {
  return std::chrono::system_clock::now() +
         std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
}

// absl and gRPC number their codes alike.
absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// proto strings must be UTF-8; a model's text need not be.
void FillSample(const RewardInput& input, v1::RewardSample& sample) {
  sample.set_prompt(ReplaceInvalidUtf8(input.prompt));
  sample.set_response(ReplaceInvalidUtf8(input.response));
  sample.set_prediction(ReplaceInvalidUtf8(input.prediction));
  sample.set_answer(ReplaceInvalidUtf8(input.answer));
  sample.set_language(ReplaceInvalidUtf8(input.language));
  sample.set_columns_json(ReplaceInvalidUtf8(input.columns_json));
  sample.set_finished(input.finished);
  sample.set_think_prefilled(input.think_prefilled);
  if (input.n_tokens) sample.set_n_tokens(*input.n_tokens);
}

Score ScoreOf(const v1::SampleScore& reply) {
  if (!reply.error().empty()) return ErrorScore(kRewardError, reply.error());
  if (!std::isfinite(reply.score())) {
    return ErrorScore(kRewardError,
                      absl::StrCat("score: expected a finite number, found ", reply.score()));
  }
  if (static_cast<size_t>(reply.parts_size()) > kPartsMax) {
    return ErrorScore(kRewardError, absl::StrCat("parts: expected at most ", kPartsMax, ", found ",
                                                 reply.parts_size()));
  }
  Score score{.value = reply.score(), .reason = PrintableReason(reply.reason())};
  for (const auto& [name, value] : reply.parts()) {
    if (!std::isfinite(value) || name.empty() || name.size() > kPartNameBytesMax) {
      return ErrorScore(
          kRewardError,
          absl::StrCat("parts: expected finite numbers under names of 1 to ", kPartNameBytesMax,
                       " bytes, found ", Quoted(name), " = ", value));
    }
    score.parts.emplace_back(name, value);
  }
  std::sort(score.parts.begin(), score.parts.end());  // a map has no order
  return score;
}

class RemoteInstance : public PluginInstance {
 public:
  RemoteInstance(std::string name, std::unique_ptr<v1::RewardService::Stub> stub)
      : name_(std::move(name)), stub_(std::move(stub)) {}

  absl::StatusOr<std::vector<Score>> ScoreBatch(std::span<const RewardInput* const> samples,
                                                double timeout_seconds) override {
    v1::ScoreRewardsRequest request;
    request.set_name(name_);
    for (const RewardInput* sample : samples) FillSample(*sample, *request.add_samples());
    grpc::ClientContext context;
    context.set_deadline(After(timeout_seconds));
    v1::ScoreRewardsReply reply;
    R1_RETURN_IF_ERROR(ToStatus(stub_->Score(&context, request, &reply)));
    if (static_cast<size_t>(reply.scores_size()) != samples.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("scores: expected ", samples.size(), ", found ", reply.scores_size()));
    }
    std::vector<Score> scores;
    for (const v1::SampleScore& score : reply.scores()) scores.push_back(ScoreOf(score));
    return scores;
  }

 private:
  const std::string name_;
  const std::unique_ptr<v1::RewardService::Stub> stub_;
};

class RemoteRoute : public PluginRoute {
 public:
  explicit RemoteRoute(const v1::RewardConfig& config) : config_(config) {}

  absl::StatusOr<std::unique_ptr<PluginInstance>> Start() const override {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(static_cast<int>(kReplyBytesMax));
    // A connection of its own for each instance, so that a new one is new.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto stub = v1::RewardService::NewStub(grpc::CreateCustomChannel(
        config_.plugin().address(), grpc::InsecureChannelCredentials(), arguments));
    v1::DescribeRewardRequest request;
    request.set_protocol_version(v1::REWARD_PROTOCOL_VERSION_CURRENT);
    request.set_name(config_.name());
    request.set_config_json(config_.plugin().config_json());
    grpc::ClientContext context;
    context.set_wait_for_ready(true);  // a service that restarts is awaited
    context.set_deadline(After(config_.plugin().start_timeout_seconds()));
    v1::DescribeRewardReply reply;
    R1_RETURN_IF_ERROR(
        Annotate(ToStatus(stub->Describe(&context, request, &reply)), config_.plugin().address()));
    if (reply.protocol_version() != v1::REWARD_PROTOCOL_VERSION_CURRENT) {
      return absl::FailedPreconditionError(
          absl::StrCat(config_.plugin().address(), ": expected protocol version ",
                       v1::REWARD_PROTOCOL_VERSION_CURRENT, ", found ", reply.protocol_version()));
    }
    return std::make_unique<RemoteInstance>(config_.name(), std::move(stub));
  }

 private:
  const v1::RewardConfig config_;
};

absl::StatusOr<std::unique_ptr<PluginRoute>> MakeRemote(const v1::RewardConfig& config) {
  const std::string& address = config.plugin().address();
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  const bool has_port = colon != std::string::npos && colon > 0 &&
                        absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 &&
                        port < 65536;
  if (!has_port) {
    return absl::InvalidArgumentError(absl::StrCat("expected HOST:PORT, found ", Quoted(address)));
  }
  return std::make_unique<RemoteRoute>(config);
}

R1_REGISTER(PluginRouteRegistry, "address", MakeRemote);

}  // namespace
}  // namespace r1::rewards
