// Published weights, kept for the workers that still need them: the newest version and those of
// unfinished groups. A version is read as one manifest and then as checksummed chunks from any
// offset. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/weights.h"
#include "learner/rollout_handlers.h"
#include "proto/weights.pb.h"

namespace r1::learner {

class WeightPublisher : public WeightHandler {
 public:
  static constexpr uint64_t kChunkBytes = 1 << 20;

  explicit WeightPublisher(const v1::RunIdentity& run) : run_(run) {}

  // Publishing a version again replaces nothing: it must be the same weights.
  void Publish(std::shared_ptr<const WeightsSnapshot> weights);
  // Forgets versions that are neither the newest nor `needed`. One that was never needed yet is
  // spared unless `drop_unused`: its groups may be about to be offered (after a restart, all
  // versions are published first).
  void Keep(const std::vector<uint64_t>& needed, bool drop_unused);

  bool Has(uint64_t policy_version) const;
  // 0 before the first.
  uint64_t newest() const;
  // Null when it is not there.
  std::shared_ptr<const WeightsSnapshot> FindOrNull(uint64_t policy_version) const;
  size_t versions() const;

  absl::StatusOr<v1::WeightManifest> GetManifest(const v1::WeightManifestRequest& request) override;
  absl::StatusOr<v1::WeightChunk> GetChunk(const v1::WeightChunksRequest& request) override;

 private:
  struct Version {
    std::shared_ptr<const WeightsSnapshot> weights;
    std::shared_ptr<const v1::WeightManifest> manifest;
    bool used = false;  // was needed once
  };
  absl::StatusOr<Version> Find(uint64_t policy_version) const;

  const v1::RunIdentity run_;
  mutable absl::Mutex mutex_;
  std::map<uint64_t, Version> versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::learner
