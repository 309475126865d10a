#include "learner/weight_publisher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/hash.h"
#include "learner/message_validation.h"

namespace r1::learner {
namespace {

v1::WeightManifest MakeManifest(const v1::RunIdentity& run, const WeightsSnapshot& weights) {
  v1::WeightManifest manifest;
  *manifest.mutable_run() = run;
  manifest.set_policy_version(weights.policy_version);
  uint64_t offset = 0;
  for (const TensorView& tensor : weights.tensors) {
    v1::TensorManifest& entry = *manifest.add_tensors();
    entry.set_name(tensor.name);
    entry.set_dtype(std::string(DTypeName(tensor.dtype)));
    for (const int64_t size : tensor.shape) entry.add_shape(size);
    entry.set_offset(offset);
    entry.set_bytes(tensor.bytes.size());
    entry.set_xxh3(Xxh3(tensor.bytes));
    offset += tensor.bytes.size();
  }
  manifest.set_bytes_total(offset);
  manifest.set_digest(weights.Digest());
  return manifest;
}

}  // namespace

void WeightPublisher::Publish(std::shared_ptr<const WeightsSnapshot> weights) {
  const uint64_t policy_version = weights->policy_version;
  auto manifest = std::make_shared<const v1::WeightManifest>(MakeManifest(run_, *weights));
  absl::MutexLock lock(&mutex_);
  const auto [found, inserted] = versions_.try_emplace(policy_version);
  if (inserted) {
    found->second = {.weights = std::move(weights), .manifest = std::move(manifest), .used = false};
  } else {
    R1_CHECK(found->second.manifest->digest() == manifest->digest());
  }
}

void WeightPublisher::Keep(const std::vector<uint64_t>& needed, bool drop_unused) {
  absl::MutexLock lock(&mutex_);
  for (auto next = versions_.begin(); next != versions_.end();) {
    const auto current = next++;
    const bool is_needed = std::find(needed.begin(), needed.end(), current->first) != needed.end();
    const bool is_newest = next == versions_.end();
    current->second.used |= is_needed;
    if (is_needed || is_newest) continue;
    if (current->second.used || drop_unused) versions_.erase(current);
  }
}

bool WeightPublisher::Has(uint64_t policy_version) const {
  absl::MutexLock lock(&mutex_);
  return versions_.contains(policy_version);
}

uint64_t WeightPublisher::newest() const {
  absl::MutexLock lock(&mutex_);
  return versions_.empty() ? 0 : versions_.rbegin()->first;
}

std::shared_ptr<const WeightsSnapshot> WeightPublisher::FindOrNull(uint64_t policy_version) const {
  absl::MutexLock lock(&mutex_);
  const auto found = versions_.find(policy_version);
  return found == versions_.end() ? nullptr : found->second.weights;
}

size_t WeightPublisher::versions() const {
  absl::MutexLock lock(&mutex_);
  return versions_.size();
}

absl::StatusOr<WeightPublisher::Version> WeightPublisher::Find(uint64_t policy_version) const {
  absl::MutexLock lock(&mutex_);
  const auto found = versions_.find(policy_version);
  if (found != versions_.end()) return found->second;
  const std::string kept = absl::StrJoin(versions_, ", ", [](std::string* out, const auto& item) {
    absl::StrAppend(out, item.first);
  });
  return absl::NotFoundError(absl::StrCat("weights of policy_version ", policy_version,
                                          " are not kept (any more); there are: ", kept));
}

absl::StatusOr<v1::WeightManifest> WeightPublisher::GetManifest(
    const v1::WeightManifestRequest& request) {
  R1_RETURN_IF_ERROR(CheckSameLearner(run_, request.run()));
  R1_ASSIGN_OR_RETURN(const Version version, Find(request.policy_version()));
  return *version.manifest;
}

absl::StatusOr<v1::WeightChunk> WeightPublisher::GetChunk(const v1::WeightChunksRequest& request) {
  R1_RETURN_IF_ERROR(CheckSameLearner(run_, request.run()));
  R1_ASSIGN_OR_RETURN(const Version version, Find(request.policy_version()));
  const v1::WeightManifest& manifest = *version.manifest;
  const uint64_t offset = request.offset();
  if (offset > manifest.bytes_total()) {
    return absl::OutOfRangeError(absl::StrCat("weights of policy_version ",
                                              request.policy_version(), ": offset ", offset,
                                              " lies beyond ", manifest.bytes_total(), " bytes"));
  }
  const uint64_t end = std::min(offset + kChunkBytes, manifest.bytes_total());
  v1::WeightChunk chunk;
  chunk.set_offset(offset);
  std::string& data = *chunk.mutable_data();
  data.reserve(end - offset);
  // The first tensor that ends after the offset.
  int index =
      static_cast<int>(std::partition_point(manifest.tensors().begin(), manifest.tensors().end(),
                                            [offset](const v1::TensorManifest& tensor) {
                                              return tensor.offset() + tensor.bytes() <= offset;
                                            }) -
                       manifest.tensors().begin());
  for (; index < manifest.tensors_size() && offset + data.size() < end; ++index) {
    const uint64_t skip = offset + data.size() - manifest.tensors(index).offset();
    const absl::string_view rest = version.weights->tensors[index].bytes.substr(skip);
    const absl::string_view part = rest.substr(0, end - offset - data.size());
    data.append(part.data(), part.size());
  }
  R1_CHECK(data.size() == end - offset);
  chunk.set_crc32c(Crc32c(data));
  return chunk;
}

}  // namespace r1::learner
