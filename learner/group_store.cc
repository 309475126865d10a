#include "learner/group_store.h"

#include <algorithm>
#include <utility>

namespace r1::learner {
namespace {

bool ByIndex(const v1::Sample& a, const v1::Sample& b) {
  return a.sample_index() < b.sample_index();
}

bool Holds(const v1::Group& group, uint32_t sample_index) {
  return std::any_of(
      group.samples().begin(), group.samples().end(),
      [sample_index](const v1::Sample& sample) { return sample.sample_index() == sample_index; });
}

}  // namespace

GroupKey KeyOf(const v1::Group& group) {
  return {group.stage_index(), group.purpose(), group.group_id()};
}

void GroupStore::Keep(v1::Group group, const std::vector<uint32_t>& sample_indices) {
  if (sample_indices.empty()) return;
  const auto [found, inserted] = groups_.try_emplace(KeyOf(group));
  v1::Group& kept = found->second;
  google::protobuf::RepeatedPtrField<v1::Sample> samples;
  samples.Swap(group.mutable_samples());
  if (inserted) {
    kept = std::move(group);
  } else {
    // Parts of one group: the work of all of them.
    v1::SampleTimings& timings = *kept.mutable_timings();
    timings.set_generate_seconds(timings.generate_seconds() + group.timings().generate_seconds());
    timings.set_score_seconds(timings.score_seconds() + group.timings().score_seconds());
  }
  for (v1::Sample& sample : samples) {
    const bool wanted = std::find(sample_indices.begin(), sample_indices.end(),
                                  sample.sample_index()) != sample_indices.end();
    if (wanted && !Holds(kept, sample.sample_index())) {
      *kept.add_samples() = std::move(sample);
    }
  }
  std::sort(kept.mutable_samples()->begin(), kept.mutable_samples()->end(), ByIndex);
}

size_t GroupStore::SamplesOf(const GroupKey& key) const {
  const auto found = groups_.find(key);
  return found == groups_.end() ? 0 : found->second.samples_size();
}

void GroupStore::EraseOtherStages(uint32_t stage_index) {
  std::erase_if(groups_,
                [stage_index](const auto& item) { return item.first.stage_index != stage_index; });
}

std::vector<v1::Group> GroupStore::All() const {
  std::vector<v1::Group> groups;
  for (const auto& [key, group] : groups_) groups.push_back(group);
  return groups;
}

}  // namespace r1::learner
