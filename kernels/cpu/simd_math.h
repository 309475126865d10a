// exp and SiLU on 16 lanes, the same in every lane, row and instruction set. Templates over the
// vector types of simd_avx512.h and simd_avx2.h.
#pragma once

namespace r1::kernels {

// e^x with an error below 1 ulp for x in [-87.33, 88.37]. Above, e^88.37; below, 0 (the true value
// is denormal).
//
// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r = 1 + r (1 + r q(r)), where q is the minimax
// polynomial of degree 4 for the relative error of e^r (3.1e-9 before rounding of its
// coefficients).
template <class V>
typename V::F Exp(typename V::F x) {
  using F = typename V::F;
  const F lowest = V::Set1(-87.33654f);
  const F clamped = V::Max(lowest, V::Min(V::Set1(88.37f), x));
  const F n = V::Round(V::Mul(clamped, V::Set1(0x1.715476p+0f)));
  F r = V::MulAdd(n, V::Set1(-0x1.62e400p-1f), clamped);  // exact: few bits of ln 2
  r = V::MulAdd(n, V::Set1(-0x1.7f7d1cp-20f), r);
  F q = V::Set1(0x1.6a2408p-10f);
  q = V::MulAdd(q, r, V::Set1(0x1.1239fep-7f));
  q = V::MulAdd(q, r, V::Set1(0x1.5558f2p-5f));
  q = V::MulAdd(q, r, V::Set1(0x1.555492p-3f));
  q = V::MulAdd(q, r, V::Set1(0x1.fffffcp-2f));
  const F one = V::Set1(1.0f);
  const F power = V::MulAdd(V::MulAdd(q, r, one), r, one);
  return V::Select(V::Less(x, lowest), V::Zero(), V::Mul(power, V::PowerOfTwo(n)));
}

// x / (1 + e^-x).
template <class V>
typename V::F Silu(typename V::F x) {
  return V::Div(x, V::Add(V::Set1(1.0f), Exp<V>(V::Sub(V::Zero(), x))));
}

}  // namespace r1::kernels
