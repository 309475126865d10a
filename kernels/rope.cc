#include "kernels/rope.h"

#include <cmath>

namespace r1::kernels {

std::vector<float> MakeRopeTable(const std::vector<float>& inverse_frequencies, float magnitude,
                                 bool interleaved, int positions) {
  const int half = static_cast<int>(inverse_frequencies.size());
  const int dim = 2 * half;
  std::vector<float> table(int64_t{positions} * 2 * dim);
  for (int position = 0; position < positions; ++position) {
    float* cos = &table[int64_t{position} * 2 * dim];
    float* sin = cos + dim;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * inverse_frequencies[i];
      const int first = interleaved ? 2 * i : i;
      const int second = interleaved ? 2 * i + 1 : i + half;
      const auto angle64 = static_cast<double>(angle);
      cos[first] = cos[second] = magnitude * static_cast<float>(std::cos(angle64));
      sin[second] = magnitude * static_cast<float>(std::sin(angle64));
      sin[first] = -sin[second];
    }
  }
  return table;
}

}  // namespace r1::kernels
