#include "common/jinja/text.h"

#include <algorithm>

#include "common/status.h"

namespace r1::jinja {

void Text::Append(absl::string_view bytes, bool from_content) {
  if (bytes.empty()) return;
  bytes_.append(bytes.data(), bytes.size());
  if (!runs_.empty() && runs_.back().from_content == from_content) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), from_content});
  }
}

void Text::Append(const Text& other, size_t begin, size_t end) {
  R1_CHECK(begin <= end);
  R1_CHECK(end <= other.size());
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](size_t at, const Run& candidate) { return at < candidate.end; });
  for (; begin < end; ++run) {
    const size_t run_end = std::min(run->end, end);
    Append(absl::string_view(other.bytes_).substr(begin, run_end - begin), run->from_content);
    begin = run_end;
  }
}

Text Text::Slice(size_t begin, size_t end) const {
  Text slice;
  slice.Append(*this, begin, end);
  return slice;
}

bool Text::from_content() const {
  return std::any_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.from_content; });
}

}  // namespace r1::jinja
