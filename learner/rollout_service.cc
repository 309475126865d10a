#include "learner/rollout_service.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "common/network_address.h"
#include "learner/message_validation.h"
#include "proto/rollout.grpc.pb.h"
#include "proto/weights.grpc.pb.h"

namespace r1::learner {
namespace {

constexpr size_t kErrorTextMax = 2000;       // gRPC carries it in a header of at most 8 KiB
constexpr size_t kServerBytesMax = 1 << 30;  // buffers of all connections together
constexpr int kStreamsPerConnectionMax = 16;
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kErrorTextMax)));
}

// Control messages are small; a large one is refused whatever the server's own limit is.
template <typename Request>
absl::Status CheckControlSize(const Request& request) {
  if (request.ByteSizeLong() <= static_cast<size_t>(kControlBytesMax)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      request.GetTypeName(), " of ", request.ByteSizeLong(), " bytes exceeds ", kControlBytesMax));
}

// One control call: size, handler, reply.
template <typename Request, typename Reply, typename Call>
grpc::Status Answer(const Request& request, Reply* reply, const Call& call) {
  if (const absl::Status status = CheckControlSize(request); !status.ok()) return ToGrpc(status);
  absl::StatusOr<Reply> result = call();
  if (!result.ok()) return ToGrpc(result.status());
  *reply = *std::move(result);
  return grpc::Status::OK;
}

// Who opened a stream, from its metadata: known before the first message, so that idle streams of
// strangers cost nothing.
struct StreamOwner {
  v1::RunIdentity run;
  std::string worker_id;
};

absl::StatusOr<StreamOwner> ReadStreamOwner(const grpc::ServerContext& context) {
  const auto find = [&context](const char* key) {
    const auto found = context.client_metadata().find(key);
    return found == context.client_metadata().end()
               ? std::string()
               : std::string(found->second.data(), found->second.size());
  };
  StreamOwner owner;
  owner.run.set_run_id(find("r1-run-id"));
  owner.worker_id = find("r1-worker-id");
  uint64_t incarnation = 0;
  if (owner.worker_id.empty() || !absl::SimpleAtoi(find("r1-incarnation"), &incarnation)) {
    return absl::InvalidArgumentError(
        "StreamGroups: metadata r1-run-id, r1-incarnation and r1-worker-id are required");
  }
  owner.run.set_incarnation(incarnation);
  return owner;
}

class RolloutServiceImpl final : public v1::RolloutService::Service {
 public:
  RolloutServiceImpl(RolloutHandler& handler, uint32_t streams_max)
      : handler_(handler), streams_max_(streams_max) {}

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request,
                    v1::JoinReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.Join(*request); });
  }
  grpc::Status GetStageSpec(grpc::ServerContext*, const v1::StageSpecRequest* request,
                            v1::StageSpecReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.GetStageSpec(*request); });
  }
  grpc::Status AcquireLeases(grpc::ServerContext* context, const v1::AcquireLeasesRequest* request,
                             v1::AcquireLeasesReply* reply) override {
    return Answer(*request, reply, [&] {
      return handler_.AcquireLeases(*request, [context] { return context->IsCancelled(); });
    });
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.Heartbeat(*request); });
  }
  grpc::Status Leave(grpc::ServerContext*, const v1::LeaveRequest* request,
                     v1::LeaveReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.Leave(*request); });
  }

  grpc::Status StreamGroups(grpc::ServerContext* context,
                            grpc::ServerReaderWriter<v1::GroupAck, v1::Group>* stream) override {
    const absl::StatusOr<StreamOwner> owner = ReadStreamOwner(*context);
    if (!owner.ok()) return ToGrpc(owner.status());
    if (absl::Status status = handler_.CheckIdentity(owner->run); !status.ok()) {
      return ToGrpc(status);
    }
    if (absl::Status status = Register(owner->worker_id, context); !status.ok()) {
      return ToGrpc(status);
    }
    stream->SendInitialMetadata();  // tells the worker that it is let in
    const absl::Status status = Receive(*stream);
    Unregister(owner->worker_id, context);
    return ToGrpc(status);
  }

 private:
  // A worker has one stream: a new one ends the old one, which its worker has given up.
  absl::Status Register(const std::string& worker_id, grpc::ServerContext* context) {
    absl::MutexLock lock(&mutex_);
    const auto found = streams_.find(worker_id);
    if (found != streams_.end()) {
      found->second->TryCancel();
      found->second = context;
      return absl::OkStatus();
    }
    if (streams_.size() >= streams_max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("StreamGroups: ", streams_max_, " workers are streaming already"));
    }
    streams_[worker_id] = context;
    return absl::OkStatus();
  }

  void Unregister(const std::string& worker_id, grpc::ServerContext* context) {
    absl::MutexLock lock(&mutex_);
    const auto found = streams_.find(worker_id);
    if (found != streams_.end() && found->second == context) streams_.erase(found);
  }

  absl::Status Receive(grpc::ServerReaderWriter<v1::GroupAck, v1::Group>& stream) {
    v1::Group group;
    while (stream.Read(&group)) {
      R1_ASSIGN_OR_RETURN(const v1::GroupAck ack, handler_.AcceptGroup(std::move(group)));
      if (!stream.Write(ack)) break;
      group.Clear();
    }
    return absl::OkStatus();
  }

  RolloutHandler& handler_;
  const size_t streams_max_;
  absl::Mutex mutex_;
  std::map<std::string, grpc::ServerContext*> streams_ ABSL_GUARDED_BY(mutex_);
};

class WeightServiceImpl final : public v1::WeightService::Service {
 public:
  explicit WeightServiceImpl(WeightHandler& handler) : handler_(handler) {}

  grpc::Status GetManifest(grpc::ServerContext*, const v1::WeightManifestRequest* request,
                           v1::WeightManifest* reply) override {
    return Answer(*request, reply, [&] { return handler_.GetManifest(*request); });
  }

  grpc::Status GetChunks(grpc::ServerContext* context, const v1::WeightChunksRequest* request,
                         grpc::ServerWriter<v1::WeightChunk>* writer) override {
    v1::WeightChunksRequest next = *request;
    while (!context->IsCancelled()) {
      const absl::StatusOr<v1::WeightChunk> chunk = handler_.GetChunk(next);
      if (!chunk.ok()) return ToGrpc(chunk.status());
      if (chunk->data().empty()) return grpc::Status::OK;
      if (!writer->Write(*chunk)) break;
      next.set_offset(chunk->offset() + chunk->data().size());
    }
    return grpc::Status(grpc::StatusCode::CANCELLED, "the worker is gone");
  }

 private:
  WeightHandler& handler_;
};

class LedgerServiceImpl final : public v1::LedgerService::Service {
 public:
  explicit LedgerServiceImpl(LedgerHandler& handler) : handler_(handler) {}

  grpc::Status RegisterRank(grpc::ServerContext*, const v1::RegisterRankRequest* request,
                            v1::RegisterRankReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.RegisterRank(*request); });
  }
  grpc::Status ReportGroup(grpc::ServerContext*, const v1::ReportGroupRequest* request,
                           v1::ReportGroupReply* reply) override {
    return Answer(*request, reply, [&] { return handler_.ReportGroup(*request); });
  }
  grpc::Status AwaitBulletin(grpc::ServerContext* context, const v1::AwaitBulletinRequest* request,
                             v1::AwaitBulletinReply* reply) override {
    return Answer(*request, reply, [&] {
      return handler_.AwaitBulletin(*request, [context] { return context->IsCancelled(); });
    });
  }

 private:
  LedgerHandler& handler_;
};

class LearnerServerImpl final : public LearnerServer {
 public:
  LearnerServerImpl(const LearnerServerOptions& options, RolloutHandler& rollout,
                    WeightHandler* weights, LedgerHandler* ledger)
      : rollout_(rollout, options.workers_max) {
    if (weights != nullptr) weights_ = std::make_unique<WeightServiceImpl>(*weights);
    if (ledger != nullptr) ledger_ = std::make_unique<LedgerServiceImpl>(*ledger);
  }
  ~LearnerServerImpl() override { Shutdown(); }

  absl::Status Listen(const LearnerServerOptions& options) {
    R1_RETURN_IF_ERROR(CheckLoopback(options.address, "learner"));
    R1_ASSIGN_OR_RETURN(const NetworkAddress wanted, ParseNetworkAddress(options.address));
    // A worker occupies a thread for its stream, its lease call, its heartbeat and its weights.
    const int threads = static_cast<int>(4 * options.workers_max + 4 * options.ranks + 16);
    grpc::ResourceQuota quota("r1_learner");
    quota.Resize(kServerBytesMax).SetMaxThreads(threads);

    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota);
    builder.SetMaxReceiveMessageSize(kDataBytesMax);
    builder.SetMaxSendMessageSize(kDataBytesMax);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               kKeepaliveTimeoutMs);
    int port = 0;
    builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&rollout_);
    if (weights_ != nullptr) builder.RegisterService(weights_.get());
    if (ledger_ != nullptr) builder.RegisterService(ledger_.get());
    if (options.extra_service != nullptr) builder.RegisterService(options.extra_service);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options.address,
                                                 ": is another learner using that port?"));
    }
    const bool is_v6 = wanted.host.find(':') != std::string::npos;
    address_ = absl::StrCat(is_v6 ? "[" : "", wanted.host, is_v6 ? "]" : "", ":", port);
    return absl::OkStatus();
  }

  const std::string& address() const override { return address_; }

  void Shutdown() override {
    if (server_ == nullptr) return;
    // The past: calls in progress are cancelled at once.
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_ = nullptr;
  }

 private:
  RolloutServiceImpl rollout_;
  std::unique_ptr<WeightServiceImpl> weights_;
  std::unique_ptr<LedgerServiceImpl> ledger_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LearnerServer>> LearnerServer::Start(
    const LearnerServerOptions& options, RolloutHandler& rollout, WeightHandler* weights,
    LedgerHandler* ledger) {
  auto server = std::make_unique<LearnerServerImpl>(options, rollout, weights, ledger);
  R1_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace r1::learner
