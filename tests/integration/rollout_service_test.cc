// What a raw caller on the wire may cost the learner's server: oversize and malformed messages,
// streams of strangers, a second learner on one port.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/log.h"
#include "learner/message_validation.h"
#include "learner/rollout_pool_owner.h"
#include "proto/rollout.grpc.pb.h"
#include "tests/integration/toy_worker.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

RolloutPoolOptions Options() {
  RolloutPoolOptions options;
  options.run.set_run_id("run");
  options.run.set_incarnation(3);
  options.numerics = rollout::ToyStage(0).numerics();
  options.workers_max = 4;
  return options;
}

class RolloutWireTest : public testing::Test {
 protected:
  RolloutWireTest() : pool_(Options(), RealClock()) {
    SetLogLevel(LogLevel::kError);
    R1_CHECK(pool_.Serve().ok());
    R1_CHECK(pool_.BeginStage(rollout::ToyStage(0)).ok());
    grpc::ChannelArguments arguments;
    arguments.SetMaxSendMessageSize(-1);
    channel_ =
        grpc::CreateCustomChannel(pool_.address(), grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::RolloutService::NewStub(channel_);
  }
  ~RolloutWireTest() override { SetLogLevel(LogLevel::kInfo); }

  using Stream = grpc::ClientReaderWriter<v1::Group, v1::GroupAck>;

  std::unique_ptr<Stream> Open(grpc::ClientContext& context, const std::string& worker,
                               uint64_t incarnation = 3) {
    context.AddMetadata("r1-run-id", "run");
    context.AddMetadata("r1-incarnation", absl::StrCat(incarnation));
    context.AddMetadata("r1-worker-id", worker);
    return stub_->StreamGroups(&context);
  }

  RolloutPoolOwner pool_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RolloutService::Stub> stub_;
};

TEST_F(RolloutWireTest, OversizeMessagesAreRefused) {
  grpc::ClientContext control_context;
  v1::LeaveRequest leave;
  leave.set_reason(std::string(kControlBytesMax + 1, 'x'));
  v1::LeaveReply reply;
  EXPECT_EQ(stub_->Leave(&control_context, leave, &reply).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);

  grpc::ClientContext data_context;
  const auto stream = Open(data_context, "w1");
  v1::Group group;
  group.add_samples()->set_text(std::string(kDataBytesMax + 1, 'x'));
  stream->Write(group);
  stream->WritesDone();
  v1::GroupAck ack;
  EXPECT_FALSE(stream->Read(&ack));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RolloutWireTest, MalformedGroupEndsItsStreamWithThePath) {
  grpc::ClientContext context;
  const auto stream = Open(context, "w1");
  v1::Group group;
  *group.mutable_run() = Options().run;
  group.set_purpose(v1::PURPOSE_TRAIN);
  stream->Write(group);
  v1::GroupAck ack;
  EXPECT_FALSE(stream->Read(&ack));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("group.samples: expected 1 to 4096"));
}

TEST_F(RolloutWireTest, StreamsOfStrangersCostNothing) {
  v1::GroupAck ack;
  grpc::ClientContext anonymous;
  const auto nameless = stub_->StreamGroups(&anonymous);
  EXPECT_FALSE(nameless->Read(&ack));
  EXPECT_EQ(nameless->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext old;
  const auto fenced = Open(old, "w1", /*incarnation=*/2);
  EXPECT_FALSE(fenced->Read(&ack));
  EXPECT_EQ(fenced->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  // Four streams are open; a fifth is refused, and a worker's second stream ends its first.
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<Stream>> streams;
  for (const char* worker : {"w1", "w2", "w3", "w4", "w1"}) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(Open(*contexts.back(), worker));
    streams.back()->WaitForInitialMetadata();
  }
  EXPECT_FALSE(streams[0]->Read(&ack));
  EXPECT_EQ(streams[0]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  grpc::ClientContext fifth;
  const auto extra = Open(fifth, "w5");
  EXPECT_FALSE(extra->Read(&ack));
  EXPECT_EQ(extra->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (const auto& context : contexts) context->TryCancel();
}

TEST_F(RolloutWireTest, SecondLearnerOnOnePortIsRefused) {
  RolloutPoolOptions options = Options();
  options.address = pool_.address();
  RolloutPoolOwner second(options, RealClock());
  const absl::Status status = second.Serve();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is another learner using that port?"));
}

TEST_F(RolloutWireTest, GarbageBytesDoNotCrashTheServer) {
  grpc::ClientContext context;
  v1::JoinRequest join;  // unknown version, absurd values
  join.set_protocol_version(static_cast<v1::ProtocolVersion>(-1));
  join.set_pid(std::numeric_limits<int64_t>::min());
  v1::JoinReply reply;
  EXPECT_EQ(stub_->Join(&context, join, &reply).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  grpc::ClientContext again;
  v1::AcquireLeasesRequest acquire;
  *acquire.mutable_run() = Options().run;
  acquire.set_wait_seconds(NAN);
  acquire.set_worker_id(std::string(100000, 'w'));
  v1::AcquireLeasesReply leases;
  EXPECT_EQ(stub_->AcquireLeases(&again, acquire, &leases).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace r1::learner
