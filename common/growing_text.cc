#include "common/growing_text.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace r1 {

bool GrowingText::Append(int32_t id) {
  if (complete_) return true;
  Add(decoder_.Append(id));
  return complete_;
}

void GrowingText::Finish() {
  if (!complete_) Add(decoder_.Finish());
  complete_ = true;
}

void GrowingText::Add(const std::string& more) {
  const size_t before = text_.size();
  text_ += more;
  size_t cut = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t first = before < stop.size() ? 0 : before - stop.size() + 1;
    cut = std::min(cut, text_.find(stop, first));
  }
  if (cut == std::string::npos) return;
  text_.resize(cut);
  complete_ = true;
}

std::string GrowingText::TakeSettled() {
  size_t settled = text_.size();
  for (const std::string& stop : stops_) {
    if (complete_) break;
    const size_t longest = std::min(stop.size() - 1, text_.size() - taken_);
    for (size_t held = longest; held > 0; --held) {
      if (!absl::EndsWith(text_, absl::string_view(stop).substr(0, held))) continue;
      settled = std::min(settled, text_.size() - held);
      break;
    }
  }
  std::string piece = text_.substr(taken_, settled - taken_);
  taken_ = settled;
  return piece;
}

}  // namespace r1
