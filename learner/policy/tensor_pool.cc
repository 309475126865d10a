#include "learner/policy/tensor_pool.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <new>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "learner/policy/torch_headers.h"

namespace r1::learner {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and a vector register
constexpr size_t kRegionBytes = size_t{64} << 20;

// In the cache line before the memory of a tensor.
struct alignas(kAlignment) Block {
  int size_class;
  int64_t bytes;  // of its tensor
  Block* next_free;
};

// Cache lines of a class, four classes an octave: 1 1 1 1, 2 2 3 3, 4 5 6 7, 8 10 12 14, …
size_t ClassBytes(int size_class) {
  const size_t quarters = 4 + static_cast<size_t>(size_class % 4);
  return (quarters << (size_class / 4)) / 4 * kAlignment;
}

int ClassOf(size_t bytes) {
  const size_t lines = std::max<size_t>(1, (bytes + kAlignment - 1) / kAlignment);
  int size_class = 4 * (std::bit_width(lines) - 1);
  while (ClassBytes(size_class) < bytes) ++size_class;
  return size_class;
}

class TensorPool : public c10::Allocator {
 public:
  static TensorPool& Get() {
    static auto* pool = new TensorPool;  // tensors may outlive static destruction
    return *pool;
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* const data = Take(bytes);
    return {data, data, &TensorPool::Delete, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &TensorPool::Delete; }
  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }

  TensorPoolStats stats() {
    const absl::MutexLock lock(&mutex_);
    return stats_;
  }
  void ResetPeak() {
    const absl::MutexLock lock(&mutex_);
    stats_.bytes_peak = stats_.bytes_allocated;
  }

 private:
  static void Delete(void* data) {
    if (data != nullptr) Get().GiveBack(static_cast<Block*>(data) - 1);
  }

  void* Take(size_t bytes) {
    const int wanted = ClassOf(bytes);
    const absl::MutexLock lock(&mutex_);
    // A block up to twice as large will do.
    for (int c = wanted; c <= wanted + 4 && c < kClasses; ++c) {
      Block* const block = free_[c];
      if (block == nullptr) continue;
      free_[c] = block->next_free;
      Count(bytes, block);
      return block + 1;
    }
    Block* const block = NewBlock(ClassBytes(wanted) + sizeof(Block));
    block->size_class = wanted;
    Count(bytes, block);
    return block + 1;
  }

  void Count(size_t bytes, Block* block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    block->bytes = static_cast<int64_t>(bytes);
    stats_.bytes_allocated += block->bytes;
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_allocated);
  }

  void GiveBack(Block* block) {
    const absl::MutexLock lock(&mutex_);
    stats_.bytes_allocated -= block->bytes;
    block->next_free = free_[block->size_class];
    free_[block->size_class] = block;
  }

  // Memory from the system. The end of a region that a block does not fit into is lost, and never
  // touched.
  char* Map(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(memory != MAP_FAILED, "out of memory: ", bytes, " bytes for tensors");
    madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; it may fail
    stats_.bytes_reserved += static_cast<int64_t>(bytes);
    return static_cast<char*>(memory);
  }

  Block* NewBlock(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (bytes > kRegionBytes / 4) return new (Map(bytes)) Block{};
    if (bytes > region_left_) {
      region_ = Map(kRegionBytes);
      region_left_ = kRegionBytes;
    }
    auto* const block = new (region_) Block{};
    region_ += bytes;
    region_left_ -= bytes;
    return block;
  }

  static constexpr int kClasses = 4 * 48;

  absl::Mutex mutex_;
  std::array<Block*, kClasses> free_ ABSL_GUARDED_BY(mutex_) = {};
  char* region_ ABSL_GUARDED_BY(mutex_) = nullptr;
  size_t region_left_ ABSL_GUARDED_BY(mutex_) = 0;
  TensorPoolStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

void UseTensorPool() {
  static const bool set = [] {
    c10::SetCPUAllocator(&TensorPool::Get(), /*priority=*/1);
    return true;
  }();
  (void)set;
}

TensorPoolStats GetTensorPoolStats() { return TensorPool::Get().stats(); }

void ResetTensorPoolPeak() { TensorPool::Get().ResetPeak(); }

}  // namespace r1::learner
