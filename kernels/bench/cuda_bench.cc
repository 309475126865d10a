#include "kernels/bench/cuda_bench.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/bench/device_data.h"

namespace r1::kernels {

BenchReport::BenchReport(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    std::string* const value = name == "--json" ? &json_path_ : name == "--only" ? &only_ : nullptr;
    if (value == nullptr || i + 1 == argc) {
      std::fprintf(stderr, "usage: %s [--json FILE] [--only TEXT]\n", argv[0]);
      std::exit(2);
    }
    *value = argv[i + 1];
  }
  cudaDeviceProp properties;
  R1_CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, %d multiprocessors\n%-22s %-30s %9s %8s %8s %7s  %s\n", properties.name,
              properties.multiProcessorCount, "kernel", "shape", "us", "GB/s", "TFLOP/s", "floor",
              "peer us (ratio)");
}

bool BenchReport::Wants(const std::string& shape) const {
  if (shape.size() < only_.size()) return false;
  return shape.compare(shape.size() - only_.size(), only_.size(), only_) == 0;
}

void BenchReport::Add(const BenchRow& row) const {
  const double seconds = row.microseconds * 1e-6;
  const double floor_seconds = std::max(row.bytes / kBytesPerSecond, row.flops / kFlopsPerSecond);
  std::printf("%-22s %-30s %9.2f %8.0f %8.1f %6.1f%%", row.kernel.c_str(), row.shape.c_str(),
              row.microseconds, row.bytes / seconds * 1e-9, row.flops / seconds * 1e-12,
              100 * floor_seconds / seconds);
  if (row.peer_microseconds > 0) {
    std::printf("  %s %.1f (%.2fx)", row.peer.c_str(), row.peer_microseconds,
                row.peer_microseconds / row.microseconds);
  }
  std::printf("\n");
  std::fflush(stdout);  // rows before one that hangs are not lost in a pipe
  if (json_path_.empty()) return;
  std::FILE* file = std::fopen(json_path_.c_str(), "a");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot append to %s\n", json_path_.c_str());
    std::exit(1);
  }
  std::fprintf(file,
               "{\"kernel\": \"%s\", \"shape\": \"%s\", \"us\": %.3f, \"bytes\": %.0f, "
               "\"flops\": %.0f, \"floor_us\": %.3f, \"floor_fraction\": %.4f, "
               "\"peer\": \"%s\", \"peer_us\": %.2f}\n",
               row.kernel.c_str(), row.shape.c_str(), row.microseconds, row.bytes, row.flops,
               1e6 * floor_seconds, floor_seconds / seconds, row.peer.c_str(),
               row.peer_microseconds);
  std::fclose(file);
}

double MedianMicroseconds(int calls,
                          const std::function<void(int call, cudaStream_t stream)>& call) {
  constexpr int kWarmUps = 3;
  constexpr int kReplays = 15;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t start, stop;
  R1_CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  R1_CHECK_CUDA(cudaEventCreate(&start));
  R1_CHECK_CUDA(cudaEventCreate(&stop));
  R1_CHECK_CUDA(cudaDeviceSynchronize());
  R1_CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) call(i, stream);
  R1_CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  R1_CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  std::vector<double> times;
  for (int replay = -kWarmUps; replay < kReplays; ++replay) {
    R1_CHECK_CUDA(cudaEventRecord(start, stream));
    R1_CHECK_CUDA(cudaGraphLaunch(executable, stream));
    R1_CHECK_CUDA(cudaEventRecord(stop, stream));
    R1_CHECK_CUDA(cudaEventSynchronize(stop));
    float milliseconds = 0;
    R1_CHECK_CUDA(cudaEventElapsedTime(&milliseconds, start, stop));
    if (replay >= 0) times.push_back(1e3 * milliseconds / calls);
  }
  R1_CHECK_CUDA(cudaGraphExecDestroy(executable));
  R1_CHECK_CUDA(cudaGraphDestroy(graph));
  R1_CHECK_CUDA(cudaEventDestroy(start));
  R1_CHECK_CUDA(cudaEventDestroy(stop));
  R1_CHECK_CUDA(cudaStreamDestroy(stream));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace r1::kernels
