#include "kernels/rope.h"

#include <cmath>

namespace r1::kernels {

std::vector<float> MakeRopeTable(int dim, double theta, bool interleaved, int positions) {
  const int half = dim / 2;
  std::vector<float> table(int64_t{positions} * 2 * dim);
  std::vector<float> frequencies(half);
  for (int i = 0; i < half; ++i) {
    frequencies[i] = static_cast<float>(1.0 / std::pow(theta, 2.0 * i / dim));
  }
  for (int position = 0; position < positions; ++position) {
    float* cos = &table[int64_t{position} * 2 * dim];
    float* sin = cos + dim;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      const int first = interleaved ? 2 * i : i;
      const int second = interleaved ? 2 * i + 1 : i + half;
      cos[first] = cos[second] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin[second] = static_cast<float>(std::sin(static_cast<double>(angle)));
      sin[first] = -sin[second];
    }
  }
  return table;
}

}  // namespace r1::kernels
