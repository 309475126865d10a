#include "rewards/math/literal.h"

#include <string>

#include "absl/strings/numbers.h"

namespace r1::rewards::math {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void SetDigits(const std::string& digits, fmpz* value) {
  fmpz_set_str(value, digits.empty() ? "0" : digits.c_str(), 10);
}

}  // namespace

bool ParseDecimal(absl::string_view text, absl::string_view repeat, Rational& value) {
  const size_t mark = text.find_first_of("eE");
  int exponent = 0;
  if (mark != absl::string_view::npos) {
    const absl::string_view digits = text.substr(mark + 1);
    if (!absl::SimpleAtoi(digits, &exponent) || exponent < -999 || exponent > 999) {
      return false;
    }
    text = text.substr(0, mark);
  }
  std::string digits;
  slong decimals = 0;
  bool after_point = false;
  for (const char c : text) {
    if (c == '.') after_point = true;
    if (!IsDigit(c)) continue;
    digits += c;
    if (after_point) ++decimals;
  }
  if (digits.empty()) return false;
  SetDigits(digits, fmpq_numref(value.get()));
  fmpz_one(fmpq_denref(value.get()));
  if (!repeat.empty()) {
    // d.ddRRR… = (all digits with one period - digits before it) / (99…9 · 10^decimals)
    Integer once, nines;
    SetDigits(digits + std::string(repeat), once.get());
    fmpz_sub(fmpq_numref(value.get()), once.get(), fmpq_numref(value.get()));
    fmpz_ui_pow_ui(nines.get(), 10, repeat.size());
    fmpz_sub_ui(fmpq_denref(value.get()), nines.get(), 1);
  }
  Integer scale;
  const slong shift = decimals - exponent;
  fmpz_ui_pow_ui(scale.get(), 10, static_cast<ulong>(shift < 0 ? -shift : shift));
  fmpz* target = shift < 0 ? fmpq_numref(value.get()) : fmpq_denref(value.get());
  fmpz_mul(target, target, scale.get());
  fmpq_canonicalise(value.get());
  return true;
}

bool ParseBaseLiteral(absl::string_view digits, absl::string_view base, Rational& value) {
  int radix = 0;
  if (base.size() > 2 || !absl::SimpleAtoi(base, &radix) || radix < 2 || radix > 36) return false;
  fmpz* total = fmpq_numref(value.get());
  fmpz_zero(total);
  fmpz_one(fmpq_denref(value.get()));
  for (const char c : digits) {
    if (!IsDigit(c)) {
      if (c == '.') return false;
      continue;  // a separator
    }
    if (c - '0' >= radix) return false;
    fmpz_mul_ui(total, total, static_cast<ulong>(radix));
    fmpz_add_ui(total, total, static_cast<ulong>(c - '0'));
  }
  return true;
}

std::string DecimalDigits(const Rational& value) {
  std::string digits(fmpz_sizeinbase(value.numerator(), 10) + 2, '\0');
  fmpz_get_str(digits.data(), 10, value.numerator());
  digits.resize(digits.find('\0'));
  return digits;
}

}  // namespace r1::rewards::math
