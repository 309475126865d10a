// Three rows of the dynamic programme are enough: a swap looks two rows back.
#include "common/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

// Names from files may be huge; nothing that long is a typing error.
constexpr size_t kNameLengthMax = 256;

}  // namespace

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({substitution, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

int EditDistanceMax(absl::string_view a, absl::string_view b) {
  return std::max(1, static_cast<int>(std::max(a.size(), b.size()) / 3));
}

std::string NearestNameOrEmpty(absl::string_view name, const std::vector<std::string>& candidates) {
  if (name.size() > kNameLengthMax) return "";
  const std::string* nearest = nullptr;
  int least = 0;
  for (const std::string& candidate : candidates) {
    const int distance_max = EditDistanceMax(name, candidate);
    // Each missing character is a slip; this spares most candidates the table.
    const int length_difference =
        static_cast<int>(name.size()) - static_cast<int>(candidate.size());
    if (std::abs(length_difference) > distance_max) continue;
    const int distance = EditDistance(name, candidate);
    if (distance > distance_max) continue;
    if (nearest == nullptr || distance < least) {
      nearest = &candidate;
      least = distance;
    }
  }
  return nearest == nullptr ? "" : *nearest;
}

std::string DidYouMean(absl::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = NearestNameOrEmpty(name, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?");
}

}  // namespace r1
