#include "tests/sim/sim_worker.h"

#include <cstring>
#include <string>
#include <utility>

#include "common/hash.h"

namespace r1::sim {
namespace {

constexpr double kCallTimeout = 1;
constexpr double kRetrySeconds = 0.25;
constexpr uint32_t kRunningSamplesMax = 6;

}  // namespace

void SimWorker::Start() {
  ++life_;
  Later(world_.Uniform(), [this] { Join(); });
}

void SimWorker::Later(double seconds, std::function<void()> event) {
  world_.After(seconds, [this, life = life_, event = std::move(event)] {
    if (life != life_) return;
    if (world_.now() < stalled_until_) return Later(stalled_until_ - world_.now(), event);
    event();
  });
}

template <typename Reply>
void SimWorker::Call(std::function<absl::StatusOr<Reply>(learner::RolloutPoolOwner&)> handler,
                     std::function<void(const absl::StatusOr<Reply>&)> done) {
  auto open = std::make_shared<bool>(true);
  const auto finish = [open, done](const absl::StatusOr<Reply>& reply) {
    if (!std::exchange(*open, false)) return;
    done(reply);
  };
  Later(kCallTimeout, [finish] { finish(absl::UnavailableError("no answer")); });
  world_.Send(node_, [this, life = life_, handler = std::move(handler), finish] {
    learner::RolloutPoolOwner* pool = learner_.pool();
    const absl::StatusOr<Reply> reply =
        pool == nullptr ? absl::StatusOr<Reply>(absl::UnavailableError("dead")) : handler(*pool);
    if (life != life_) return;
    world_.Send(node_, [this, life, finish, reply] {
      if (life == life_) Later(0, [finish, reply] { finish(reply); });
    });
  });
}

bool SimWorker::Rejoin(const absl::Status& status) {
  if (!absl::IsFailedPrecondition(status)) return false;
  Start();
  return true;
}

void SimWorker::Join() {
  v1::JoinRequest request;
  request.set_protocol_version(v1::PROTOCOL_VERSION_CURRENT);
  request.add_runnable_isas("reference");
  request.set_kernel_version(1);
  Call<v1::JoinReply>([request](auto& pool) { return pool.Join(request); },
                      [this](const absl::StatusOr<v1::JoinReply>& reply) {
                        if (!reply.ok()) return Later(kRetrySeconds, [this] { Join(); });
                        run_ = reply->run();
                        worker_id_ = reply->worker_id();
                        book_.emplace(run_, worker_id_);
                        loaded_.reset();
                        Acquire();
                        Heartbeat();
                        Generate();
                        SendGroups();
                      });
}

void SimWorker::Acquire() {
  const rollout::LeaseBook::Room room = book_->RoomFor(kRunningSamplesMax);
  if (room.samples == 0) return Later(kRetrySeconds, [this] { Acquire(); });
  v1::AcquireLeasesRequest request;
  *request.mutable_run() = run_;
  request.set_worker_id(worker_id_);
  request.set_groups_max(room.groups);
  request.set_samples_max(room.samples);
  for (const v1::LeaseKey& key : book_->Held()) *request.add_held() = key;
  Call<v1::AcquireLeasesReply>(
      [request](auto& pool) { return pool.AcquireLeases(request, [] { return false; }); },
      [this](const absl::StatusOr<v1::AcquireLeasesReply>& reply) {
        if (Rejoin(reply.status())) return;
        if (reply.ok()) {
          book_->Add({reply->leases().begin(), reply->leases().end()}, world_.now());
        }
        Later(kRetrySeconds, [this] { Acquire(); });
      });
}

void SimWorker::Heartbeat() {
  v1::HeartbeatRequest request;
  *request.mutable_run() = run_;
  request.set_worker_id(worker_id_);
  Call<v1::HeartbeatReply>([request](auto& pool) { return pool.Heartbeat(request); },
                           [this](const absl::StatusOr<v1::HeartbeatReply>& reply) {
                             if (Rejoin(reply.status())) return;
                             Later(0.5, [this] { Heartbeat(); });
                           });
}

void SimWorker::Generate() {
  const double pause = 0.15;
  if (loaded_.has_value()) {
    for (const auto& submission : book_->TakeQueued(*loaded_, world_.now())) {
      for (const uint32_t sample : submission.lease->missing_samples()) {
        Later(0.3 * world_.Uniform(), [this, submission, sample] {
          Finish(submission.request_id, submission.lease, sample);
        });
      }
    }
  }
  const auto next = book_->NextTarget();
  if (book_->running() == 0 && next.has_value() && next != loaded_) return Load(*next);
  Later(pause, [this] { Generate(); });
}

void SimWorker::Load(const rollout::LeaseBook::Target& target) {
  v1::WeightChunksRequest request;
  *request.mutable_run() = run_;
  request.set_policy_version(target.policy_version);
  Call<v1::WeightChunk>([request](auto& pool) { return pool.weight_handler().GetChunk(request); },
                        [this, target](const absl::StatusOr<v1::WeightChunk>& reply) {
                          if (Rejoin(reply.status())) return;
                          if (absl::IsNotFound(reply.status())) book_->DropQueued(target);
                          if (reply.ok()) {
                            R1_CHECK(Crc32c(reply->data()) == reply->crc32c());
                            std::memcpy(&weights_, reply->data().data(), sizeof(weights_));
                            loaded_ = target;
                          }
                          Later(0.05, [this] { Generate(); });
                        });
}

void SimWorker::Finish(uint64_t request_id, const std::shared_ptr<const v1::Lease>& lease,
                       uint32_t sample_index) {
  v1::Sample sample;
  sample.set_sample_index(sample_index);
  sample.add_token_ids(static_cast<int32_t>(
      ToyToken(weights_, lease->purpose(), lease->stage_index(), lease->group_id(), sample_index)));
  sample.add_logprobs(-1);
  sample.set_finish_reason(v1::FINISH_REASON_LENGTH);
  v1::Span& span = *sample.add_spans();
  span.set_count(1);
  span.set_source(v1::Span::SOURCE_SAMPLED);
  span.set_policy_version(lease->policy_version());
  book_->AddScored(request_id, std::move(sample), 0);
}

// One stream: what is sent is acknowledged, or the stream "breaks" and everything is sent again.
void SimWorker::SendGroups() {
  for (const std::string& address : book_->OutgoingAddresses()) {
    if (book_->OldestSent(address).value_or(world_.now()) < world_.now() - kCallTimeout) {
      book_->ResendAll(address);
    }
    while (auto group = book_->NextUnsentOrNull(address, world_.now())) {
      Call<v1::GroupAck>([group](auto& pool) { return pool.AcceptGroup(*group); },
                         [this](const absl::StatusOr<v1::GroupAck>& ack) {
                           if (Rejoin(ack.status())) return;
                           if (ack.ok()) book_->Acknowledge(*ack);
                         });
    }
  }
  Later(0.15, [this] { SendGroups(); });
}

}  // namespace r1::sim
