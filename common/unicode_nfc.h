// Unicode normalization form C, as Hugging Face's tokenizers computes it. Leaves out the other
// forms, which none of the supported tokenizers uses.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace r1 {

// `text` must be valid UTF-8. Time n log n in its length, whatever marks it is made of.
std::string NormalizeNfc(absl::string_view text);

}  // namespace r1
