#include "learner/status/sample_ring.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

constexpr int kGroupsDefault = 16;

std::string Readable(const std::string& text) {
  if (text.size() <= SampleRing::kTextBytesMax) return ReplaceInvalidUtf8(text);
  const absl::string_view kept = absl::string_view(text).substr(0, SampleRing::kTextBytesMax);
  return absl::StrCat(ReplaceInvalidUtf8(kept), "… [", text.size() - kept.size(), " bytes more]");
}

void MakeReadable(v1::SampleRecord& record) {
  record.set_stage(Readable(record.stage()));
  record.set_purpose(Readable(record.purpose()));
  record.set_prompt(Readable(record.prompt()));
  record.set_answer(Readable(record.answer()));
  record.set_text(Readable(record.text()));
  for (v1::RewardPart& part : *record.mutable_parts()) {
    part.set_name(Readable(part.name()));
    part.set_reason(Readable(part.reason()));
  }
}

bool SameStep(const v1::SampleRecord& a, const v1::SampleRecord& b) {
  return a.step() == b.step() && a.stage() == b.stage() && a.purpose() == b.purpose();
}

bool SameGroup(const v1::SampleRecord& a, const v1::SampleRecord& b) {
  return a.group_id() == b.group_id() && SameStep(a, b);
}

bool Matches(const v1::SampleRecord& sample, const v1::SamplesRequest& request) {
  return (request.step() < 0 || sample.step() == request.step()) &&
         (request.stage().empty() || sample.stage() == request.stage()) &&
         (request.purpose().empty() || sample.purpose() == request.purpose());
}

}  // namespace

void SampleRing::Add(std::vector<v1::SampleRecord> records) {
  total_ += static_cast<int64_t>(records.size());
  for (v1::SampleRecord& record : records) {
    MakeReadable(record);
    if (groups_.empty() || !SameGroup(groups_.back().samples.front(), record)) {
      groups_.emplace_back();
    }
    const size_t bytes = record.SpaceUsedLong();
    groups_.back().bytes += bytes;
    bytes_ += bytes;
    groups_.back().samples.push_back(std::move(record));
  }
  while (bytes_ > bytes_max_ && groups_.size() > 1) {
    bytes_ -= groups_.front().bytes;
    groups_.pop_front();
  }
}

absl::StatusOr<v1::SamplesReply> SampleRing::Read(const v1::SamplesRequest& request) const {
  if (request.step() < -1) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: step must be -1 (the newest) or a step, found ", request.step()));
  }
  if (request.groups_max() < 0 || request.groups_max() > kGroupsMax) {
    return absl::InvalidArgumentError(absl::StrCat("samples: groups_max must be from 0 to ",
                                                   kGroupsMax, ", found ", request.groups_max()));
  }
  if (!request.purpose().empty() && request.purpose() != "train" && request.purpose() != "eval") {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: purpose must be train or eval, found \"", request.purpose(), "\""));
  }
  v1::SamplesReply reply;
  int groups_left = request.groups_max() == 0 ? kGroupsDefault : request.groups_max();
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    const v1::SampleRecord& first = group->samples.front();
    // Newest first, and a step's groups of one purpose mostly stand together.
    const auto known =
        std::find_if(reply.mutable_available()->begin(), reply.mutable_available()->end(),
                     [&](const v1::SampleStep& step) {
                       return step.step() == first.step() && step.stage() == first.stage() &&
                              step.purpose() == first.purpose();
                     });
    v1::SampleStep& step =
        known == reply.mutable_available()->end() ? *reply.add_available() : *known;
    step.set_stage(first.stage());
    step.set_step(first.step());
    step.set_purpose(first.purpose());
    step.set_groups(step.groups() + 1);
    if (groups_left == 0 || !Matches(first, request)) continue;
    --groups_left;
    for (const v1::SampleRecord& sample : group->samples) *reply.add_samples() = sample;
  }
  return reply;
}

}  // namespace r1::learner
