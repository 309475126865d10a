// Stands for cuda_runner.cc in builds without a CUDA toolkit.
#include "rollout/engine/runner.h"

namespace r1::rollout {

const RunnerKind* CudaRunnerKindOrNull() { return nullptr; }

}  // namespace r1::rollout
