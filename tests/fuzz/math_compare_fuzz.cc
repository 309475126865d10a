// The parser and the judgement of the reward `math` on any two answers: equality is reflexive and
// symmetric, and a verdict is the same again. Input: one answer, a NUL, the other.

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/status.h"
#include "rewards/math/compare.h"
#include "rewards/math/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace r1::rewards::math;  // NOLINT
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t border = text.find('\0');
  const std::string left = text.substr(0, border);
  const std::string right = border == std::string::npos ? "" : text.substr(border + 1);

  for (const std::string* answer : {&left, &right}) {
    Expression expression;
    const char* reason = "";
    const bool readable = ParseAnswer(*answer, expression, reason);
    const Comparison itself = CompareAnswers(*answer, *answer);
    R1_CHECK(itself.gold_is_readable == readable);
    R1_CHECK((itself.verdict == Verdict::kEqual) == readable);
    if (readable) R1_CHECK(expression.at(expression.root).height <= kDepthMax);
  }
  const Comparison one_way = CompareAnswers(left, right);
  const Comparison other_way = CompareAnswers(right, left);
  if (one_way.gold_is_readable && other_way.gold_is_readable) {
    R1_CHECK(one_way.verdict == other_way.verdict);
  } else {
    R1_CHECK(one_way.verdict != Verdict::kEqual);
    R1_CHECK(other_way.verdict != Verdict::kEqual);
  }
  R1_CHECK(CompareAnswers(left, right).verdict == one_way.verdict);
  return 0;
}
