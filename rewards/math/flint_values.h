// Owners of FLINT's numbers, so that every path frees them: Rational (exact), Ball (a complex
// interval of Arb). FLINT 3 has Arb inside; with FLINT 2 it is a library of its own.
#pragma once

#if __has_include(<flint/arb.h>)
#include <flint/acb.h>
#include <flint/arb.h>
#include <flint/fmpq.h>
#include <flint/fmpq_mpoly.h>
#else
#include <acb.h>
#include <arb.h>
#include <flint/fmpq.h>
#include <flint/fmpq_mpoly.h>
#endif

#include <utility>

namespace r1::rewards::math {

class Integer {
 public:
  Integer() { fmpz_init(value_); }
  ~Integer() { fmpz_clear(value_); }
  Integer(const Integer&) = delete;
  Integer& operator=(const Integer&) = delete;
  fmpz* get() { return value_; }
  const fmpz* get() const { return value_; }

 private:
  fmpz_t value_;
};

class Rational {
 public:
  Rational() { fmpq_init(value_); }
  explicit Rational(slong integer) : Rational() { fmpq_set_si(value_, integer, 1); }
  ~Rational() { fmpq_clear(value_); }
  Rational(const Rational& other) : Rational() { fmpq_set(value_, other.value_); }
  Rational(Rational&& other) noexcept : Rational() { fmpq_swap(value_, other.value_); }
  Rational& operator=(Rational other) noexcept {
    fmpq_swap(value_, other.value_);
    return *this;
  }
  fmpq* get() { return value_; }
  const fmpq* get() const { return value_; }
  const fmpz* numerator() const { return fmpq_numref(value_); }
  const fmpz* denominator() const { return fmpq_denref(value_); }
  bool IsInteger() const { return fmpz_is_one(denominator()) != 0; }
  bool IsZero() const { return fmpq_is_zero(value_) != 0; }
  int sign() const { return fmpq_sgn(value_); }
  // Of numerator and denominator together.
  slong bits() const {
    return static_cast<slong>(fmpz_bits(numerator()) + fmpz_bits(denominator()));
  }
  bool operator==(const Rational& other) const { return fmpq_equal(value_, other.value_) != 0; }

 private:
  fmpq_t value_;
};

class Ball {
 public:
  Ball() { acb_init(value_); }
  ~Ball() { acb_clear(value_); }
  Ball(const Ball& other) : Ball() { acb_set(value_, other.value_); }
  Ball(Ball&& other) noexcept : Ball() { acb_swap(value_, other.value_); }
  Ball& operator=(Ball other) noexcept {
    acb_swap(value_, other.value_);
    return *this;
  }
  acb_ptr get() { return value_; }
  acb_srcptr get() const { return value_; }
  arb_ptr real() { return acb_realref(value_); }
  arb_ptr imaginary() { return acb_imagref(value_); }

 private:
  acb_t value_;
};

}  // namespace r1::rewards::math
