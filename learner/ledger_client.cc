#include "learner/ledger_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>

#include "common/network_address.h"
#include "learner/message_validation.h"
#include "proto/rollout.grpc.pb.h"

namespace r1::learner {
namespace {

constexpr double kCallSeconds = 10;

absl::Status FromGrpc(const grpc::Status& status, const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("rank 0 at ", address, ": ", status.error_message()));
}

void SetDeadline(grpc::ClientContext& context, double seconds) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
}

class LedgerClient final : public LedgerHandler {
 public:
  explicit LedgerClient(const std::string& address) : address_(address) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kDataBytesMax);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
    stub_ = v1::LedgerService::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  absl::StatusOr<v1::RegisterRankReply> RegisterRank(
      const v1::RegisterRankRequest& request) override {
    return Call(request, &v1::LedgerService::Stub::RegisterRank, kCallSeconds);
  }
  absl::StatusOr<v1::ReportGroupReply> ReportGroup(const v1::ReportGroupRequest& request) override {
    return Call(request, &v1::LedgerService::Stub::ReportGroup, kCallSeconds);
  }
  absl::StatusOr<v1::AwaitBulletinReply> AwaitBulletin(const v1::AwaitBulletinRequest& request,
                                                       const CallerGone&) override {
    return Call(request, &v1::LedgerService::Stub::AwaitBulletin,
                kCallSeconds + request.wait_seconds());
  }

 private:
  template <typename Request, typename Reply>
  absl::StatusOr<Reply> Call(const Request& request,
                             grpc::Status (v1::LedgerService::Stub::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Reply*),
                             double seconds) {
    grpc::ClientContext context;
    SetDeadline(context, seconds);
    Reply reply;
    R1_RETURN_IF_ERROR(FromGrpc(((*stub_).*method)(&context, request, &reply), address_));
    return reply;
  }

  const std::string address_;
  std::unique_ptr<v1::LedgerService::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LedgerHandler>> MakeLedgerClient(const std::string& owner_address) {
  R1_RETURN_IF_ERROR(CheckLoopback(owner_address, "rank 0's"));
  return std::make_unique<LedgerClient>(owner_address);
}

}  // namespace r1::learner
