// What this machine can do at most, measured in the run that is to be judged by it: cores differ,
// clocks move, and neighbours take their share.
#pragma once

namespace r1::kernels {

// fp32 FLOP/s of one core in a loop of independent multiply-adds on registers, with the best
// instruction set it has.
double PeakFlopsPerSecond(double seconds);

// Bytes a second that so many threads together read from a buffer far larger than their caches.
double ReadBytesPerSecond(double seconds, int threads = 1);

}  // namespace r1::kernels
