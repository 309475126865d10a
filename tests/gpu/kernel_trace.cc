// Begin and end of every kernel of a CUDA program, those inside graphs too, as a table: a library
// that the driver loads into a program which need not know of it.
//
//   CUDA_INJECTION64_PATH=libr1_kernel_trace.so R1_KERNEL_TRACE=trace.tsv program
//
// Columns: begin and end in nanoseconds, blocks, name. tests/gpu/kernel_times.py sums them up.
#include <cupti.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;
constexpr size_t kRecordAlignment = 8;  // of CUPTI's records

std::FILE* table = nullptr;
std::mutex table_mutex;

void CUPTIAPI RequestBuffer(uint8_t** buffer, size_t* bytes, size_t* records_max) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kRecordAlignment, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *records_max = 0;  // as many as fit
}

void CUPTIAPI WriteBuffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer,
                          size_t /*bytes*/, size_t valid_bytes) {
  const std::lock_guard<std::mutex> lock(table_mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* const kernel = reinterpret_cast<const CUpti_ActivityKernel9*>(record);
    std::fprintf(table, "%llu\t%llu\t%d\t%s\n", static_cast<unsigned long long>(kernel->start),
                 static_cast<unsigned long long>(kernel->end),
                 kernel->gridX * kernel->gridY * kernel->gridZ, kernel->name);
  }
  std::free(buffer);
}

void WriteRest() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  std::fclose(table);
}

bool Succeeded(CUptiResult result) {
  if (result == CUPTI_SUCCESS) return true;
  const char* message = "unknown";
  cuptiGetResultString(result, &message);
  std::fprintf(stderr, "kernel_trace: error: %s\n", message);
  return false;
}

}  // namespace

// The driver calls it before the program's first CUDA call; 1 is success.
extern "C" int InitializeInjection() {
  const char* const path = std::getenv("R1_KERNEL_TRACE");
  table = std::fopen(path == nullptr ? "kernel_trace.tsv" : path, "w");
  if (table == nullptr) {
    std::perror("kernel_trace: error: R1_KERNEL_TRACE");
    return 0;
  }
  if (!Succeeded(cuptiActivityRegisterCallbacks(RequestBuffer, WriteBuffer))) return 0;
  if (!Succeeded(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL))) return 0;
  std::atexit(WriteRest);
  return 1;
}
