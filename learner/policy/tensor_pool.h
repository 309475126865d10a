// Memory of LibTorch's CPU tensors in the learner. A training pass allocates and frees the same
// few hundred blocks of megabytes again and again; the C library gives such blocks back to the
// system, and the page faults cost up to a tenth of the time. Here freed blocks are kept for the
// next tensor of a similar size, in large regions that the kernel may back with huge pages. Nothing
// is given back before the process ends: the pool is as large as the largest passes were.
#pragma once

#include <cstdint>

namespace r1::learner {

// From now on every CPU tensor of this process comes from the pool. Thread-safe; the first call
// counts.
void UseTensorPool();

struct TensorPoolStats {
  int64_t bytes_allocated = 0;  // held by tensors
  int64_t bytes_reserved = 0;   // taken from the system
  int64_t bytes_peak = 0;       // most that tensors have held since the last ResetTensorPoolPeak
};
TensorPoolStats GetTensorPoolStats();
void ResetTensorPoolPeak();

}  // namespace r1::learner
