#include "learner/sample_selection.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/hash.h"

namespace r1::learner {
namespace {

constexpr char kTotal[] = "total";

// Lower case, and one blank for each run of white space; ASCII only.
std::string Normalized(absl::string_view text) {
  std::string normalized = absl::AsciiStrToLower(text);
  for (char& c : normalized) {
    if (absl::ascii_isspace(static_cast<unsigned char>(c))) c = ' ';
  }
  absl::RemoveExtraAsciiWhitespace(&normalized);
  return normalized;
}

// A reward that does not judge the sample's row says nothing against it.
bool Obeys(const v1::KeepRuleConfig& rule, const v1::Sample& sample) {
  const auto within = [&](double value) { return value >= rule.min() && value <= rule.max(); };
  if (rule.name() == kTotal) return within(sample.reward());
  return std::all_of(sample.parts().begin(), sample.parts().end(), [&](const v1::RewardPart& part) {
    return part.name() != rule.name() || within(part.value());
  });
}

}  // namespace

std::string SampleSelector::FirstFault(const v1::Sample& sample) const {
  if (sample.masked()) return "masked";
  const bool truncated = sample.finish_reason() != v1::FINISH_REASON_STOP;
  if (truncated && !config_.keep_truncated()) return "truncated";
  const int tokens = sample.token_ids_size();
  if (tokens < config_.tokens_min() || sample.text().empty()) return "too_short";
  if (config_.tokens_max() > 0 && tokens > config_.tokens_max()) return "too_long";
  for (const v1::KeepRuleConfig& rule : config_.keep()) {
    if (!Obeys(rule, sample)) return rule.name();
  }
  return "";
}

bool SampleSelector::IsBetter(const v1::Sample& a, const v1::Sample& b) const {
  if (a.reward() != b.reward()) return a.reward() > b.reward();
  const bool by_length = config_.ties() == "shortest" && a.token_ids_size() != b.token_ids_size();
  if (by_length) return a.token_ids_size() < b.token_ids_size();
  return a.sample_index() < b.sample_index();
}

uint64_t SampleSelector::TextKey(absl::string_view prompt, absl::string_view response) const {
  const std::string text =
      config_.deduplicate() == "normalized" ? Normalized(response) : std::string(response);
  return Xxh3(absl::StrCat(prompt, absl::string_view("\0", 1), text));
}

std::vector<SampleVerdict> SampleSelector::Judge(absl::string_view prompt, const v1::Group& group) {
  std::vector<SampleVerdict> verdicts(static_cast<size_t>(group.samples_size()));
  std::vector<int> passed;
  std::set<uint64_t> fresh;
  for (int i = 0; i < group.samples_size(); ++i) {
    SampleVerdict& verdict = verdicts[static_cast<size_t>(i)];
    verdict.reason = FirstFault(group.samples(i));
    verdict.passed = verdict.reason.empty();
    if (!verdict.passed) continue;
    const uint64_t key = TextKey(prompt, group.samples(i).text());
    const bool is_new = !texts_.contains(key) && fresh.insert(key).second;
    if (is_new || config_.deduplicate() == "none") {
      passed.push_back(i);
    } else {
      verdict.reason = "duplicate";
    }
  }
  int& kept = kept_of_prompt_[Xxh3(prompt)];
  std::sort(passed.begin(), passed.end(),
            [&](int a, int b) { return IsBetter(group.samples(a), group.samples(b)); });
  for (const int i : passed) {
    if (config_.keep_per_prompt() > 0 && kept >= config_.keep_per_prompt()) {
      verdicts[static_cast<size_t>(i)].reason = "not_among_best";
      continue;
    }
    texts_.insert(TextKey(prompt, group.samples(i).text()));
    ++kept;
  }
  return verdicts;
}

void SampleSelector::Remember(absl::string_view prompt, absl::string_view response) {
  texts_.insert(TextKey(prompt, response));
  ++kept_of_prompt_[Xxh3(prompt)];
}

}  // namespace r1::learner
