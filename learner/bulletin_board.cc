#include "learner/bulletin_board.h"

#include <algorithm>

#include "common/status.h"

namespace r1::learner {
namespace {

// Bulletins that all have read are kept up to the first number, unread ones up to the second.
constexpr size_t kReadMax = 64;
constexpr size_t kUnreadMax = 4096;

}  // namespace

void BulletinBoard::Post(const std::string& tag, const std::string& payload) {
  if (readers_ == 0) return;
  const bool known = std::any_of(bulletins_.begin(), bulletins_.end(),
                                 [&tag](const Bulletin& bulletin) { return bulletin.tag == tag; });
  R1_CHECK(!known);
  while (bulletins_.size() >= kReadMax && bulletins_.front().read_by.size() >= readers_) {
    bulletins_.pop_front();
  }
  R1_CHECK(bulletins_.size() < kUnreadMax);  // a rank does not read what it should
  bulletins_.push_back({.tag = tag, .payload = payload, .read_by = {}});
}

const std::string* BulletinBoard::ReadOrNull(const std::string& tag, uint32_t rank) {
  for (Bulletin& bulletin : bulletins_) {
    if (bulletin.tag != tag) continue;
    bulletin.read_by.insert(rank);
    return &bulletin.payload;
  }
  return nullptr;
}

}  // namespace r1::learner
