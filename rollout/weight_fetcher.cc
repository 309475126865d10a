#include "rollout/weight_fetcher.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/wait_log.h"

namespace r1::rollout {
namespace {

constexpr int kCorruptMax = 3;
constexpr double kRetrySeconds = 0.1;
constexpr int kDimensionsMax = 8;

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// Sizes are checked before anything is allocated from them.
absl::Status CheckManifest(const v1::WeightManifest& manifest, const WeightRequest& request) {
  if (manifest.policy_version() != request.policy_version) {
    return absl::DataLossError(absl::StrCat("manifest of version ", manifest.policy_version()));
  }
  uint64_t offset = 0;
  for (const v1::TensorManifest& tensor : manifest.tensors()) {
    const auto invalid = [&tensor](const auto&... args) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name(), ": ", args...));
    };
    R1_ASSIGN_OR_RETURN(const DType dtype, ParseDType(tensor.dtype()));
    if (tensor.shape_size() > kDimensionsMax) return invalid(tensor.shape_size(), " dimensions");
    uint64_t bytes = DTypeBytes(dtype);
    for (const int64_t size : tensor.shape()) {
      if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) {
        return invalid("impossible dimension ", size);
      }
    }
    if (tensor.bytes() != bytes) {
      return invalid("expected ", bytes, " bytes by its shape, found ", tensor.bytes());
    }
    if (tensor.offset() != offset) {
      return invalid("expected offset ", offset, ", found ", tensor.offset());
    }
    if (bytes > request.bytes_max - offset) {
      return invalid("the weights exceed the model's ", request.bytes_max, " bytes");
    }
    offset += bytes;
  }
  if (manifest.bytes_total() != offset) {
    return absl::InvalidArgumentError(absl::StrCat("manifest: expected ", offset,
                                                   " bytes_total, found ", manifest.bytes_total()));
  }
  return absl::OkStatus();
}

class Transfer {
 public:
  Transfer(LearnerTransport& learner, const WeightRequest& request, const StopSignal& stop)
      : learner_(learner), request_(request), stop_(stop) {}

  // One attempt; DataLoss when anything does not match its checksum.
  absl::StatusOr<WeightsSnapshot> Run() {
    v1::WeightManifestRequest manifest_request;
    *manifest_request.mutable_run() = request_.run;
    manifest_request.set_policy_version(request_.policy_version);
    R1_RETURN_IF_ERROR(Retry("the manifest", [&] {
      absl::StatusOr<v1::WeightManifest> reply = learner_.GetManifest(manifest_request);
      if (reply.ok()) manifest_ = *std::move(reply);
      return reply.status();
    }));
    R1_RETURN_IF_ERROR(CheckManifest(manifest_, request_));
    bytes_ = std::make_shared<std::string>(manifest_.bytes_total(), '\0');
    offset_ = 0;
    R1_RETURN_IF_ERROR(Retry("the chunks", [&] { return FetchChunks(); }));
    return Verify();
  }

 private:
  // Repeats what fails for want of a connection. Progress resets the patience.
  template <typename Attempt>
  absl::Status Retry(const char* what, const Attempt& attempt) {
    WaitLog log(RealClock());
    double patience_from = 0;
    uint64_t offset_before = offset_;
    for (;;) {
      const absl::Status status = attempt();
      if (!IsTransient(status)) return status;
      if (offset_ != offset_before) patience_from = log.seconds();
      offset_before = offset_;
      if (log.seconds() - patience_from > request_.retry_seconds) return status;
      log.Poll([&] {
        return absl::StrCat(what, " of weights ", request_.policy_version, " from ",
                            learner_.address(), ": ", status.message());
      });
      if (stop_.WaitFor(kRetrySeconds)) return absl::CancelledError("stopped");
    }
  }

  absl::Status FetchChunks() {
    if (offset_ == bytes_->size()) return absl::OkStatus();
    v1::WeightChunksRequest request;
    *request.mutable_run() = request_.run;
    request.set_policy_version(request_.policy_version);
    request.set_offset(offset_);
    R1_RETURN_IF_ERROR(
        learner_.GetChunks(request, [this](const v1::WeightChunk& chunk) { return Take(chunk); }));
    if (offset_ == bytes_->size()) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("the transfer ended at ", offset_, " of ", bytes_->size(), " bytes"));
  }

  absl::Status Take(const v1::WeightChunk& chunk) {
    if (chunk.offset() != offset_ || chunk.data().size() > bytes_->size() - offset_) {
      return absl::DataLossError(absl::StrCat("expected the chunk at ", offset_, ", found ",
                                              chunk.data().size(), " bytes at ", chunk.offset()));
    }
    if (Crc32c(chunk.data()) != chunk.crc32c()) {
      return absl::DataLossError(absl::StrCat("crc32c of the chunk at ", offset_, " differs"));
    }
    std::memcpy(bytes_->data() + offset_, chunk.data().data(), chunk.data().size());
    offset_ += chunk.data().size();
    return stop_.raised() ? absl::CancelledError("stopped") : absl::OkStatus();
  }

  absl::StatusOr<WeightsSnapshot> Verify() const {
    WeightsSnapshot weights;
    weights.policy_version = manifest_.policy_version();
    weights.storage = bytes_;
    for (const v1::TensorManifest& tensor : manifest_.tensors()) {
      TensorView& view = weights.tensors.emplace_back();
      view.name = tensor.name();
      R1_ASSIGN_OR_RETURN(view.dtype, ParseDType(tensor.dtype()));
      view.shape.assign(tensor.shape().begin(), tensor.shape().end());
      view.bytes = absl::string_view(*bytes_).substr(tensor.offset(), tensor.bytes());
      if (Xxh3(view.bytes) != tensor.xxh3()) {
        return absl::DataLossError(absl::StrCat("xxh3 of tensor ", tensor.name(), " differs"));
      }
    }
    if (weights.Digest() != manifest_.digest()) {
      return absl::DataLossError("the digest of the whole differs");
    }
    return weights;
  }

  LearnerTransport& learner_;
  const WeightRequest& request_;
  const StopSignal& stop_;
  v1::WeightManifest manifest_;
  std::shared_ptr<std::string> bytes_;
  uint64_t offset_ = 0;
};

}  // namespace

absl::StatusOr<WeightsSnapshot> FetchWeights(LearnerTransport& learner,
                                             const WeightRequest& request, const StopSignal& stop) {
  for (int corrupt = 1;; ++corrupt) {
    absl::StatusOr<WeightsSnapshot> weights = Transfer(learner, request, stop).Run();
    if (!absl::IsDataLoss(weights.status())) {
      if (weights.ok()) return weights;
      return Annotate(weights.status(),
                      absl::StrCat("weights of policy_version ", request.policy_version));
    }
    R1_LOG(kWarning) << "weights of policy_version " << request.policy_version
                     << " arrived corrupt (" << corrupt << " of " << kCorruptMax
                     << "): " << weights.status().message();
    if (corrupt < kCorruptMax) continue;
    return absl::DataLossError(absl::StrCat("weights of policy_version ", request.policy_version,
                                            " arrived corrupt ", kCorruptMax,
                                            " times: ", weights.status().message()));
  }
}

}  // namespace r1::rollout
