// What a training pass of the learner holds in memory, computed from the model's sizes: the tensors
// that the forward pass keeps for the backward pass, the backward pass's own, and the weights'
// gradients. Mirrors forward_pass.cc and the operators; tests/learner/activation_bytes_test.cc
// holds it against the memory that a pass really takes.
//
// Shape letters: T tokens, N target tokens, D model, H heads, A experts a token, I width of an MLP.
#pragma once

#include <cstdint>

#include "common/models/model_spec.h"

namespace r1::learner {

struct PassShape {
  int64_t tokens = 0;   // T, of the micro-batch
  int64_t targets = 0;  // N, those with a loss
  bool activation_recompute = false;
};

struct PassBytes {
  int64_t kept = 0;       // activations between the two passes
  int64_t gradients = 0;  // of the weights, when the backward pass is through
  int64_t peak = 0;       // all that is held at once, at most
};

// For values of `value_bytes` (4: fp32).
PassBytes TrainingPassBytes(const ModelSpec& spec, const PassShape& shape, int value_bytes);

}  // namespace r1::learner
