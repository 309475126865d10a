// A worker's leases from receipt to acknowledgement.

#include "rollout/lease_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace r1::rollout {
namespace {

using testing::ElementsAre;
using Target = LeaseBook::Target;

v1::Lease MakeLease(uint64_t group_id, uint64_t version, std::vector<uint32_t> samples,
                    uint32_t attempt = 0, const char* address = "a") {
  v1::Lease lease;
  lease.set_purpose(v1::PURPOSE_TRAIN);
  lease.set_group_id(group_id);
  lease.set_policy_version(version);
  lease.set_attempt(attempt);
  lease.set_learner_address(address);
  lease.set_timeout_seconds(60);
  for (const uint32_t sample : samples) lease.add_missing_samples(sample);
  return lease;
}

v1::Sample MakeSample(uint32_t index) {
  v1::Sample sample;
  sample.set_sample_index(index);
  return sample;
}

v1::GroupAck AckOf(const v1::Group& group) {
  v1::GroupAck ack;
  ack.set_purpose(group.purpose());
  ack.set_group_id(group.group_id());
  ack.set_attempt(group.attempt());
  ack.set_outcome(v1::GroupAck::OUTCOME_ACCEPTED);
  return ack;
}

class LeaseBookTest : public testing::Test {
 protected:
  // Makes a group of one lease outgoing.
  void Complete(const v1::Lease& lease) {
    book_.Add({lease}, 0);
    const auto taken = book_.TakeQueued({0, lease.policy_version()}, 0);
    ASSERT_EQ(taken.size(), 1u);
    for (const uint32_t sample : lease.missing_samples()) {
      book_.AddScored(taken[0].request_id, MakeSample(sample), 0.5);
    }
  }

  v1::RunIdentity run_;
  LeaseBook book_{run_, "w1"};
};

TEST_F(LeaseBookTest, VersionsAreWorkedOffOldestFirst) {
  book_.Add({MakeLease(2, 8, {0}), MakeLease(1, 7, {0}), MakeLease(3, 7, {0})}, 0);
  EXPECT_EQ(book_.NextTarget(), (Target{0, 7}));
  EXPECT_EQ(book_.TakeQueued({0, 7}, 0).size(), 2u);
  EXPECT_EQ(book_.NextTarget(), (Target{0, 8}));
  EXPECT_EQ(book_.DropQueued({0, 8}), 1u);
  EXPECT_FALSE(book_.NextTarget().has_value());
  EXPECT_EQ(book_.running(), 2u);
}

TEST_F(LeaseBookTest, GroupGoesOutWhenItsLastSampleIsScored) {
  book_.Add({MakeLease(1, 7, {0, 2}, /*attempt=*/3)}, 0);
  const uint64_t request = book_.TakeQueued({0, 7}, 10)[0].request_id;
  book_.Generated(request, 12);
  EXPECT_FALSE(book_.AddScored(request, MakeSample(2), 0.5));
  book_.Generated(request, 14);
  EXPECT_TRUE(book_.NextUnsentOrNull("a", 20) == nullptr);
  EXPECT_TRUE(book_.AddScored(request, MakeSample(0), 0.25));
  const auto group = book_.NextUnsentOrNull("a", 20);
  ASSERT_TRUE(group != nullptr);
  EXPECT_EQ(group->attempt(), 3u);
  EXPECT_EQ(group->worker_id(), "w1");
  EXPECT_EQ(group->samples(0).sample_index(), 0u);  // sorted
  EXPECT_EQ(group->samples(1).sample_index(), 2u);
  EXPECT_EQ(group->timings().generate_seconds(), 4);
  EXPECT_EQ(group->timings().score_seconds(), 0.75);
  EXPECT_TRUE(book_.NextUnsentOrNull("a", 20) == nullptr);
  EXPECT_EQ(book_.OldestSent("a"), 20);
  EXPECT_TRUE(book_.Acknowledge(AckOf(*group)));
  EXPECT_FALSE(book_.Acknowledge(AckOf(*group)));
  EXPECT_TRUE(book_.Held().empty());
}

TEST_F(LeaseBookTest, BrokenStreamSendsUnacknowledgedGroupsAgainInOrder) {
  Complete(MakeLease(5, 7, {0}));
  Complete(MakeLease(4, 7, {0}));
  Complete(MakeLease(3, 7, {0}, 0, "b"));
  EXPECT_THAT(book_.OutgoingAddresses(), ElementsAre("a", "b"));
  EXPECT_EQ(book_.NextUnsentOrNull("a", 1)->group_id(), 5u);
  EXPECT_EQ(book_.NextUnsentOrNull("a", 1)->group_id(), 4u);
  EXPECT_FALSE(book_.HasUnsent("a"));
  EXPECT_EQ(book_.ResendAll("a"), 0u);
  EXPECT_EQ(book_.NextUnsentOrNull("a", 2)->group_id(), 5u);
  EXPECT_EQ(book_.outgoing(), 3u);
}

TEST_F(LeaseBookTest, GroupThatIsNeverAcknowledgedIsDroppedAtLast) {
  Complete(MakeLease(5, 7, {0}));
  for (int send = 1; send < 20; ++send) {
    ASSERT_TRUE(book_.NextUnsentOrNull("a", send) != nullptr);
    ASSERT_EQ(book_.ResendAll("a"), 0u);
  }
  ASSERT_TRUE(book_.NextUnsentOrNull("a", 20) != nullptr);
  EXPECT_EQ(book_.ResendAll("a"), 1u);
  EXPECT_EQ(book_.outgoing(), 0u);
}

TEST_F(LeaseBookTest, LeaseThatComesAgainKeepsTheWorkThatItHas) {
  book_.Add({MakeLease(1, 7, {0, 1}), MakeLease(2, 7, {0, 1})}, 0);
  const auto taken = book_.TakeQueued({0, 7}, 0);
  book_.Add({MakeLease(1, 7, {1}, /*attempt=*/1), MakeLease(3, 7, {0, 1})}, 1);
  EXPECT_EQ(book_.LeaseOf(taken[0].request_id)->attempt(), 0u);
  // A queued one is replaced: fewer samples may be missing now.
  book_.Add({MakeLease(3, 7, {1}, /*attempt=*/1)}, 2);
  const auto later = book_.TakeQueued({0, 7}, 2);
  ASSERT_EQ(later.size(), 1u);
  EXPECT_EQ(later[0].lease->attempt(), 1u);
  EXPECT_EQ(later[0].lease->missing_samples_size(), 1);
}

TEST_F(LeaseBookTest, QueuedLeaseThatRanOutIsNotStarted) {
  book_.Add({MakeLease(1, 7, {0})}, 0);
  EXPECT_TRUE(book_.TakeQueued({0, 7}, 61).empty());
  EXPECT_TRUE(book_.Held().empty());
}

TEST_F(LeaseBookTest, RoomCountsUnfinishedSamples) {
  EXPECT_EQ(book_.RoomFor(8).samples, 10u);  // a quarter more than can run
  book_.Add({MakeLease(1, 7, {0, 1, 2})}, 0);
  EXPECT_EQ(book_.RoomFor(8).samples, 7u);
  const uint64_t request = book_.TakeQueued({0, 7}, 0)[0].request_id;
  book_.AddScored(request, MakeSample(0), 0);
  EXPECT_EQ(book_.RoomFor(8).samples, 8u);
  book_.Add({MakeLease(2, 7, {0, 1, 2, 3, 4, 5, 6, 7})}, 0);
  EXPECT_EQ(book_.RoomFor(8).samples, 0u);
}

TEST_F(LeaseBookTest, GivingUpSendsFinishedSamplesOfIncompleteGroups) {
  book_.Add({MakeLease(1, 7, {0, 1}), MakeLease(2, 7, {0, 1}), MakeLease(3, 8, {0})}, 0);
  const auto taken = book_.TakeQueued({0, 7}, 0);
  book_.AddScored(taken[1].request_id, MakeSample(1), 0);
  book_.GiveUpUnfinished();
  EXPECT_EQ(book_.running(), 0u);
  EXPECT_EQ(book_.queued(), 0u);
  const auto group = book_.NextUnsentOrNull("a", 0);
  ASSERT_TRUE(group != nullptr);
  EXPECT_EQ(group->group_id(), 2u);
  ASSERT_EQ(group->samples_size(), 1);
  EXPECT_EQ(group->samples(0).sample_index(), 1u);
}

TEST_F(LeaseBookTest, AGroupLeavesWithoutTheSamplesWhoseRewardFailed) {
  book_.Add({MakeLease(1, 0, {0, 1, 2})}, 0);
  const uint64_t request = book_.TakeQueued({0, 0}, 0)[0].request_id;
  EXPECT_FALSE(book_.AddScored(request, MakeSample(2), 0));
  EXPECT_FALSE(book_.AddFailed(request));
  EXPECT_TRUE(book_.AddScored(request, MakeSample(0), 0));
  const auto group = book_.NextUnsentOrNull("a", 0);
  ASSERT_TRUE(group != nullptr);
  ASSERT_EQ(group->samples_size(), 2);
  EXPECT_EQ(group->samples(1).sample_index(), 2u);
  EXPECT_TRUE(book_.Acknowledge(AckOf(*group)));
  EXPECT_TRUE(book_.Held().empty());
}

TEST_F(LeaseBookTest, AGroupOfWhichNothingIsScoredIsHandedBack) {
  book_.Add({MakeLease(1, 0, {0, 1})}, 0);
  const uint64_t request = book_.TakeQueued({0, 0}, 0)[0].request_id;
  EXPECT_FALSE(book_.AddFailed(request));
  EXPECT_FALSE(book_.AddFailed(request));
  EXPECT_TRUE(book_.Held().empty());
  EXPECT_EQ(book_.running(), 0u);
  EXPECT_EQ(book_.outgoing(), 0u);
}

}  // namespace
}  // namespace r1::rollout
