// Timing of CUDA kernels and the table that every CUDA benchmark prints: time, bytes and operations
// counted by hand, the floor that they imply on an H200, and the fraction of it that was reached.
// With --json FILE each row is also appended to FILE as a line of JSON; with --only TEXT only the
// rows whose shape ends in TEXT are measured.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

namespace r1::kernels {

// Ceilings of an H200: reading memory (bandwidth_cuda_bench measures it), and bf16 products on
// random data.
inline constexpr double kBytesPerSecond = 4.67e12;
inline constexpr double kFlopsPerSecond = 790e12;

struct BenchRow {
  std::string kernel = {};
  std::string shape = {};
  double microseconds = 0;
  double bytes = 0;
  double flops = 0;
  // Another implementation's time for the same, measured elsewhere; 0 = none.
  std::string peer = {};
  double peer_microseconds = 0;
};

class BenchReport {
 public:
  // Ends the program with a message for other arguments than --json FILE and --only TEXT.
  BenchReport(int argc, char** argv);
  bool Wants(const std::string& shape) const;
  void Add(const BenchRow& row) const;

 private:
  std::string json_path_;
  std::string only_;
};

// Time of one call, from graphs of `calls` calls: the median of 15 replays after 3. `call` gets 0 …
// calls - 1, so that it can take turns with its inputs and none of them stays in the cache.
double MedianMicroseconds(int calls,
                          const std::function<void(int call, cudaStream_t stream)>& call);

}  // namespace r1::kernels
