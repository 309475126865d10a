#include "kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/isa.h"

namespace r1::kernels {
namespace {

TEST(ThreadPoolTest, RangesCoverEverythingOnceWithBordersOnGrains) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int n : {0, 1, 7, 8, 9, 64, 1000}) {
      std::vector<int> owner(n, -1);
      std::atomic<int> calls = 0;
      pool.ParallelFor(n, 8, [&](int thread, int begin, int end) {
        ++calls;
        EXPECT_EQ(begin % 8, 0);
        EXPECT_LT(begin, end);
        for (int i = begin; i < end; ++i) {
          EXPECT_EQ(owner[i], -1);
          owner[i] = thread;
        }
      });
      EXPECT_LE(calls, threads);
      EXPECT_THAT(owner, testing::Each(testing::AllOf(testing::Ge(0), testing::Lt(threads))));
      EXPECT_TRUE(std::is_sorted(owner.begin(), owner.end()));
    }
  }
}

TEST(ThreadPoolTest, ManyShortJobsSeeEachOthersWrites) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 1; round <= 2'000; ++round) {
    pool.ParallelFor(64, 1, [&](int, int begin, int end) {
      for (int i = begin; i < end; ++i) values[63 - i] += 1;
    });
    ASSERT_EQ(values[round % 64], round);
  }
}

TEST(ThreadPoolTest, AnIdlePoolUsesNoProcessorTime) {
  ThreadPool pool(3);
  pool.ParallelFor(3, 1, [](int, int, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::clock_t before = std::clock();  // of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.05);
}

TEST(IsaTest, AutoIsTheBestAndUnknownNamesListTheRunnableOnes) {
  const std::vector<IsaName> isas = DetectIsas();
  EXPECT_EQ(isas.back(), IsaName::kReference);
  EXPECT_EQ(*ParseIsa("auto"), isas.front());
  for (const IsaName isa : isas) EXPECT_EQ(*ParseIsa(IsaText(isa)), isa);
  for (const IsaName isa : {IsaName::kAvx512Bf16, IsaName::kAmxBf16}) {
    EXPECT_THAT(isas, testing::Not(testing::Contains(isa)));
    EXPECT_FALSE(ParseIsa(IsaText(isa)).ok());
  }
  const std::vector<IsaName> of_bf16 = DetectIsas(WeightType::kBf16);
  EXPECT_THAT(of_bf16, testing::IsSupersetOf(isas));
  EXPECT_EQ(*ParseIsa("auto", WeightType::kBf16), of_bf16.front());
  for (const IsaName isa : of_bf16) EXPECT_EQ(*ParseIsa(IsaText(isa), WeightType::kBf16), isa);
  const absl::Status status = ParseIsa("sse9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("reference"), testing::HasSubstr("sse9")));
}

}  // namespace
}  // namespace r1::kernels
