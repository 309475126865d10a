// The rewards that look at form, length, repetition and language, against cases computed by hand
// and plain second versions.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rewards/reward.h"
#include "rewards/text/letters.h"
#include "rewards/text/prose.h"

namespace r1::rewards {
namespace {

std::unique_ptr<Reward> Make(const v1::RewardConfig& config) { return *MakeReward(config); }

double ValueOf(const Reward& reward, const std::string& response, bool think_prefilled = false) {
  RewardInput input;
  input.response = response;
  input.think_prefilled = think_prefilled;
  return reward.ScoreSample(input).value;
}

TEST(TagCountTest, CountsTagsWithTheirLineBreaks) {
  const auto reward = *MakeReward("tag_count");
  EXPECT_EQ(ValueOf(*reward, "<think>\na\n</think>\n<answer>\nb\n</answer>"), 1);
  EXPECT_EQ(ValueOf(*reward, "<think>\na\n</think>\n\n<answer>\nb\n</answer>"), 1);
  // "\n</think>\n<answer>\n" shares its line break, as str.count finds both.
  EXPECT_EQ(ValueOf(*reward, "<think>a</think><answer>b</answer>"), 0);
  EXPECT_EQ(ValueOf(*reward, "<think>\na\n</think>\n<answer>b</answer>"), 0.5);
  EXPECT_EQ(ValueOf(*reward, "<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>"), 0.75);
  EXPECT_EQ(ValueOf(*reward, ""), 0);
  EXPECT_EQ(ValueOf(*reward, "a\n</think>\n<answer>\nb\n</answer>", true), 1);
  EXPECT_EQ(ValueOf(*reward, "<think>\na\n</think>\n<answer>\nb\n</answer>", true), 0.75);
}

TEST(ReadableTest, CodeAndLongParagraphsInTheThinkingAreNot) {
  v1::RewardConfig config;
  config.set_name("readable");
  config.mutable_readable()->set_paragraph_words_max(4);
  const auto reward = *MakeReward(config);
  const auto reason = [&](const std::string& response) {
    RewardInput input;
    input.response = response;
    const Score score = reward->ScoreSample(input);
    EXPECT_EQ(score.value, score.reason == "readable" ? 1 : 0);
    return score.reason;
  };
  EXPECT_EQ(reason("<think>one two three four\n\nfive six</think>x"), "readable");
  EXPECT_EQ(reason("<think>one two\nthree four five</think>x"), "long_paragraph");
  EXPECT_EQ(reason("<think>one two three four five"), "long_paragraph");
  EXPECT_EQ(reason("<think>a\n  ```cpp\nint x;\n```\n</think>x"), "code_block");
  EXPECT_EQ(reason("<think>a\n~~~\n</think>x"), "code_block");
  // The answer may be as it likes, and `code` within a line is fine.
  EXPECT_EQ(reason("<think>use `f`</think>```\n1 2 3 4 5 6\n```"), "readable");
  EXPECT_EQ(reason("a<answer>1 2 3 4 5 6</answer>"), "readable");
  EXPECT_EQ(reason(""), "readable");
}

TEST(NumeralConsistencyTest, IsTheShareOfNumeralsInTheScript) {
  v1::RewardConfig config;
  config.set_name("numeral_consistency");
  const auto digits = *MakeReward(config);
  config.mutable_numeral_consistency()->set_script("letters");
  const auto letters = *MakeReward(config);
  const auto score = [](const Reward& reward, const std::string& response,
                        bool prefilled = false) {
    RewardInput input;
    input.response = response;
    input.think_prefilled = prefilled;
    const Score score = reward.ScoreSample(input);
    return absl::StrCat(score.value, " ", score.reason);
  };
  EXPECT_EQ(score(*digits, "<think>7+5=12\n12-3=9</think><answer>bc</answer>"), "1 consistent");
  EXPECT_EQ(score(*letters, "<think>7+5=12</think><answer>bc</answer>"), "0 other_script");
  EXPECT_EQ(score(*digits, "<think>7+f=12\nbc-3=9</think>"), absl::StrCat(4 / 6.0, " mixed"));
  EXPECT_EQ(score(*letters, "<think>7+f=12\nbc-3=9</think>"), absl::StrCat(2 / 6.0, " mixed"));
  // One that changes its script within itself is in neither.
  EXPECT_EQ(score(*digits, "<think>1c</think>"), "0 other_script");
  EXPECT_EQ(score(*letters, "<think>1c</think>"), "0 other_script");
  EXPECT_EQ(score(*digits, "<think></think><answer>12</answer>"), "0 no_numerals");
  EXPECT_EQ(score(*digits, "7</think><answer>12</answer>", true), "1 consistent");
  EXPECT_EQ(score(*digits, ""), "0 no_numerals");
}

v1::RewardConfig Repetition(int ngram_size, double max_penalty) {
  v1::RewardConfig config;
  config.set_name("repetition");
  config.mutable_repetition()->set_ngram_size(ngram_size);
  config.mutable_repetition()->set_max_penalty(max_penalty);
  return config;
}

TEST(RepetitionTest, IsOpenR1sFormula) {
  const auto reward = Make(Repetition(2, -1));
  EXPECT_EQ(ValueOf(*reward, ""), 0);
  EXPECT_EQ(ValueOf(*reward, "one"), 0);
  EXPECT_EQ(ValueOf(*reward, "this is fine"), 0);
  // a-b b-a a-b: 2 of 3 are distinct.
  EXPECT_DOUBLE_EQ(ValueOf(*reward, "a b a b"), -(1 - 2.0 / 3));
  EXPECT_DOUBLE_EQ(ValueOf(*reward, "A  b\na\tB"), -(1 - 2.0 / 3));
  EXPECT_DOUBLE_EQ(ValueOf(*reward, "É x é\u2003X é"), -(1 - 2.0 / 4));
  EXPECT_DOUBLE_EQ(ValueOf(*Make(Repetition(1, -2)), "a a a a"), -2 * (1 - 1.0 / 4));
  // The default is three words and -1.
  EXPECT_DOUBLE_EQ(ValueOf(**MakeReward("repetition"), "a a a a a"), -(1 - 1.0 / 3));
}

// With the n-grams as text.
double NaiveRepetition(const std::string& text, size_t ngram_size, double max_penalty) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.size() < ngram_size) return 0;
  std::set<std::string> distinct;
  for (size_t i = 0; i + ngram_size <= words.size(); ++i) {
    std::string gram;
    for (size_t k = 0; k < ngram_size; ++k) gram += words[i + k] + " ";
    distinct.insert(gram);
  }
  const auto total = static_cast<double>(words.size() - ngram_size + 1);
  return (1 - static_cast<double>(distinct.size()) / total) * max_penalty;
}

TEST(RepetitionTest, AgreesWithThePlainVersionOnRandomTexts) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    const auto words = random() % 60;
    for (size_t w = 0; w < words; ++w) {
      text += static_cast<char>('a' + random() % 3);
      if (random() % 4 == 0) text += 'x';
      text += random() % 5 == 0 ? "\n " : " ";
    }
    const int ngram_size = 1 + static_cast<int>(random() % 5);
    EXPECT_DOUBLE_EQ(ValueOf(*Make(Repetition(ngram_size, -1.5)), text),
                     NaiveRepetition(text, static_cast<size_t>(ngram_size), -1.5))
        << text << " " << ngram_size;
  }
}

Score TokenScore(const v1::RewardConfig& config, int64_t n_tokens) {
  RewardInput input;
  input.n_tokens = n_tokens;
  return Make(config)->ScoreSample(input);
}

TEST(OverlongTest, FallsOverTheCacheAsInDapo) {
  v1::RewardConfig config;
  config.set_name("overlong");
  config.mutable_overlong()->set_max_completion_len(100);
  config.mutable_overlong()->set_soft_punish_cache(20);
  const std::pair<int64_t, double> kCases[] = {{0, 0},      {79, 0},    {80, 0},
                                               {81, -0.05}, {90, -0.5}, {99, -0.95},
                                               {100, -1},   {101, -1},  {1 << 20, -1}};
  for (const auto& [n_tokens, expected] : kCases) {
    EXPECT_DOUBLE_EQ(TokenScore(config, n_tokens).value, expected) << n_tokens;
  }
  EXPECT_FALSE(std::signbit(TokenScore(config, 80).value));
}

TEST(OverlongTest, ACacheThatIsLongerThanTheLimitIsRefused) {
  v1::RewardConfig config;
  config.set_name("overlong");
  config.mutable_overlong()->set_max_completion_len(100);
  config.mutable_overlong()->set_soft_punish_cache(101);
  EXPECT_EQ(MakeReward(config).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LengthTest, CountsTheDistanceFromTheTarget) {
  v1::RewardConfig config;
  config.set_name("length");
  config.mutable_length()->set_target_tokens(1000);
  config.mutable_length()->set_penalty_per_token(0.001);
  config.mutable_length()->set_kind("exact");
  EXPECT_EQ(TokenScore(config, 1000).value, 0);
  EXPECT_DOUBLE_EQ(TokenScore(config, 900).value, -0.1);
  EXPECT_DOUBLE_EQ(TokenScore(config, 1100).value, -0.1);
  EXPECT_EQ(TokenScore(config, 0).value, -1);
  EXPECT_EQ(TokenScore(config, 1 << 30).value, -1);
  config.mutable_length()->set_kind("max");
  EXPECT_EQ(TokenScore(config, 900).value, 0);
  EXPECT_DOUBLE_EQ(TokenScore(config, 1100).value, -0.1);
}

TEST(TokenRewardsTest, WithoutATokenCountTheSampleIsAnErrorAndNoScore) {
  for (const char* name : {"length", "overlong"}) {
    const Score score = (*MakeReward(name))->ScoreSample({});
    EXPECT_TRUE(score.masked);
    EXPECT_THAT(score.error, testing::HasSubstr("n_tokens")) << name;
  }
}

TEST(ProseTest, LeavesMathematicsAndCodeOut) {
  const std::pair<const char*, const char*> kCases[] = {
      {"so $x = the$ it", "so   it"},
      {"it costs $5\nor $6", "it costs $5\nor $6"},
      {"a \\(b\\) c \\[d\\] e", "a   c \n e"},
      {"a $$b\nc$$ d", "a \n d"},
      {"\\boxed{the word} and \\text{the word}", "  and  {the word}"},
      {"\\frac{a}{b}c", " c"},
      {"\\begin{align} x \\end{align} y", "\n y"},
      {"x `code` y\n```py\nfor a in b:\n```\nz", "x   y\n\n\nz"},
      {"x ```open until the end", "x \n"},
      {"see https://a.b/c?d now", "see   now"},
      {"a \\( b", "a \\( b"},
  };
  for (const auto& [text, prose] : kCases) EXPECT_EQ(ProseOf(text), prose) << text;
}

TEST(LettersTest, LowerCaseIsUnicodes) {
  EXPECT_EQ(LowerText("ABC ÄÖÜ ΣΩ ЖЮ ǅ Ａ"), "abc äöü σω жю ǆ ａ");
  EXPECT_EQ(LowerText("\xff"
                      "A"),
            "\uFFFDa");
}

Score LanguageScore(const std::string& thinking, const std::string& language) {
  RewardInput input;
  const std::string response = "<think>" + thinking + "</think><answer>1</answer>";
  input.response = response;
  input.language = language;
  return (*MakeReward("language_consistency"))->ScoreSample(input);
}

struct Passage {
  const char* language;
  const char* text;
};

// Our own sentences; each is of one language.
constexpr Passage kPassages[] = {
    {"en",
     "Let us first find how many apples she has left, then we multiply by the price of each."},
    {"de",
     "Zuerst berechnen wir die Anzahl der Äpfel, die übrig sind, und dann den Preis für alle."},
    {"es", "Primero calculamos cuántas manzanas le quedan y después multiplicamos por el precio."},
    {"fr", "Nous devons d'abord trouver le nombre de pommes qui restent, puis calculer leur prix."},
    {"it",
     "Prima dobbiamo trovare quante mele sono rimaste, poi calcoliamo il prezzo di ogni mela."},
    {"nl",
     "Eerst moeten we weten hoeveel appels er over zijn, daarna berekenen we de prijs van alle."},
    {"pt", "Primeiro precisamos saber quantas maçãs ainda tem, depois multiplicamos pelo preço."},
    {"ru", "Сначала найдём, сколько яблок осталось, а затем умножим это число на цену одного."},
    {"zh", "首先我们计算她还剩下多少个苹果，然后乘以每个苹果的价格。"},
    {"ja", "まず、りんごがいくつ残っているかを計算し、次に値段を掛けます。"},
    {"ko", "먼저 사과가 몇 개 남았는지 계산한 다음 가격을 곱하면 답을 얻을 수 있습니다."},
    {"el", "Πρώτα βρίσκουμε πόσα μήλα έμειναν και μετά πολλαπλασιάζουμε με την τιμή του καθενός."},
    {"ar", "أولا نحسب عدد التفاحات المتبقية ثم نضرب هذا العدد في سعر التفاحة الواحدة لنجد الجواب."},
    {"he", "קודם נמצא כמה תפוחים נשארו ואחר כך נכפול את המספר הזה במחיר של תפוח אחד."},
    {"hi", "पहले हम देखते हैं कि कितने सेब बचे हैं और फिर हम उसे एक सेब की कीमत से गुणा करते हैं।"},
    {"th", "ก่อนอื่นเราหาจำนวนแอปเปิลที่เหลืออยู่แล้วคูณด้วยราคา"},
};

TEST(LanguageConsistencyTest, ATextOfTheTargetLanguageScoresOneAndAnyOtherAlmostNothing) {
  for (const Passage& passage : kPassages) {
    for (const Passage& target : kPassages) {
      const double value = LanguageScore(passage.text, target.language).value;
      if (std::string(passage.language) == target.language) {
        EXPECT_EQ(value, 1) << passage.text;
      } else {
        EXPECT_LT(value, 0.2) << target.language << ": " << passage.text;
      }
    }
  }
}

TEST(LanguageConsistencyTest, AMixedTextHasTheShareOfItsWords) {
  // Eight English words, and eight Han letters.
  const Score mixed = LanguageScore("we have to find the price of apples 我们先算出总和数", "en");
  EXPECT_DOUBLE_EQ(mixed.value, 0.5);
  EXPECT_EQ(mixed.reason, "mixed");
  EXPECT_DOUBLE_EQ(
      LanguageScore("we have to find the price of apples 我们先算出总和数", "zh").value, 0.5);
  // Within one script: two whole sentences, 17 and 14 words.
  const double share =
      LanguageScore(std::string(kPassages[0].text) + " " + kPassages[3].text, "en").value;
  EXPECT_NEAR(share, 17.0 / 31, 0.05);
}

TEST(LanguageConsistencyTest, MathematicsCodeNumbersAndNamesAreNoWords) {
  EXPECT_EQ(
      LanguageScore("首先我们计算 $x + y$ 和 \\frac{a}{b}，`print(total)` 得到 x_1 = 42 km2 的值。",
                    "zh")
          .value,
      1);
}

TEST(LanguageConsistencyTest, FewWordsSayNothing) {
  for (const char* text :
       {"", "one two three four five six seven", "$a$ 1 2 3", "我们先算出总和"}) {
    const Score score = LanguageScore(text, "fr");
    EXPECT_EQ(score.value, 1) << text;
    EXPECT_EQ(score.reason, "few_words") << text;
  }
  EXPECT_EQ(LanguageScore("one two three four five six seven eight", "ru").value, 0);
}

TEST(LanguageConsistencyTest, TheThinkingIsWhatIsJudged) {
  const auto reward = *MakeReward("language_consistency");
  const std::string english = kPassages[0].text, french = kPassages[3].text;
  const auto value = [&](const std::string& response, bool think_prefilled = false) {
    return ValueOf(*reward, response, think_prefilled);
  };
  EXPECT_EQ(value("<think>" + english + "</think><answer>" + french + "</answer>"), 1);
  EXPECT_LT(value("<think>" + french + "</think><answer>" + english + "</answer>"), 0.2);
  EXPECT_EQ(value(english + "</think>" + french, true), 1);
  EXPECT_EQ(value(english), 1);
  EXPECT_LT(value(french), 0.2);
}

TEST(LanguageConsistencyTest, ALanguageThatIsNotKnownIsAnError) {
  const Score score = LanguageScore("a", "tlh");
  EXPECT_TRUE(score.masked);
  EXPECT_THAT(score.error, testing::HasSubstr("\"tlh\""));
}

std::string Choice(const std::string& prediction, const std::string& answer,
                   const std::string& response = "") {
  RewardInput input;
  input.prediction = prediction;
  input.response = response;
  input.answer = answer;
  const Score score = (*MakeReward("multiple_choice"))->ScoreSample(input);
  return score.masked ? "masked " + score.reason : score.value == 1 ? "1" : "0 " + score.reason;
}

TEST(MultipleChoiceTest, ReadsTheLetterInItsManySpellings) {
  for (const char* right : {"B",
                            "b",
                            "(B)",
                            " B. ",
                            "B)",
                            "**B**",
                            "\\text{B}",
                            "$B$",
                            "[B]",
                            "\\textbf{(B)}",
                            "option B",
                            "Option (B)",
                            "The answer is B",
                            "B) 42",
                            "(B) the dog",
                            "B: because",
                            "B, since it rains",
                            "\\boxed{B}",
                            "choice B.",
                            "B or B"}) {
    EXPECT_EQ(Choice(right, "B"), "1") << right;
    EXPECT_EQ(Choice(right, "C"), "0 mismatch") << right;
    EXPECT_EQ(Choice("B", right), "1") << right;
  }
}

TEST(MultipleChoiceTest, WhatIsNoSingleLetterChoosesNothing) {
  for (const char* none : {"Because", "42", "Be", "B2", "a dog", "é", "Bé", "(", "\\text{Bob}"}) {
    EXPECT_EQ(Choice(none, "B"), "0 no_choice") << none;
  }
  for (const char* several : {"A or B", "A, B", "A/B", "(A) and (B)", "B, (A)"}) {
    EXPECT_EQ(Choice(several, "B"), "0 several_choices") << several;
  }
}

TEST(MultipleChoiceTest, FindsTheAnswerInAWholeOutput) {
  EXPECT_EQ(Choice("", "C", "<think>A? B?</think>The answer is (C)."), "1");
  EXPECT_EQ(Choice("", "C", "Reasoning.\n\nAnswer: C"), "1");
  EXPECT_EQ(Choice("", "C", "so \\boxed{\\text{C}}"), "1");
  EXPECT_EQ(Choice("", "C", "<think>C</think><answer>C</answer>"), "1");
  EXPECT_EQ(Choice("", "C", "C"), "1");
  EXPECT_EQ(Choice("", "C", "<think>the answer is C"), "0 unclosed_think");
  EXPECT_EQ(Choice("", "C", "Answer: A\nAnswer: C"), "1");
  EXPECT_EQ(Choice("", "C", ""), "0 no_choice");
}

TEST(MultipleChoiceTest, AGoldThatIsNoChoiceMasks) {
  EXPECT_EQ(Choice("B", ""), "masked no_gold_answer");
  EXPECT_EQ(Choice("B", "42"), "masked gold_is_no_choice");
  v1::RewardConfig config;
  config.set_name("multiple_choice");
  config.mutable_multiple_choice()->set_choices(4);
  RewardInput input;
  input.prediction = "E";
  input.answer = "D";
  EXPECT_EQ(Make(config)->ScoreSample(input).reason, "no_such_choice");
}

}  // namespace
}  // namespace r1::rewards
