#include "learner/message_validation.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/string_view.h"
#include "common/hash.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

constexpr int kSamplesMax = 4096;  // of a group; config.proto bounds samples_per_prompt by it
constexpr int kRewardPartsMax = 64;
constexpr int kNameBytesMax = 256;
constexpr int kReasonBytesMax = 4096;
// A logprob is the log of a probability; rounding may carry it this far above 0.
constexpr float kLogprobMax = 1e-4f;

template <typename... Args>
absl::Status Invalid(const std::string& path, const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", args...));
}

absl::Status CheckPurpose(v1::Purpose purpose, const std::string& path) {
  if (purpose == v1::PURPOSE_TRAIN || purpose == v1::PURPOSE_EVAL) return absl::OkStatus();
  return Invalid(path, "expected TRAIN or EVAL, found ", purpose);
}

// Spans must cover the tokens without gap; sets the number of sampled tokens.
absl::Status CheckSpans(const v1::Sample& sample, const std::string& path, int& sampled) {
  uint32_t next = 0;
  sampled = 0;
  const uint32_t tokens = sample.token_ids_size();
  for (int i = 0; i < sample.spans_size(); ++i) {
    const v1::Span& span = sample.spans(i);
    const std::string at = absl::StrCat(path, ".spans[", i, "]");
    if (span.source() != v1::Span::SOURCE_SAMPLED && span.source() != v1::Span::SOURCE_GIVEN) {
      return Invalid(at + ".source", "expected SAMPLED or GIVEN, found ", span.source());
    }
    if (span.start() != next) {
      return Invalid(at + ".start", "expected ", next, ", found ", span.start());
    }
    if (span.count() == 0 || span.count() > tokens - next) {
      return Invalid(at + ".count", "expected 1 to ", tokens - next, ", found ", span.count());
    }
    next += span.count();
    if (span.source() == v1::Span::SOURCE_SAMPLED) sampled += static_cast<int>(span.count());
  }
  if (next != tokens) return Invalid(path + ".spans", "cover ", next, " of ", tokens, " tokens");
  return absl::OkStatus();
}

absl::Status CheckSubScores(const v1::RewardPart& part, const std::string& path) {
  if (part.sub_scores_size() > kRewardPartsMax) {
    return Invalid(path + ".sub_scores", "expected at most ", kRewardPartsMax, ", found ",
                   part.sub_scores_size());
  }
  for (int i = 0; i < part.sub_scores_size(); ++i) {
    const v1::RewardSubScore& score = part.sub_scores(i);
    const std::string at = absl::StrCat(path, ".sub_scores[", i, "]");
    if (!std::isfinite(score.value())) return Invalid(at + ".value", "is not finite");
    R1_RETURN_IF_ERROR(CheckText(score.name(), kNameBytesMax, at + ".name"));
  }
  return absl::OkStatus();
}

absl::Status CheckParts(const v1::Sample& sample, const std::string& path) {
  if (!std::isfinite(sample.reward())) return Invalid(path + ".reward", "is not finite");
  if (sample.parts_size() > kRewardPartsMax) {
    return Invalid(path + ".parts", "expected at most ", kRewardPartsMax, ", found ",
                   sample.parts_size());
  }
  for (int i = 0; i < sample.parts_size(); ++i) {
    const v1::RewardPart& part = sample.parts(i);
    const std::string at = absl::StrCat(path, ".parts[", i, "]");
    if (part.name().empty()) return Invalid(at + ".name", "is empty");
    if (!std::isfinite(part.value())) return Invalid(at + ".value", "is not finite");
    R1_RETURN_IF_ERROR(CheckText(part.name(), kNameBytesMax, at + ".name"));
    R1_RETURN_IF_ERROR(CheckText(part.reason(), kReasonBytesMax, at + ".reason"));
    R1_RETURN_IF_ERROR(CheckText(part.error(), kControlBytesMax, at + ".error"));
    R1_RETURN_IF_ERROR(CheckSubScores(part, at));
  }
  return absl::OkStatus();
}

absl::Status CheckSample(const v1::Sample& sample, const std::string& path) {
  if (sample.token_ids().empty()) return Invalid(path + ".token_ids", "is empty");
  for (int i = 0; i < sample.token_ids_size(); ++i) {
    if (sample.token_ids(i) < 0) {
      return Invalid(absl::StrCat(path, ".token_ids[", i, "]"), sample.token_ids(i),
                     " is negative");
    }
  }
  int sampled = 0;
  R1_RETURN_IF_ERROR(CheckSpans(sample, path, sampled));
  if (sample.logprobs_size() != sampled) {
    return Invalid(path + ".logprobs", "expected ", sampled, ", one a sampled token, found ",
                   sample.logprobs_size());
  }
  for (int i = 0; i < sampled; ++i) {
    const float logprob = sample.logprobs(i);
    if (!std::isfinite(logprob) || logprob > kLogprobMax) {
      return Invalid(absl::StrCat(path, ".logprobs[", i, "]"), logprob,
                     " is not the log of a probability");
    }
  }
  if (sample.finish_reason() != v1::FINISH_REASON_STOP &&
      sample.finish_reason() != v1::FINISH_REASON_LENGTH) {
    return Invalid(path + ".finish_reason", "expected STOP or LENGTH, found ",
                   sample.finish_reason());
  }
  R1_RETURN_IF_ERROR(CheckParts(sample, path));
  return CheckText(sample.text(), kDataBytesMax, path + ".text");
}

}  // namespace

absl::Status CheckSameLearner(const v1::RunIdentity& here, const v1::RunIdentity& meant) {
  if (here.run_id() == meant.run_id() && here.incarnation() == meant.incarnation()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("this learner is run ", here.run_id(), " incarnation ", here.incarnation(),
                   "; the call means run ", Quoted(meant.run_id()), " incarnation ",
                   meant.incarnation(), ": join again"));
}

absl::Status CheckText(absl::string_view text, size_t bytes_max, absl::string_view path) {
  if (text.size() > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected at most ", bytes_max, " bytes, found ", text.size()));
  }
  const size_t valid = ValidUtf8Prefix(text);
  if (valid == text.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": invalid UTF-8 at byte ", valid));
}

absl::Status ValidateGroup(const v1::Group& group) {
  R1_RETURN_IF_ERROR(CheckPurpose(group.purpose(), "group.purpose"));
  if (group.samples().empty() || group.samples_size() > kSamplesMax) {
    return Invalid("group.samples", "expected 1 to ", kSamplesMax, ", found ",
                   group.samples_size());
  }
  for (int i = 0; i < group.samples_size(); ++i) {
    const std::string path = absl::StrCat("group.samples[", i, "]");
    if (i > 0 && group.samples(i).sample_index() <= group.samples(i - 1).sample_index()) {
      return Invalid(path + ".sample_index", group.samples(i).sample_index(), " does not ascend");
    }
    R1_RETURN_IF_ERROR(CheckSample(group.samples(i), path));
  }
  const auto is_duration = [](double seconds) { return std::isfinite(seconds) && seconds >= 0; };
  if (!is_duration(group.timings().generate_seconds())) {
    return Invalid("group.timings.generate_seconds", "is not a duration");
  }
  if (!is_duration(group.timings().score_seconds())) {
    return Invalid("group.timings.score_seconds", "is not a duration");
  }
  return absl::OkStatus();
}

v1::ReportGroupRequest Summarize(const v1::Group& group, uint32_t rank) {
  v1::ReportGroupRequest report;
  *report.mutable_run() = group.run();
  report.set_rank(rank);
  report.set_stage_index(group.stage_index());
  report.set_purpose(group.purpose());
  report.set_group_id(group.group_id());
  report.set_attempt(group.attempt());
  report.set_policy_version(group.policy_version());
  report.set_worker_id(group.worker_id());
  uint64_t version_min = UINT64_MAX;
  uint64_t version_max = 0;
  for (const v1::Sample& sample : group.samples()) {
    report.add_sample_indices(sample.sample_index());
    // The message has no map fields: equal samples have equal bytes.
    report.add_sample_digests(Xxh3(sample.SerializeAsString()));
    report.set_response_tokens(
        std::max<uint32_t>(report.response_tokens(), sample.token_ids_size()));
    report.set_token_id_max(
        std::max(report.token_id_max(),
                 *std::max_element(sample.token_ids().begin(), sample.token_ids().end())));
    for (const v1::RewardPart& part : sample.parts()) {
      if (part.stops_run()) report.set_stop_reason(part.error());
    }
    for (const v1::Span& span : sample.spans()) {
      if (span.source() != v1::Span::SOURCE_SAMPLED) continue;
      version_min = std::min(version_min, span.policy_version());
      version_max = std::max(version_max, span.policy_version());
    }
  }
  // No sampled token at all: nothing that a version could have made.
  report.set_span_version_min(version_min == UINT64_MAX ? group.policy_version() : version_min);
  report.set_span_version_max(version_min == UINT64_MAX ? group.policy_version() : version_max);
  return report;
}

absl::Status ValidateReport(const v1::ReportGroupRequest& report) {
  R1_RETURN_IF_ERROR(CheckPurpose(report.purpose(), "report.purpose"));
  if (report.sample_indices().empty() || report.sample_indices_size() > kSamplesMax) {
    return Invalid("report.sample_indices", "expected 1 to ", kSamplesMax, ", found ",
                   report.sample_indices_size());
  }
  if (report.sample_digests_size() != report.sample_indices_size()) {
    return Invalid("report.sample_digests", "expected ", report.sample_indices_size(), ", found ",
                   report.sample_digests_size());
  }
  R1_RETURN_IF_ERROR(CheckText(report.stop_reason(), kControlBytesMax, "report.stop_reason"));
  for (int i = 1; i < report.sample_indices_size(); ++i) {
    if (report.sample_indices(i) <= report.sample_indices(i - 1)) {
      return Invalid(absl::StrCat("report.sample_indices[", i, "]"), report.sample_indices(i),
                     " does not ascend");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const v1::ReportGroupRequest& report, const LeaseLimits& limits) {
  if (report.token_id_max() < 0 ||
      static_cast<uint32_t>(report.token_id_max()) >= limits.vocab_size) {
    return Invalid("group.samples.token_ids", "id ", report.token_id_max(),
                   " is outside the vocabulary of ", limits.vocab_size);
  }
  if (report.response_tokens() > limits.response_tokens_max) {
    return Invalid("group.samples.token_ids", report.response_tokens(),
                   " tokens exceed the lease's response_tokens_max ", limits.response_tokens_max);
  }
  const uint64_t version_max = limits.strict ? limits.policy_version : limits.newest_version;
  if (report.span_version_min() < limits.policy_version ||
      report.span_version_max() > version_max) {
    return Invalid("group.samples.spans.policy_version", "found ", report.span_version_min(),
                   " to ", report.span_version_max(), ", allowed ", limits.policy_version, " to ",
                   version_max);
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
