// `repetition`: a penalty for n-grams of words that come again,
//
//   (1 - distinct n-grams / n-grams) * repetition.max_penalty
//
// and 0 for a response of fewer than repetition.ngram_size words: open-r1's
// get_repetition_penalty_reward (src/open_r1/rewards.py) for language "en", after appendix C.2 of
// "Demystifying Long Chain-of-Thought Reasoning in LLMs" (2502.03373). Words are what Python's
// text.lower().split() gives (text/letters.h names what differs). Text without spaces, such as
// Chinese, is few words and hardly punished; open-r1 cuts it with a dictionary, which we do not
// have.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/utf8.h"
#include "rewards/reward.h"
#include "rewards/text/letters.h"

namespace r1::rewards {
namespace {

// The words as numbers; equal words have equal numbers, from 0 in the order of their appearance.
std::vector<uint32_t> NumberWords(const std::string& lower) {
  std::vector<uint32_t> words;
  absl::flat_hash_map<absl::string_view, uint32_t> numbers;
  absl::string_view rest = lower;
  while (!rest.empty()) {
    const absl::string_view from_word = rest;
    size_t length = 0;
    while (!rest.empty() && !IsSpace(TakeCodePoint(rest))) length = from_word.size() - rest.size();
    if (length == 0) continue;
    const auto next = static_cast<uint32_t>(numbers.size());
    words.push_back(numbers.emplace(from_word.substr(0, length), next).first->second);
  }
  return words;
}

// Distinct n-grams. The k-grams are numbered from the (k-1)-grams and the words that follow them,
// so that the work is n times the words, without comparing long runs.
size_t DistinctGrams(const std::vector<uint32_t>& words, size_t ngram_size) {
  std::vector<uint32_t> grams = words;
  absl::flat_hash_map<uint64_t, uint32_t> numbers;
  for (size_t k = 1; k <= ngram_size; ++k) {
    numbers.clear();
    for (size_t i = 0; i + k <= words.size(); ++i) {
      const uint64_t shorter = k == 1 ? 0 : grams[i];
      const uint64_t pair = shorter << 32 | words[i + k - 1];
      grams[i] = numbers.emplace(pair, static_cast<uint32_t>(numbers.size())).first->second;
    }
  }
  return numbers.size();
}

class RepetitionReward : public Reward {
 public:
  explicit RepetitionReward(const v1::RewardConfig& config)
      : ngram_size_(static_cast<size_t>(config.repetition().ngram_size())),
        max_penalty_(config.repetition().max_penalty()) {}

  Range range() const override { return {max_penalty_, 0}; }

  Score ScoreSample(const RewardInput& input) const override {
    const std::string lower = LowerText(input.response);
    const std::vector<uint32_t> words = NumberWords(lower);
    if (words.size() < ngram_size_) return {.reason = "few_words"};
    const auto total = static_cast<double>(words.size() - ngram_size_ + 1);
    const auto distinct = static_cast<double>(DistinctGrams(words, ngram_size_));
    if (distinct == total) return {.reason = "no_repetition"};
    return {.value = (1 - distinct / total) * max_penalty_, .reason = "repetition"};
  }

 private:
  const size_t ngram_size_;
  const double max_penalty_;
};

R1_REGISTER(RewardRegistry, "repetition", MakeWithSettings<RepetitionReward>);

}  // namespace
}  // namespace r1::rewards
