// The weights of a model under the names that the families here share in Hugging Face checkpoints.
#pragma once

#include "common/models/model_spec.h"

namespace r1 {

// Fills spec.weights from spec.layers, in the order of a forward pass. A family with names of its
// own calls this and renames, or lists its weights itself.
//
// Initial weights, for presets only: normal with std 1/sqrt(fan_in), projections into the residual
// stream at half of that, embeddings at 1 unless they are the head too.
void ListWeights(ModelSpec& spec);

}  // namespace r1
