#include "common/status.h"

#include <cstdio>
#include <cstdlib>

namespace r1 {

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s (a bug in r1; please report it)\n", file, line,
               condition);
  std::abort();
}

}  // namespace r1
