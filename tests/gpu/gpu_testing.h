// Pieces that the GPU tests share.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "common/rng.h"
#include "kernels/bench/device_data.h"

namespace r1::kernels {

// Tests of this kind are skipped on a machine without a Hopper GPU, unless R1_REQUIRE_GPU is set:
// then they fail.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    int major = 0;
    const bool has_device =
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess;
    if (has_device && major == 9) return;
    static_cast<void>(cudaGetLastError());  // the failed query must not look like a kernel's error
    ASSERT_EQ(std::getenv("R1_REQUIRE_GPU"), nullptr) << "no GPU of compute capability 9.0";
    GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
  void TearDown() override {
    if (!IsSkipped()) R1_CHECK_CUDA(cudaDeviceSynchronize());
  }
};

inline float ToFloat(__nv_bfloat16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t wide = uint32_t{bits} << 16;
  float result;
  std::memcpy(&result, &wide, sizeof(result));
  return result;
}

inline std::vector<float> ToFloats(const std::vector<__nv_bfloat16>& values) {
  std::vector<float> floats;
  floats.reserve(values.size());
  for (const __nv_bfloat16 value : values) floats.push_back(ToFloat(value));
  return floats;
}

inline std::vector<float> ToFloats(const DeviceBuffer<__nv_bfloat16>& values) {
  return ToFloats(values.ToHost());
}

// Whether two vectors have the same bits.
template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

inline Rng TestRng(uint64_t seed) { return Rng(seed, 0, RngPurpose::kTest, 0, 0); }

}  // namespace r1::kernels
