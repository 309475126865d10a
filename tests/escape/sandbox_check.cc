// The last line of `make test`: whether the escape tests could run on this machine.

#include <cstdlib>
#include <iostream>
#include <string>

#include "rewards/code/sandbox/pool.h"

int main() {
  const auto pool = r1::rewards::code::SandboxPool::Start({});
  if (pool.ok()) {
    std::cout << "escape: every layer of the sandbox holds on this machine\n";
    return 0;
  }
  std::cout << "escape: NOT RUN (" << pool.status().message() << ")\n";
  const char* const required = std::getenv("R1_REQUIRE_SANDBOX");
  return required != nullptr && std::string(required) == "1" ? 1 : 0;
}
