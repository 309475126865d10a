// Localities of __builtin_prefetch.
#pragma once

namespace r1::kernels {

inline constexpr int kSecondLevel = 2;

}  // namespace r1::kernels
