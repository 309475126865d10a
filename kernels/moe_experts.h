// Routed experts of a batch: for each expert, the tokens that chose it go through its SwiGLU MLP;
// then every token adds up its experts' results. A batch's work is one list of (token, slot) pairs
// sorted by expert, so that each expert's weights are read once, and any cut of the list is a fair
// share for a thread.
//
// Rounding: fp32; products as in matmul.h and swiglu.h; a token's results are added in the order of
// its slots (the router sorts them by expert id), y = weight * result + y, fused.
//
// Shape letters: T tokens, E experts, A active experts, D model, I width of an expert.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/matmul.h"
#include "kernels/swiglu.h"

namespace r1::kernels {

// The work list of a batch.
struct ExpertLists {
  std::vector<int32_t> offsets;  // [E + 1]: expert e owns the places [offsets[e], offsets[e + 1])
  std::vector<int32_t> tokens;   // [T * A]: token at each place, ascending inside an expert
  std::vector<int32_t> places;   // [T, A]: place of each token's slot
};

// experts is [T, A]. Keeps the memory of `lists` between batches.
void BuildExpertLists(const int32_t* experts, int token_count, int active, int expert_count,
                      ExpertLists* lists);

// An expert's weights take as long to read as to multiply by so many rows, about: only the balance
// of threads depends on it.
inline constexpr int kExpertReadRows = 12;

// Cuts the list into `parts` runs of places that take about as long, each expert as long as its
// rows or its weights; one with many rows may be cut itself. Fills borders [parts + 1].
void CutExpertLists(const ExpertLists& lists, int parts, std::vector<int>* borders);

inline constexpr int kMoeRowBlock = 64;  // rows of one expert at a time

struct MoeExpertsArgs {
  const float* x = nullptr;  // [T, D]
  int64_t x_stride = 0;
  const int32_t* offsets = nullptr;  // ExpertLists
  const int32_t* tokens = nullptr;
  int expert_count = 0;  // E
  int place_begin = 0;   // the part of the list to compute
  int place_end = 0;
  const PackedGateUp* gate_up = nullptr;  // [E], D -> I
  const PackedMatrix* down = nullptr;     // [E], I -> D
  float* hidden = nullptr;                // scratch of this call, [kMoeRowBlock, I]
  float* results = nullptr;               // [T * A, D]: one row a place
};

// Calls body(expert, place, count) for runs of at most kMoeRowBlock places of one expert, in order.
template <class Body>
void ForExpertRows(const MoeExpertsArgs& args, const Body& body) {
  for (int expert = 0; expert < args.expert_count; ++expert) {
    const int first =
        args.offsets[expert] < args.place_begin ? args.place_begin : args.offsets[expert];
    const int end =
        args.offsets[expert + 1] < args.place_end ? args.offsets[expert + 1] : args.place_end;
    for (int place = first; place < end; place += kMoeRowBlock) {
      body(expert, place, end - place < kMoeRowBlock ? end - place : kMoeRowBlock);
    }
  }
}

void MoeExpertsReference(const MoeExpertsArgs& args);
void MoeExpertsFp32Avx2(const MoeExpertsArgs& args);
void MoeExpertsFp32Avx512(const MoeExpertsArgs& args);
void MoeExpertsBf16Avx512(const MoeExpertsArgs& args);
void MoeExpertsBf16Amx(const MoeExpertsArgs& args);

struct MoeCombineArgs {
  const float* results = nullptr;   // [T * A, D]
  const int32_t* places = nullptr;  // [token_count, A]
  const float* weights = nullptr;   // [token_count, A]
  int token_count = 0;
  int active = 0;      // A
  int columns = 0;     // D
  float* y = nullptr;  // [token_count, D], added to
  int64_t y_stride = 0;
};

void MoeCombineReference(const MoeCombineArgs& args);
void MoeCombineFp32Avx2(const MoeCombineArgs& args);
void MoeCombineFp32Avx512(const MoeCombineArgs& args);

}  // namespace r1::kernels
