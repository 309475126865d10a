// What rank 0 tells the other ranks, each thing once. Not thread-safe: the pool's lock guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>

namespace r1::learner {

class BulletinBoard {
 public:
  // `readers`: ranks that will read every bulletin.
  explicit BulletinBoard(uint32_t readers) : readers_(readers) {}

  // Posting a tag twice is a bug.
  void Post(const std::string& tag, const std::string& payload);
  // Null when it is not posted (or was read by all and is long gone). A rank may read again, as its
  // reply may have been lost.
  const std::string* ReadOrNull(const std::string& tag, uint32_t rank);

 private:
  struct Bulletin {
    std::string tag;
    std::string payload;
    std::set<uint32_t> read_by;
  };

  const uint32_t readers_;
  std::deque<Bulletin> bulletins_;  // oldest first
};

}  // namespace r1::learner
