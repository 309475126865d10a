// "Did you mean …?": the known name that a mistyped one most likely stands for.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace r1 {

// Insertions, deletions, substitutions and swaps of neighbours that turn one name into the other
// (optimal string alignment distance).
int EditDistance(absl::string_view a, absl::string_view b);

// How far a typing error goes: a third of the longer name, at least 1.
int EditDistanceMax(absl::string_view a, absl::string_view b);

// The candidate of least distance, the first of equals; empty when none is within EditDistanceMax.
std::string NearestNameOrEmpty(absl::string_view name, const std::vector<std::string>& candidates);

// "; did you mean \"x\"?" for an error message, or nothing.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& candidates);

}  // namespace r1
