#include <gtest/gtest.h>

#include <string>

#include "rewards/math/extract.h"

namespace r1::rewards::math {
namespace {

std::string Extracted(const std::string& response, bool think_prefilled = false) {
  const Extraction extraction = ExtractAnswer(response, think_prefilled);
  return extraction.found ? extraction.text : std::string("none: ") + extraction.source;
}

TEST(MathExtractTest, LastBoxThatClosesWins) {
  EXPECT_EQ(Extracted("\\boxed{3}, no wait, \\boxed{4}"), "4");
  EXPECT_EQ(Extracted("\\boxed{\\frac{1}{2}} then \\boxed{5"), "\\frac{1}{2}");
  EXPECT_EQ(Extracted("\\fbox{5}"), "5");
  EXPECT_EQ(Extracted("$\\boxed 5$."), "5");
  EXPECT_EQ(Extracted("So \\boxed5. Done"), "5");
  EXPECT_EQ(Extracted("$\\boxed{\\{1,2\\}}$"), "\\{1,2\\}");
  EXPECT_EQ(Extracted("\\boxed{\\boxed{7}}"), "\\boxed{7}");
  EXPECT_EQ(Extracted("} \\boxed{7} {"), "7");
  EXPECT_EQ(Extracted("\\boxed{} and x = 3"), "3");
}

TEST(MathExtractTest, BoxesSideBySideAreOneList) {
  EXPECT_EQ(Extracted("$\\boxed{2}$ and $\\boxed{3}$"), "2, 3");
  EXPECT_EQ(Extracted("\\boxed{2}, \\boxed{3}, or \\boxed{4}"), "2, 3, 4");
  EXPECT_EQ(Extracted("\\boxed{2} and \\boxed{2}"), "2");
  EXPECT_EQ(Extracted("\\boxed{2} \\boxed{3}"), "3");
}

TEST(MathExtractTest, ThinkingIsNoAnswer) {
  EXPECT_EQ(Extracted("<think>\\boxed{3}</think>The answer is 4."), "4");
  EXPECT_EQ(Extracted("<think>\\boxed{3}"), "none: unclosed_think");
  EXPECT_EQ(Extracted("\\boxed{3}", /*think_prefilled=*/true), "none: unclosed_think");
  EXPECT_EQ(Extracted("x</think>\\boxed{3}", /*think_prefilled=*/true), "3");
  EXPECT_EQ(Extracted("a</think>\\boxed{3}<think>b"), "none: unclosed_think");
  EXPECT_EQ(Extracted("<think>\\boxed{3}</think>"), "none: no_answer");
}

TEST(MathExtractTest, AnswerTagHoldsTheAnswer) {
  EXPECT_EQ(Extracted("<think>a</think><answer>\\boxed{4}</answer> or 5"), "4");
  EXPECT_EQ(Extracted("<answer>1</answer><answer>12</answer>"), "12");
  EXPECT_EQ(Extracted("<answer>12"), "12");
}

TEST(MathExtractTest, PhrasesAnnounceTheAnswer) {
  EXPECT_EQ(Extracted("Final Answer: The final answer is $6+9i$. I hope it is correct."), "6+9i");
  EXPECT_EQ(Extracted("The final answer is $\\frac{7}{2}$ or $4$."), "\\frac{7}{2}, 4");
  EXPECT_EQ(Extracted("The answer is 500."), "500");
  EXPECT_EQ(Extracted("The answer is $3."), "$3");
  EXPECT_EQ(Extracted("The answer is 4.5. Then more 7"), "4.5");
  EXPECT_EQ(Extracted("The correct answer is (E)."), "(E)");
  EXPECT_EQ(Extracted("The answer is that she has 12 apples left."), "12");
  EXPECT_EQ(Extracted("**Final Answer:**\n\n$x=5$\n"), "x=5");
  EXPECT_EQ(Extracted("**Answer**: \\(7\\)"), "7");
  EXPECT_EQ(Extracted("An answer was sought. It costs 3\n#### 1,234"), "1,234");
  EXPECT_EQ(Extracted("so\nAnswer: \\frac{1}{2}"), "\\frac{1}{2}");
}

TEST(MathExtractTest, ChinesePhrases) {
  EXPECT_EQ(Extracted("答案是 $5$。"), "5");
  EXPECT_EQ(Extracted("答案：5。谢谢"), "5");
  EXPECT_EQ(Extracted("故选：C。"), "C");
  EXPECT_EQ(Extracted("所以 $x=3$。"), "x=3");
}

TEST(MathExtractTest, LastSpanOrNumberIsLeft) {
  EXPECT_EQ(Extracted("We have $x=2$ and so $x^2=4$."), "x^2=4");
  EXPECT_EQ(Extracted("We have \\(x=2\\) and \\[y = 3\\]"), "y = 3");
  EXPECT_EQ(Extracted("I pay $5 and you pay $7 so it is 12 in all"), "12");
  EXPECT_EQ(Extracted("that makes 1,234.5 in all."), "1,234.5");
  EXPECT_EQ(Extracted("that makes -3."), "-3");
  EXPECT_EQ(Extracted("that makes 20%."), "20%");
  EXPECT_EQ(Extracted("```output\n16.0\n```\n16 people bet on horse #12."), "16.0");
  EXPECT_EQ(Extracted("no idea"), "none: no_answer");
  EXPECT_EQ(Extracted(""), "none: no_answer");
}

}  // namespace
}  // namespace r1::rewards::math
