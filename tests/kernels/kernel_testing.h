// Shared by the kernel tests: random operands, the instruction sets of this machine, comparison by
// bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernel_table.h"

namespace r1::kernels {

// A fresh stream per test and purpose.
inline Rng TestRng(uint64_t seed) { return Rng(seed, 0, RngPurpose::kTest, 0, 0); }

// Standard normal by Box-Muller.
inline double Normal(Rng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.NextUniform()));
  return radius * std::cos(6.283185307179586 * rng.NextUniform());
}

inline std::vector<float> RandomFloats(Rng& rng, int64_t count, double scale = 1) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * Normal(rng));
  return values;
}

// The instruction sets with fast kernels that this machine can run; maybe none.
inline std::vector<const KernelTable*> FastKernels() {
  std::vector<const KernelTable*> tables;
  for (const IsaName isa : DetectIsas()) {
    if (isa != IsaName::kReference) tables.push_back(&KernelsFor(isa));
  }
  return tables;
}

inline std::vector<const KernelTable*> AllKernels() {
  std::vector<const KernelTable*> tables = FastKernels();
  tables.push_back(&KernelsFor(IsaName::kReference));
  return tables;
}

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// The largest |a - b|; infinite when either is not a number.
inline double MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    worst = difference <= worst ? worst : (std::isnan(difference) ? INFINITY : difference);
  }
  return worst;
}

// Weights of a matrix [n, k] with their packed form, which the views point into.
struct TestMatrix {
  TestMatrix(Rng& rng, int n, int k, double scale)
      : n(n), k(k), plain(RandomFloats(rng, int64_t{n} * k, scale)), packed(PackedFloats(n, k)) {
    PackMatrix(plain.data(), k, n, k, packed.data());
  }
  PackedMatrix view() const { return {packed.data(), n, k}; }

  int n;
  int k;
  std::vector<float> plain;
  std::vector<float> packed;
};

// Gate and up [intermediate, k], likewise.
struct TestGateUp {
  TestGateUp(Rng& rng, int intermediate, int k, double scale)
      : gate(rng, intermediate, k, scale),
        up(rng, intermediate, k, scale),
        packed(PackedGateUpFloats(intermediate, k)) {
    PackGateUp(gate.plain.data(), up.plain.data(), intermediate, k, packed.data());
  }
  PackedGateUp view() const { return {packed.data(), gate.n, gate.k}; }

  TestMatrix gate;
  TestMatrix up;
  std::vector<float> packed;
};

inline double Dot(const float* a, const float* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

inline double NaiveSilu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace r1::kernels
