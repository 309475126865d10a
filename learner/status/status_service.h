// The status board over gRPC: the same messages as /api/v1/, for `r1 status` and other programs.
// The learner's server registers it; read only. Thread-safe. Errors are the board's
// (INVALID_ARGUMENT).
#pragma once

#include "learner/status/status_board.h"
#include "proto/status.grpc.pb.h"

namespace r1::learner {

class StatusServiceImpl final : public v1::StatusService::Service {
 public:
  // Borrows the board, which must outlive the server.
  explicit StatusServiceImpl(const StatusBoard& board) : board_(board) {}

  grpc::Status GetStatus(grpc::ServerContext* context, const v1::StatusRequest* request,
                         v1::RunStatus* reply) override;
  grpc::Status GetMetrics(grpc::ServerContext* context, const v1::MetricsRequest* request,
                          v1::MetricsReply* reply) override;
  grpc::Status GetSamples(grpc::ServerContext* context, const v1::SamplesRequest* request,
                          v1::SamplesReply* reply) override;
  grpc::Status GetEvents(grpc::ServerContext* context, const v1::EventsRequest* request,
                         v1::EventsReply* reply) override;
  grpc::Status GetConfig(grpc::ServerContext* context, const v1::ConfigRequest* request,
                         v1::ConfigReply* reply) override;

 private:
  const StatusBoard& board_;
};

}  // namespace r1::learner
