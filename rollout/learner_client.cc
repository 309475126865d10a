#include "rollout/learner_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/network_address.h"
#include "proto/rollout.grpc.pb.h"
#include "proto/weights.grpc.pb.h"

namespace r1::rollout {
namespace {

constexpr int kMessageBytesMax = 64 << 20;
constexpr double kCallSeconds = 5;
constexpr double kLeaveSeconds = 0.5;
constexpr double kDataSeconds = 60;       // stage spec, manifest
constexpr double kTransferSeconds = 600;  // one attempt at all chunks; continued by the next
constexpr double kStreamSeconds = 3600;   // then a new stream is opened
constexpr double kHoldMarginSeconds = 10;

absl::Status FromGrpc(const grpc::Status& status, const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("learner at ", address, ": ", status.error_message()));
}

void SetDeadline(grpc::ClientContext& context, double seconds) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A connection of its own, also when several workers live in one process.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class GrpcGroupStream final : public GroupStream {
 public:
  GrpcGroupStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& address,
                  const v1::RunIdentity& run, const std::string& worker_id)
      : address_(address), stub_(v1::RolloutService::NewStub(channel)) {
    SetDeadline(context_, kStreamSeconds);
    context_.AddMetadata("r1-run-id", run.run_id());
    context_.AddMetadata("r1-incarnation", absl::StrCat(run.incarnation()));
    context_.AddMetadata("r1-worker-id", worker_id);
    stream_ = stub_->StreamGroups(&context_);
  }

  bool Write(const v1::Group& group) override { return stream_->Write(group); }
  bool Read(v1::GroupAck& ack) override { return stream_->Read(&ack); }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override { return FromGrpc(stream_->Finish(), address_); }

 private:
  const std::string address_;
  std::unique_ptr<v1::RolloutService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Group, v1::GroupAck>> stream_;
};

class LearnerClient final : public LearnerTransport {
 public:
  explicit LearnerClient(const std::string& address)
      : address_(address),
        channel_(Connect(address)),
        rollout_(v1::RolloutService::NewStub(channel_)),
        weights_(v1::WeightService::NewStub(channel_)) {
    channels_[address] = channel_;
  }

  const std::string& address() const override { return address_; }

  absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) override {
    return Call(*rollout_, &v1::RolloutService::Stub::Join, request, kCallSeconds);
  }
  absl::StatusOr<v1::StageSpecReply> GetStageSpec(const v1::StageSpecRequest& request) override {
    return Call(*rollout_, &v1::RolloutService::Stub::GetStageSpec, request, kDataSeconds);
  }
  absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(
      const v1::AcquireLeasesRequest& request) override {
    return Call(*rollout_, &v1::RolloutService::Stub::AcquireLeases, request,
                request.wait_seconds() + kHoldMarginSeconds);
  }
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request) override {
    return Call(*rollout_, &v1::RolloutService::Stub::Heartbeat, request, kCallSeconds);
  }
  absl::Status Leave(const v1::LeaveRequest& request) override {
    return Call(*rollout_, &v1::RolloutService::Stub::Leave, request, kLeaveSeconds).status();
  }
  absl::StatusOr<v1::WeightManifest> GetManifest(
      const v1::WeightManifestRequest& request) override {
    return Call(*weights_, &v1::WeightService::Stub::GetManifest, request, kDataSeconds);
  }

  absl::Status GetChunks(const v1::WeightChunksRequest& request, const ChunkSink& sink) override {
    grpc::ClientContext context;
    SetDeadline(context, kTransferSeconds);
    const ActiveCall active(*this, context);
    const auto reader = weights_->GetChunks(&context, request);
    v1::WeightChunk chunk;
    absl::Status sunk;
    while (sunk.ok() && reader->Read(&chunk)) sunk = sink(chunk);
    if (!sunk.ok()) context.TryCancel();
    const grpc::Status status = reader->Finish();
    return sunk.ok() ? FromGrpc(status, address_) : sunk;
  }

  absl::StatusOr<std::unique_ptr<GroupStream>> OpenGroupStream(
      const std::string& address, const v1::RunIdentity& run,
      const std::string& worker_id) override {
    R1_RETURN_IF_ERROR(CheckLoopback(address, "learner"));
    std::shared_ptr<grpc::Channel> channel;
    {
      absl::MutexLock lock(&mutex_);
      std::shared_ptr<grpc::Channel>& known = channels_[address];
      if (known == nullptr) known = Connect(address);
      channel = known;
    }
    return std::make_unique<GrpcGroupStream>(channel, address, run, worker_id);
  }

  void CancelCalls() override {
    absl::MutexLock lock(&mutex_);
    for (grpc::ClientContext* context : active_) context->TryCancel();
  }

 private:
  // Known to CancelCalls while it exists.
  class ActiveCall {
   public:
    ActiveCall(LearnerClient& client, grpc::ClientContext& context)
        : client_(client), context_(context) {
      absl::MutexLock lock(&client_.mutex_);
      client_.active_.insert(&context_);
    }
    ~ActiveCall() {
      absl::MutexLock lock(&client_.mutex_);
      client_.active_.erase(&context_);
    }

   private:
    LearnerClient& client_;
    grpc::ClientContext& context_;
  };

  template <typename Stub, typename Request, typename Reply>
  absl::StatusOr<Reply> Call(Stub& stub,
                             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Reply*),
                             const Request& request, double seconds) {
    grpc::ClientContext context;
    SetDeadline(context, seconds);
    const ActiveCall active(*this, context);
    Reply reply;
    R1_RETURN_IF_ERROR(FromGrpc((stub.*method)(&context, request, &reply), address_));
    return reply;
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::RolloutService::Stub> rollout_;
  const std::unique_ptr<v1::WeightService::Stub> weights_;
  absl::Mutex mutex_;
  std::set<grpc::ClientContext*> active_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<LearnerTransport>> MakeLearnerClient(const std::string& address) {
  R1_RETURN_IF_ERROR(CheckLoopback(address, "learner"));
  return std::make_unique<LearnerClient>(address);
}

}  // namespace r1::rollout
