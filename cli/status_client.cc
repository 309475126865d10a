#include "cli/status_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "proto/status.grpc.pb.h"

namespace r1::cli {

class StatusClient::Impl {
 public:
  explicit Impl(const std::string& address)
      : stub_(v1::StatusService::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

  absl::StatusOr<v1::RunStatus> GetStatus(double timeout_seconds) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::microseconds(static_cast<int64_t>(timeout_seconds * 1e6)));
    v1::RunStatus reply;
    const grpc::Status status = stub_->GetStatus(&context, v1::StatusRequest(), &reply);
    if (status.ok()) return reply;
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

 private:
  std::unique_ptr<v1::StatusService::Stub> stub_;
};

StatusClient::StatusClient(const std::string& address) : impl_(std::make_unique<Impl>(address)) {}
StatusClient::~StatusClient() = default;

absl::StatusOr<v1::RunStatus> StatusClient::GetStatus(double timeout_seconds) {
  return impl_->GetStatus(timeout_seconds);
}

}  // namespace r1::cli
