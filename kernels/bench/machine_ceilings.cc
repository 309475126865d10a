#include "kernels/bench/machine_ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/bench/fma_loop.h"
#include "kernels/isa.h"
#include "kernels/thread_pool.h"

namespace r1::kernels {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

volatile uint64_t g_sink;  // results go here, so that loops are not optimised away

// The best rate of `work`, which returns how much it did, over some seconds: the machine without
// its neighbours.
template <class Work>
double BestRate(double seconds, const Work& work) {
  double best = 0;
  const double end = Now() + seconds;
  for (double start = Now(); start < end;) {
    const double amount = work();
    const double stop = Now();
    best = std::max(best, amount / (stop - start));
    start = stop;
  }
  return best;
}

// The loop for machines without fast kernels: whatever the compiler makes of it.
float FmaLoopPlain(int64_t iterations) {
  float chains[kFmaLoopFlops / 2];
  for (float& chain : chains) chain = 1;
  for (int64_t i = 0; i < iterations; ++i) {
    for (float& chain : chains) chain = chain * 0.999f + 0.001f;
  }
  return std::accumulate(std::begin(chains), std::end(chains), 0.0f);
}

}  // namespace

double PeakFlopsPerSecond(double seconds) {
  constexpr int64_t kIterations = 1'000'000;
  const IsaName isa = DetectIsas().front();
  const auto loop = isa == IsaName::kAvx512 ? FmaLoopAvx512
                    : isa == IsaName::kAvx2 ? FmaLoopAvx2
                                            : FmaLoopPlain;
  return BestRate(seconds, [&] {
    g_sink = static_cast<uint64_t>(loop(kIterations));
    return static_cast<double>(kIterations) * kFmaLoopFlops;
  });
}

double ReadBytesPerSecond(double seconds, int threads) {
  constexpr int kLine = 8;
  constexpr int kPasses = 4;                          // a sample is some 10 to 30 ms
  AlignedBuffer<uint64_t> buffer(int64_t{32} << 20);  // 256 MiB
  std::fill_n(buffer.data(), buffer.size(), uint64_t{1});
  ThreadPool pool(threads);
  std::vector<uint64_t> sums_of_threads(threads);
  return BestRate(seconds, [&] {
    pool.ParallelFor(static_cast<int>(buffer.size()), kLine, [&](int thread, int begin, int end) {
      uint64_t sums[kLine] = {};
      for (int pass = 0; pass < kPasses; ++pass) {
        for (int i = begin; i < end; i += kLine) {
          for (int lane = 0; lane < kLine; ++lane) sums[lane] += buffer[i + lane];
        }
      }
      sums_of_threads[thread] = std::accumulate(std::begin(sums), std::end(sums), uint64_t{0});
    });
    g_sink = std::accumulate(sums_of_threads.begin(), sums_of_threads.end(), uint64_t{0});
    return static_cast<double>(kPasses * buffer.size() * sizeof(uint64_t));
  });
}

}  // namespace r1::kernels
