// The response grammar and the comparison of answers, against naive second versions; and every
// reward on any bytes. Input: a flag byte (bit 0: finished, bit 1: think_prefilled), the gold
// answer up to a NUL, the response.

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>

#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace {

using r1::rewards::RewardInput;

// By cutting the response at the first middle tags and putting it together again.
bool NaiveMatches(const std::string& response, bool finished, bool think_prefilled,
                  std::string& answer) {
  const std::string open = think_prefilled ? "" : "<think>", middle = "</think><answer>";
  const size_t at = response.find(middle);
  if (!finished || at == std::string::npos || at < open.size()) return false;
  const std::string think = response.substr(open.size(), at - open.size());
  answer = response.substr(at + middle.size());
  answer = answer.substr(0, answer.find('<'));
  return think.find('<') == std::string::npos &&
         response == open + think + middle + answer + "</answer>";
}

std::string NaiveTrimmed(std::string text) {
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && space(text.back())) text.pop_back();
  while (!text.empty() && space(text.front())) text.erase(0, 1);
  return text;
}

// Takes the commas of the integer part out, puts one back before every third digit from the right,
// and believes in them when that gives the same text.
std::string NaiveNormalized(const std::string& raw) {
  const std::string text = NaiveTrimmed(raw);
  const std::string sign =
      !text.empty() && (text[0] == '+' || text[0] == '-') ? text.substr(0, 1) : "";
  const size_t point = text.find('.');
  const std::string fraction = point == std::string::npos ? "" : text.substr(point);
  std::string digits;
  for (const char c : text.substr(sign.size(), text.size() - sign.size() - fraction.size())) {
    if (c != ',') digits += c;
  }
  const auto is_number = [](const std::string& s) {
    for (const char c : s) {
      if (c < '0' || c > '9') return false;
    }
    return !s.empty();
  };
  if (!is_number(digits) || (!fraction.empty() && !is_number(fraction.substr(1)))) return text;
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return sign + grouped + fraction == text ? sign + digits + fraction : text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t border = rest.find('\0');
  const std::string gold = border == std::string::npos ? "" : rest.substr(0, border);
  const std::string response = border == std::string::npos ? rest : rest.substr(border + 1);
  RewardInput input;
  input.response = response;
  input.answer = gold;
  input.finished = (data[0] & 1) != 0;
  input.think_prefilled = (data[0] & 2) != 0;

  std::string answer;
  const bool matches = NaiveMatches(response, input.finished, input.think_prefilled, answer);
  const auto parsed = r1::rewards::ParseResponse(response, input.finished, input.think_prefilled);
  R1_CHECK(parsed.matches == matches);
  R1_CHECK(!matches || std::string(parsed.answer) == answer);

  const auto score = (*r1::rewards::MakeReward("exact_match"))->ScoreSample(input);
  R1_CHECK(score.masked == NaiveTrimmed(gold).empty());
  const bool equal = matches && !score.masked && NaiveNormalized(answer) == NaiveNormalized(gold);
  R1_CHECK(score.value == (equal ? 1.0 : 0.0));

  for (const std::string& name : r1::rewards::RewardRegistry::Names()) {
    const auto any = (*r1::rewards::MakeReward(name))->ScoreSample(input);
    R1_CHECK(any.value >= 0);
    R1_CHECK(any.value <= 1);
    R1_CHECK(!any.reason.empty());
  }
  return 0;
}
