// Accepted samples of this rank's groups until they are trained. Not thread-safe: the pool's lock
// guards it.
#pragma once

#include <map>
#include <vector>

#include "learner/group_ledger.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

GroupKey KeyOf(const v1::Group& group);

class GroupStore {
 public:
  // Adds those of the group's samples that are in `sample_indices` and not here yet. Samples stay
  // sorted by index.
  void Keep(v1::Group group, const std::vector<uint32_t>& sample_indices);
  // 0 when the group is not there.
  size_t SamplesOf(const GroupKey& key) const;
  // The group must be there.
  const v1::Group& Get(const GroupKey& key) const { return groups_.at(key); }
  void Erase(const GroupKey& key) { groups_.erase(key); }
  // Of other stages than this one.
  void EraseOtherStages(uint32_t stage_index);
  std::vector<v1::Group> All() const;
  size_t size() const { return groups_.size(); }

 private:
  std::map<GroupKey, v1::Group> groups_;
};

}  // namespace r1::learner
