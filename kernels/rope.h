// Rotary position embedding (2104.09864) of one slice per head. Interleaved: pairs (2i, 2i + 1), as
// in DeepSeek; half-split: pairs (i, i + dim / 2), as in Llama. The pair order of the input is
// kept.
//
// Rounding: fp32; y = x * cos + partner * sin with one rounded product and one fused multiply-add.
#pragma once

#include <cstdint>
#include <vector>

namespace r1::kernels {

// One row a position, [cos | sin] of `dim` floats each: cosines repeated for both channels of a
// pair, sines negative for the first channel of a pair; both times `magnitude`. Pair i turns by
// position * inverse_frequencies[i]; the angles are fp32, as the published models were trained.
std::vector<float> MakeRopeTable(const std::vector<float>& inverse_frequencies, float magnitude,
                                 bool interleaved, int positions);

struct RopeArgs {
  const float* table = nullptr;  // MakeRopeTable
  int dim = 0;
  bool interleaved = true;
  const int32_t* positions = nullptr;  // [rows]
  int row_count = 0;
  int heads = 0;
  // Row r, head h is read at x + r * x_stride + h * x_head_stride and written likewise; y does not
  // overlap x.
  const float* x = nullptr;
  int64_t x_stride = 0;
  int64_t x_head_stride = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  int64_t y_head_stride = 0;
};

void RopeReference(const RopeArgs& args);
void RopeFp32Avx2(const RopeArgs& args);
void RopeFp32Avx512(const RopeArgs& args);

}  // namespace r1::kernels
