#include "kernels/bench/cuda_bench.h"

#include <algorithm>
#include <vector>

#include "kernels/bench/device_data.h"

namespace r1::kernels {

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
