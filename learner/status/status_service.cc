#include "learner/status/status_service.h"

#include <utility>

namespace r1::learner {
namespace {

// The board's reply, or its error with the same code: absl and gRPC number them alike.
template <typename Reply>
grpc::Status Answer(absl::StatusOr<Reply> result, Reply* reply) {
  if (!result.ok()) {
    return grpc::Status(static_cast<grpc::StatusCode>(result.status().code()),
                        std::string(result.status().message()));
  }
  *reply = *std::move(result);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status StatusServiceImpl::GetStatus(grpc::ServerContext*, const v1::StatusRequest*,
                                          v1::RunStatus* reply) {
  *reply = board_.Status();
  return grpc::Status::OK;
}

grpc::Status StatusServiceImpl::GetMetrics(grpc::ServerContext*, const v1::MetricsRequest* request,
                                           v1::MetricsReply* reply) {
  return Answer(board_.Metrics(*request), reply);
}

grpc::Status StatusServiceImpl::GetSamples(grpc::ServerContext*, const v1::SamplesRequest* request,
                                           v1::SamplesReply* reply) {
  return Answer(board_.Samples(*request), reply);
}

grpc::Status StatusServiceImpl::GetEvents(grpc::ServerContext*, const v1::EventsRequest* request,
                                          v1::EventsReply* reply) {
  return Answer(board_.Events(*request), reply);
}

grpc::Status StatusServiceImpl::GetConfig(grpc::ServerContext*, const v1::ConfigRequest*,
                                          v1::ConfigReply* reply) {
  reply->set_toml(board_.config_toml());
  return grpc::Status::OK;
}

}  // namespace r1::learner
