// Hopper (sm_90a) instructions as functions: mbarriers, bulk and asynchronous copies into shared
// memory, matrix multiply-add by a warp and by a warpgroup, programmatic dependent launch. One
// function an instruction (PTX ISA 8.0, sections 9.7.8, 9.7.12, 9.7.13, 9.7.14), no policy.
// Shared-memory addresses are the 32-bit ones of the shared window.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

namespace r1::kernels::sm90 {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- mbarrier: counts arrivals and bytes of one phase after the other
// -------------------------------------------------

__device__ __forceinline__ void BarrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to the copy engine; call before the block's first
// __syncthreads.
__device__ __forceinline__ void BarrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// On the barrier at the same place in the shared memory of block `rank` of the cluster. Relaxed: it
// says that this thread is done reading, and publishes nothing (a release to the cluster costs a
// fence of the whole GPU).
__device__ __forceinline__ void BarrierArriveAt(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// One arrival that also announces `bytes` of bulk copies.
__device__ __forceinline__ void BarrierArriveExpectBytes(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ bool BarrierTryWait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

// Returns when the phase of this parity is complete. A fresh barrier counts as having completed
// parity 1.
__device__ __forceinline__ void BarrierWait(uint32_t barrier, uint32_t parity) {
  while (!BarrierTryWait(barrier, parity)) {
  }
}

// Synchronises `threads` threads of the block on one of the 16 hardware barriers; 0 is
// __syncthreads.
__device__ __forceinline__ void NamedBarrierSync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Without waiting for the others.
__device__ __forceinline__ void NamedBarrierArrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// --- copies into shared memory
// ---------------------------------------------------------------------------------------

// L2 policy for bytes that are read once: they are the first to go.
__device__ __forceinline__ uint64_t PolicyEvictFirst() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ uint64_t PolicyEvictNormal() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Contiguous bytes, both addresses and the size multiples of 16; completes on `barrier`.
__device__ __forceinline__ void BulkCopy(uint32_t target, const void* source, uint32_t bytes,
                                         uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(target),
      "l"(source), "r"(bytes), "r"(barrier), "l"(policy)
      : "memory");
}

// The same into the shared memories of all blocks of `mask` in the cluster, at the same place,
// completing on the barrier at the same place of each.
__device__ __forceinline__ void BulkCopyToCluster(uint32_t target, const void* source,
                                                  uint32_t bytes, uint32_t barrier, uint16_t mask,
                                                  uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1], %2, [%3], %4, %5;" ::"r"(target),
      "l"(source), "r"(bytes), "r"(barrier), "h"(mask), "l"(policy)
      : "memory");
}

// A box of a tensor map's matrix, from (`column`, `row`) on; what lies outside the matrix arrives
// as zeros.
__device__ __forceinline__ void TensorCopy(uint32_t target, const CUtensorMap* map, int column,
                                           int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(target),
      "l"(map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

// The same into the shared memories of all blocks of `mask` in the cluster, as BulkCopyToCluster.
__device__ __forceinline__ void TensorCopyToCluster(uint32_t target, const CUtensorMap* map,
                                                    int column, int row, uint32_t barrier,
                                                    uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(mask)
      : "memory");
}

// 16 bytes through L2 only.
__device__ __forceinline__ void CopyAsync16(uint32_t target, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(source) : "memory");
}

__device__ __forceinline__ void CopyAsyncCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most kPending committed groups of this thread are unfinished.
template <int kPending>
__device__ __forceinline__ void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// This thread's arrival on `barrier` once all its CopyAsync16 so far have landed; counted in the
// barrier's arrivals.
__device__ __forceinline__ void CopyAsyncArrive(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Orders ordinary accesses to shared memory before those of the copy engine and the tensor cores.
__device__ __forceinline__ void FenceAsyncProxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Orders ordinary accesses, global memory's too, and those of the copy engine.
__device__ __forceinline__ void FenceAsyncProxyAll() {
  asm volatile("fence.proxy.async;" ::: "memory");
}

__device__ __forceinline__ uint4 LoadShared16(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}
__device__ __forceinline__ uint32_t LoadShared4(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

// A box of a tensor map's matrix from shared memory to (`column`, `row`) on; what lies outside the
// matrix is left out. Belongs to the thread's open group of stores.
__device__ __forceinline__ void TensorStore(const CUtensorMap* map, uint32_t source, int column,
                                            int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(source), "r"(column), "r"(row)
      : "memory");
}
__device__ __forceinline__ void StoreCommit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until all committed stores of this thread have read shared memory, or are complete.
__device__ __forceinline__ void StoreWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ __forceinline__ void StoreWait() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Count and read a number in shared memory, between threads of the block: who reads a count sees
// what went before it. Reading is atomic, too: a plain read racecheck takes for a race.
__device__ __forceinline__ void CountReleaseShared(uint32_t address) {
  asm volatile("red.release.cta.shared.add.u32 [%0], 1;" ::"r"(address) : "memory");
}
__device__ __forceinline__ uint32_t ReadAcquireShared(uint32_t address) {
  uint32_t value;
  asm volatile("atom.acquire.cta.shared.or.b32 %0, [%1], 0;"
               : "=r"(value)
               : "r"(address)
               : "memory");
  return value;
}

// --- clusters
// -------------------------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// From the shared memory of block `rank` of the cluster.
__device__ __forceinline__ int LoadOfBlock(uint32_t address, uint32_t rank) {
  int value;
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %1, %2;\n"
      "ld.shared::cluster.s32 %0, [remote];\n}"
      : "=r"(value)
      : "r"(address), "r"(rank)
      : "memory");
  return value;
}

// By all threads of all blocks of the cluster.
__device__ __forceinline__ void ClusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// --- dependent launches
// -------------------------------------------------------------------------------------------------

// Waits until the kernels this launch depends on have finished and their writes are visible.
__device__ __forceinline__ void WaitForPriorKernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// Lets the dependent launch start; it still has to wait before it reads what this kernel writes.
__device__ __forceinline__ void AllowDependentKernels() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// --- memory between blocks
// -------------------------------------------------------------------------------------------------

__device__ __forceinline__ unsigned LoadAcquire(const unsigned* pointer) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(pointer) : "memory");
  return value;
}

// Brings the line of 128 bytes into L2, some time.
__device__ __forceinline__ void PrefetchToL2(const void* pointer) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(pointer));
}

// --- registers
// -------------------------------------------------------------------------------------------------

template <int kRegisters>
__device__ __forceinline__ void IncreaseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void DecreaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Transposes an 8x8 matrix of 16-bit values held by a warp in the layout of matrix fragments:
// thread i holds the columns 2 * (i % 4) and the next of row i / 4.
__device__ __forceinline__ uint32_t TransposeFragment(uint32_t pair) {
  uint32_t transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
  return transposed;
}

// 2^x, at most two units in the last place off; results below the normal numbers are zero.
__device__ __forceinline__ float Exp2(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// --- products by a warp
// -------------------------------------------------------------------------------------------------

// Four 8x8 matrices of 16-bit values from shared memory as fragments: lanes 8 i … 8 i + 7 give the
// rows of matrix i, 16 bytes each; of every matrix thread l gets the columns 2 * (l % 4) and the
// next of row l / 4.
__device__ __forceinline__ void LoadMatrices(uint32_t row, uint32_t (&fragments)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(row)
               : "memory");
}
// The same of the transposed matrices.
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t row, uint32_t (&fragments)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(row)
               : "memory");
}

// Four 8x8 matrices of 16-bit values, as fragments, to shared memory, each the other way round:
// lanes 8 i … 8 i + 7 give where the columns of matrix i become rows, 16 bytes each.
__device__ __forceinline__ void StoreMatricesTransposed(uint32_t row,
                                                        const uint32_t (&fragments)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(fragments[0]), "r"(fragments[1]), "r"(fragments[2]), "r"(fragments[3])
               : "memory");
}

// D[16, 8] += A[16, 16] * B[8, 16]^T, bf16 inputs, fp32 sums. Fragments: a = rows 0 … 7 and 8 … 15
// of columns 0 … 7, then those of columns 8 … 15; b = columns 0 … 7, 8 … 15; d[0], d[1] = row
// lane / 4, columns 2 * (lane % 4) and the next; d[2], d[3] = row lane / 4 + 8.
__device__ __forceinline__ void MultiplyFragments(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b_low, uint32_t b_high) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

// --- wgmma
// -------------------------------------------------------------------------------------------------

__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most kPending committed groups are unfinished.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from reading a sum before the wait in front of this.
__device__ __forceinline__ void UseAfterWait(float& sum) { asm volatile("" : "+f"(sum)::"memory"); }

// Low word of the descriptor of a tile in shared memory: rows of 64 bf16 (128 bytes), their 16-byte
// pieces permuted by SwizzledPiece, at a multiple of 1024 bytes. Adding 2 * k addresses the columns
// from 16 * k on, adding bytes / 16 a tile further on.
__device__ __forceinline__ uint32_t TileDescriptor(uint32_t shared_address) {
  constexpr uint32_t kLeadingUnused = 1u << 16;
  return kLeadingUnused | shared_address >> 4;
}
// High word of all of them: 128-byte swizzle, 1024 bytes from 8 rows to the next 8.
inline constexpr uint32_t kTileDescriptorHigh = 1u << 30 | 1024 >> 4;

// D[64, N] += A[64, 16] * B[N, 16]^T, bf16 inputs from shared memory, fp32 sums in registers.
// Thread t of the warpgroup holds rows r = 16 * (t / 32) + t % 32 / 4 and r + 8: d[4j], d[4j + 1]
// are row r, columns 8j + 2 * (t % 4) and the next; d[4j + 2], d[4j + 3] are row r + 8.
template <int kN>
__device__ __forceinline__ void Wgmma(float (&d)[kN / 2], uint32_t a, uint32_t b);

// The same, with the product in place of the sum: whatever d held plays no part.
template <int kN>
__device__ __forceinline__ void WgmmaFirst(float (&d)[kN / 2], uint32_t a, uint32_t b);

// The same, A being stored the other way round: its tile has 64 of A's rows in a row of 128 bytes.
// Adding 128 * k addresses A's columns from 16 * k on.
template <int kN>
__device__ __forceinline__ void WgmmaTransposedA(float (&d)[kN / 2], uint32_t a, uint32_t b);

// The same, A coming from registers: thread t holds of A the columns 2 * (t % 4) and the next of
// the rows r and r + 8, then those 8 columns further on. The registers are read until the product
// is waited for.
template <int kN>
__device__ __forceinline__ void WgmmaOfRegisters(float (&d)[kN / 2], const uint32_t (&a)[4],
                                                 uint32_t b);

// The same, B being stored the other way round: its tiles have 64 of B's rows in a row of 128
// bytes; b is a TransposedTileDescriptor. Adding 128 * k addresses B's columns from 16 * k on.
template <int kN>
__device__ __forceinline__ void WgmmaOfRegistersTransposedB(float (&d)[kN / 2],
                                                            const uint32_t (&a)[4], uint32_t b);

// The same, A coming from shared memory.
template <int kN>
__device__ __forceinline__ void WgmmaTransposedB(float (&d)[kN / 2], uint32_t a, uint32_t b);

// Low word of the descriptor of such tiles, each `tile_bytes` behind the one before. Not in a
// cluster: there addresses have higher bits, which would change the distance.
__device__ __forceinline__ uint32_t TransposedTileDescriptor(uint32_t shared_address,
                                                             uint32_t tile_bytes) {
  return tile_bytes >> 4 << 16 | shared_address >> 4;
}

#define R1_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R1_D8(i) R1_D4(i), R1_D4(i + 4)
#define R1_D16(i) R1_D8(i), R1_D8(i + 8)
#define R1_P0 "%0, %1, %2, %3"
#define R1_P4 ", %4, %5, %6, %7"
#define R1_P8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define R1_P16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define R1_P24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define R1_P32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define R1_P40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define R1_P48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define R1_P48_HALF ", %48, %49, %50, %51"
#define R1_P56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define R1_P64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define R1_P72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define R1_P80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define R1_P88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define R1_P96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define R1_P80_HALF ", %80, %81, %82, %83"
#define R1_P88_HALF ", %88, %89, %90, %91"
#define R1_P96_HALF ", %96, %97, %98, %99"
#define R1_P104_HALF ", %104, %105, %106, %107"
#define R1_P104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define R1_P112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define R1_P120 ", %120, %121, %122, %123, %124, %125, %126, %127"
// The operands after the sums are numbered a, b and high.
#define R1_WGMMA_AS(name, n, adds, transposed_a, transposed_b, a_index, b_index, high, places, \
                    ...)                                                                       \
  template <>                                                                                  \
  __device__ __forceinline__ void name<n>(float(&d)[n / 2], uint32_t a, uint32_t b) {          \
    asm volatile("{\n.reg .pred add;\n.reg .b64 a, b;\nsetp.ne.b32 add, " #adds                \
                 ", 0;\n"                                                                      \
                 "mov.b64 a, {%" #a_index ", %" #high "};\nmov.b64 b, {%" #b_index ", %" #high \
                 "};\n"                                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" places           \
                 "}, a, b, "                                                                   \
                 "add, 1, 1, " #transposed_a ", " #transposed_b ";\n}"                         \
                 : __VA_ARGS__                                                                 \
                 : "r"(a), "r"(b), "n"(kTileDescriptorHigh));                                  \
  }
#define R1_WGMMA(n, ...) R1_WGMMA_AS(Wgmma, n, 1, 0, 0, __VA_ARGS__)
R1_WGMMA_AS(WgmmaTransposedA, 16, 1, 1, 0, 8, 9, 10, R1_P0 R1_P4, R1_D8(0))
R1_WGMMA_AS(WgmmaTransposedA, 32, 1, 1, 0, 16, 17, 18, R1_P0 R1_P4 R1_P8, R1_D16(0))
R1_WGMMA(8, 4, 5, 6, R1_P0, R1_D4(0))
R1_WGMMA(16, 8, 9, 10, R1_P0 R1_P4, R1_D8(0))
R1_WGMMA(32, 16, 17, 18, R1_P0 R1_P4 R1_P8, R1_D16(0))
R1_WGMMA(48, 24, 25, 26, R1_P0 R1_P4 R1_P8 R1_P16, R1_D16(0), R1_D8(16))
R1_WGMMA(64, 32, 33, 34, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24, R1_D16(0), R1_D16(16))
R1_WGMMA(80, 40, 41, 42, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32, R1_D16(0), R1_D16(16), R1_D8(32))
R1_WGMMA(96, 48, 49, 50, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40, R1_D16(0), R1_D16(16),
         R1_D16(32))
R1_WGMMA(104, 52, 53, 54, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40 R1_P48_HALF, R1_D16(0),
         R1_D16(16), R1_D16(32), R1_D4(48))
R1_WGMMA(112, 56, 57, 58, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40 R1_P48, R1_D16(0),
         R1_D16(16), R1_D16(32), R1_D8(48))
R1_WGMMA(128, 64, 65, 66, R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40 R1_P48 R1_P56, R1_D16(0),
         R1_D16(16), R1_D16(32), R1_D16(48))
R1_WGMMA_AS(WgmmaFirst, 128, 0, 0, 0, 64, 65, 66,
            R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40 R1_P48 R1_P56, R1_D16(0), R1_D16(16),
            R1_D16(32), R1_D16(48))
#define R1_D64(i) R1_D16(i), R1_D16(i + 16), R1_D16(i + 32), R1_D16(i + 48)
#define R1_P0_TO_63 R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40 R1_P48 R1_P56
R1_WGMMA(144, 72, 73, 74, R1_P0_TO_63 R1_P64, R1_D64(0), R1_D8(64))
R1_WGMMA(160, 80, 81, 82, R1_P0_TO_63 R1_P64 R1_P72, R1_D64(0), R1_D16(64))
R1_WGMMA(168, 84, 85, 86, R1_P0_TO_63 R1_P64 R1_P72 R1_P80_HALF, R1_D64(0), R1_D16(64), R1_D4(80))
R1_WGMMA(176, 88, 89, 90, R1_P0_TO_63 R1_P64 R1_P72 R1_P80, R1_D64(0), R1_D16(64), R1_D8(80))
R1_WGMMA(184, 92, 93, 94, R1_P0_TO_63 R1_P64 R1_P72 R1_P80 R1_P88_HALF, R1_D64(0), R1_D16(64),
         R1_D8(80), R1_D4(88))
#define R1_D96(i) R1_D64(i), R1_D16(i + 64), R1_D16(i + 80)
#define R1_P0_TO_95 R1_P0_TO_63 R1_P64 R1_P72 R1_P80 R1_P88
R1_WGMMA(192, 96, 97, 98, R1_P0_TO_95, R1_D96(0))
R1_WGMMA(200, 100, 101, 102, R1_P0_TO_95 R1_P96_HALF, R1_D96(0), R1_D4(96))
R1_WGMMA(208, 104, 105, 106, R1_P0_TO_95 R1_P96, R1_D96(0), R1_D8(96))
R1_WGMMA(216, 108, 109, 110, R1_P0_TO_95 R1_P96 R1_P104_HALF, R1_D96(0), R1_D8(96), R1_D4(104))
R1_WGMMA(224, 112, 113, 114, R1_P0_TO_95 R1_P96 R1_P104, R1_D96(0), R1_D16(96))
R1_WGMMA(240, 120, 121, 122, R1_P0_TO_95 R1_P96 R1_P104 R1_P112, R1_D96(0), R1_D16(96), R1_D8(112))
R1_WGMMA(256, 128, 129, 130, R1_P0_TO_63 R1_P64 R1_P72 R1_P80 R1_P88 R1_P96 R1_P104 R1_P112 R1_P120,
         R1_D64(0), R1_D64(64))
R1_WGMMA_AS(WgmmaTransposedB, 128, 1, 0, 1, 64, 65, 66, R1_P0_TO_63, R1_D64(0))
#define R1_WGMMA_OF_REGISTERS(name, n, transposed_b, a0, a1, a2, a3, b_index, high, places, ...)  \
  template <>                                                                                     \
  __device__ __forceinline__ void name<n>(float(&d)[n / 2], const uint32_t(&a)[4], uint32_t b) {  \
    asm volatile(                                                                                 \
        "{\n.reg .pred add;\n.reg .b64 b;\nsetp.eq.b32 add, 0, 0;\n"                              \
        "mov.b64 b, {%" #b_index ", %" #high                                                      \
        "};\n"                                                                                    \
        "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" places "}, {%" #a0 ", %" #a1 \
        ", %" #a2 ", %" #a3 "}, b, add, 1, 1, " #transposed_b ";\n}"                              \
        : __VA_ARGS__                                                                             \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "n"(kTileDescriptorHigh));          \
  }
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 8, 0, 4, 5, 6, 7, 8, 9, R1_P0, R1_D4(0))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 16, 0, 8, 9, 10, 11, 12, 13, R1_P0 R1_P4, R1_D8(0))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 32, 0, 16, 17, 18, 19, 20, 21, R1_P0 R1_P4 R1_P8, R1_D16(0))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 64, 0, 32, 33, 34, 35, 36, 37,
                      R1_P0 R1_P4 R1_P8 R1_P16 R1_P24, R1_D16(0), R1_D16(16))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 80, 0, 40, 41, 42, 43, 44, 45,
                      R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32, R1_D16(0), R1_D16(16), R1_D8(32))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 96, 0, 48, 49, 50, 51, 52, 53,
                      R1_P0 R1_P4 R1_P8 R1_P16 R1_P24 R1_P32 R1_P40, R1_D16(0), R1_D16(16),
                      R1_D16(32))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegisters, 128, 0, 64, 65, 66, 67, 68, 69, R1_P0_TO_63, R1_D64(0))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegistersTransposedB, 128, 1, 64, 65, 66, 67, 68, 69, R1_P0_TO_63,
                      R1_D64(0))
R1_WGMMA_OF_REGISTERS(WgmmaOfRegistersTransposedB, 64, 1, 32, 33, 34, 35, 36, 37,
                      R1_P0 R1_P4 R1_P8 R1_P16 R1_P24, R1_D16(0), R1_D16(16))
#undef R1_WGMMA_OF_REGISTERS
#undef R1_WGMMA
#undef R1_WGMMA_AS
#undef R1_P0
#undef R1_P4
#undef R1_P8
#undef R1_P16
#undef R1_P24
#undef R1_P32
#undef R1_P40
#undef R1_P48
#undef R1_P48_HALF
#undef R1_P56
#undef R1_P64
#undef R1_P72
#undef R1_P80
#undef R1_P88
#undef R1_P96
#undef R1_P80_HALF
#undef R1_P88_HALF
#undef R1_P96_HALF
#undef R1_P104_HALF
#undef R1_P104
#undef R1_P112
#undef R1_P120
#undef R1_P0_TO_63
#undef R1_P0_TO_95
#undef R1_D96
#undef R1_D64
#undef R1_D16
#undef R1_D8
#undef R1_D4

}  // namespace r1::kernels::sm90
