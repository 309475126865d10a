// The response grammar and the comparison of answers, against naive second versions; and every
// reward on any bytes. Input: a flag byte (bit 0: finished, bit 1: think_prefilled), the gold
// answer up to a NUL, the response.

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <regex>
#include <string>

#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace {

using r1::rewards::RewardInput;

// A regular language, so a regular expression. Its engine recurses, hence the limit.
constexpr size_t kNaiveBytesMax = 2000;

bool NaiveMatches(const std::string& response, bool finished, bool think_prefilled,
                  std::string& answer) {
  static const std::regex form(
      "<think>([^]*)</think>[ \\t\\n\\v\\f\\r]*<answer>([^]*)</answer>[ \\t\\n\\v\\f\\r]*");
  std::smatch parts;
  const std::string whole = (think_prefilled ? "<think>" : "") + response;
  if (!finished || !std::regex_match(whole, parts, form)) return false;
  for (const std::string& body : {parts[1].str(), parts[2].str()}) {
    for (const char* tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
      if (body.find(tag) != std::string::npos) return false;
    }
  }
  answer = parts[2].str();
  return true;
}

std::string NaiveTrimmed(std::string text) {
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && space(text.back())) text.pop_back();
  while (!text.empty() && space(text.front())) text.erase(0, 1);
  return text;
}

size_t NaiveCount(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
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

  if (response.size() > kNaiveBytesMax) return 0;
  std::string answer;
  const bool matches = NaiveMatches(response, input.finished, input.think_prefilled, answer);
  const auto parsed = r1::rewards::ParseResponse(response, input.finished, input.think_prefilled);
  R1_CHECK(parsed.matches == matches);
  R1_CHECK(!matches || std::string(parsed.answer) == answer);

  const auto counts = r1::rewards::CountTags(response);
  const char* const tags[] = {"<think>", "</think>", "<answer>", "</answer>"};
  for (size_t i = 0; i < counts.size(); ++i) R1_CHECK(counts[i] == NaiveCount(response, tags[i]));

  const auto score = (*r1::rewards::MakeReward("exact_match"))->ScoreSample(input);
  R1_CHECK(score.masked == NaiveTrimmed(gold).empty());
  const bool equal = matches && !score.masked && NaiveNormalized(answer) == NaiveNormalized(gold);
  R1_CHECK(score.value == (equal ? 1.0 : 0.0));

  input.n_tokens = static_cast<int64_t>(size);
  for (const std::string& name : r1::rewards::RewardRegistry::Names()) {
    const auto reward = *r1::rewards::MakeReward(name);
    const auto any = reward->ScoreSample(input);
    R1_CHECK(any.value >= reward->range().min);
    R1_CHECK(any.value <= reward->range().max);
    R1_CHECK(!any.reason.empty());
  }
  return 0;
}
