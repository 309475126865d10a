// What this machine can do at most, measured in the run that is to be judged by it: cores differ,
// clocks move, and neighbours take their share.
#pragma once

namespace r1::kernels {

// fp32 FLOP/s of one core in a loop of independent multiply-adds on registers, with the best
// instruction set it has.
double PeakFlopsPerSecond(double seconds);

// Bytes a second that one core reads from a buffer far larger than its caches.
double ReadBytesPerSecond(double seconds);

}  // namespace r1::kernels
