// Tokens [begin, end) of a sequence.
#pragma once

namespace r1 {

struct TokenRange {
  int begin = 0;
  int end = 0;
  bool operator==(const TokenRange&) const = default;
};

}  // namespace r1
