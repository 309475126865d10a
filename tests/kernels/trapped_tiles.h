// Runs compiled AMX instructions on a processor that has none: they trap, and a handler of the
// signal decodes them and has EmulatedTiles do what they ask for. So what the assembler made of
// kernels/cpu/simd_amx_bf16.h is tested, too.
#pragma once

#include <csignal>

namespace r1::kernels {

// In force while it lives; one at a time.
class TrappedTiles {
 public:
  TrappedTiles();
  ~TrappedTiles();
  TrappedTiles(const TrappedTiles&) = delete;
  TrappedTiles& operator=(const TrappedTiles&) = delete;

 private:
  struct sigaction before_ = {};
};

}  // namespace r1::kernels
