#include <grpcpp/grpcpp.h>

#include <iostream>

#include "proto/reward.grpc.pb.h"

class ShortAnswerService : public r1::v1::RewardService::Service {
 public:
  grpc::Status Describe(grpc::ServerContext*, const r1::v1::DescribeRewardRequest*,
                        r1::v1::DescribeRewardReply* reply) override {
    reply->set_protocol_version(r1::v1::REWARD_PROTOCOL_VERSION_CURRENT);
    return grpc::Status::OK;
  }

  grpc::Status Score(grpc::ServerContext*, const r1::v1::ScoreRewardsRequest* request,
                     r1::v1::ScoreRewardsReply* reply) override {
    for (const r1::v1::RewardSample& sample : request->samples()) {
      const std::string& text = sample.response();
      const size_t begin = text.find("<answer>");
      const size_t end = text.find("</answer>");
      r1::v1::SampleScore& score = *reply->add_scores();
      if (begin == std::string::npos || end == std::string::npos) continue;
      score.set_score(end < begin + 8 + 5 ? 1 : 0);
      score.set_reason(score.score() > 0 ? "short" : "long");
    }
    return grpc::Status::OK;
  }
};

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : "127.0.0.1:50080";
  int port = 0;
  ShortAnswerService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << port << std::endl;
  server->Wait();
}
