// Device memory and random device data for the CUDA tests and benchmarks. Errors end the program
// with a message: a test or a benchmark cannot go on without its device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace r1::kernels {

// Prints the expression, the error's name and place, and exits with 1, unless `error` is
// cudaSuccess.
void CheckCuda(cudaError_t error, const char* expression, const char* file, int line);
#define R1_CHECK_CUDA(expression) \
  ::r1::kernels::CheckCuda((expression), #expression, __FILE__, __LINE__)

// Owns `size` elements of device memory. Movable, not copyable.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(int64_t size) : size_(size) {
    R1_CHECK_CUDA(cudaMalloc(reinterpret_cast<void**>(&data_), bytes() > 0 ? bytes() : 1));
  }
  explicit DeviceBuffer(const std::vector<T>& values)
      : DeviceBuffer(static_cast<int64_t>(values.size())) {
    R1_CHECK_CUDA(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() { static_cast<void>(cudaFree(data_)); }

  T* data() const { return data_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * sizeof(T); }
  // Every byte becomes `byte`; 0xFF makes each float and bf16 not a number.
  void Fill(int byte) { R1_CHECK_CUDA(cudaMemset(data_, byte, bytes())); }
  std::vector<T> ToHost() const {
    std::vector<T> values(static_cast<size_t>(size_));
    R1_CHECK_CUDA(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Normally distributed numbers of mean 0, rounded to bf16; the same for the same seed.
void FillNormal(__nv_bfloat16* data, int64_t size, float std, uint64_t seed);

inline DeviceBuffer<__nv_bfloat16> NormalBf16(int64_t size, float std, uint64_t seed) {
  DeviceBuffer<__nv_bfloat16> buffer(size);
  FillNormal(buffer.data(), size, std, seed);
  return buffer;
}

}  // namespace r1::kernels
