// What ranks_test starts under mpirun: every rank trains its slice of one fixed batch and rank 0
// prints the loss of each update, one number a line. Before that, the collectives are checked from
// inside. A failed check names itself on stderr and ends all ranks with code 1.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "learner/algorithms/algorithm.h"
#include "learner/trainer.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

class RanksProgram {
 public:
  explicit RanksProgram(Collectives& ranks) : ranks_(ranks) {
    config_.set_beta1(0.9);
    config_.set_beta2(0.95);
    config_.set_eps(1e-8);
    config_.set_grad_clip_norm(1);
    grpo_config_.set_clip_low(0.2);
    grpo_config_.set_clip_high(0.2);
    grpo_config_.set_normalize_std(true);
    algorithm_ = (*AlgorithmRegistry::FindOrNull("grpo"))(grpo_config_);
  }

  void CheckCollectives() {
    CheckSum<float>({0, 1, 2, 3, 5, 1000, 4097});
    CheckSum<double>({0, 1, 7, 1000});
    CheckSum<int64_t>({0, 1, 7, 1000});
    for (const size_t bytes : {0, 1, 1000}) CheckBroadcast(bytes);
    if (ranks_.size() == 2) {
      // More than the blocks of 64 MiB that a message is cut into.
      CheckSum<float>({(17 << 20) + 3});
      CheckBroadcast(70 << 20);
    }
    const double largest = AllReduceMax(ranks_, 1.5 + ranks_.rank() % 3);
    Check(largest == 1.5 + std::min(ranks_.size() - 1, 2), "the largest value over ranks");
    const std::set<std::string> own = {"every rank's", absl::StrCat("of rank ", ranks_.rank())};
    std::set<std::string> all = {"every rank's"};
    for (int rank = 0; rank < ranks_.size(); ++rank) all.insert(absl::StrCat("of rank ", rank));
    Check(AllGatherNames(ranks_, own) == all, "the names of all ranks");
    const bool is_last = ranks_.rank() == ranks_.size() - 1;
    const std::set<std::string> last = {"a", "bc"};
    Check(AllGatherNames(ranks_, is_last ? last : std::set<std::string>()) == last,
          "the names of one rank");
    Check(AllGatherNames(ranks_, {}).empty(), "no names");
    ranks_.Barrier();
  }

  // 20 updates each of next-token training and of GRPO on the same batch.
  void Train() {
    const ModelSpec spec = PresetSpec();
    const auto policy = RandomPolicy(spec);
    AdamW adamw(spec, policy->parameter_offsets(), policy->parameters().size());
    Trainer trainer(*policy, adamw, ranks_, {.threads = 1, .tokens_max = 200});
    std::vector<TrainSequence> mine = Slice(RandomSequences(spec, 16, 4, 40));
    for (int update = 0; update < 20; ++update) {
      const auto metrics = trainer.TrainNextToken(mine, {.optimizer = config_, .lr = 2e-3});
      Report(metrics, 16);
      trainer.UpdateCorrectionBias(1e-3);
    }
    for (int update = 0; update < 20; ++update) {
      const auto metrics =
          trainer.TrainPolicy(mine, {.algorithm = *algorithm_}, {.optimizer = config_, .lr = 2e-4});
      Report(metrics, 16);
      trainer.UpdateCorrectionBias(1e-3);
    }
    CheckSameWeights(*policy, "after training");

    // Fewer sequences than ranks.
    std::vector<TrainSequence> one = Slice(RandomSequences(spec, 1, 30, 30, 2));
    Report(trainer.TrainPolicy(one, {.algorithm = *algorithm_}, {.optimizer = config_, .lr = 1e-3}),
           1);
    CheckSameWeights(*policy, "after an update with one sequence");

    // One rank's loss is not finite: no rank updates.
    const uint64_t before = policy->Snapshot(0).Digest();
    std::vector<TrainSequence> bad = mine;
    if (ranks_.rank() == ranks_.size() - 1) {
      bad[0].advantage = std::numeric_limits<double>::infinity();
    }
    const auto skipped =
        trainer.TrainPolicy(bad, {.algorithm = *algorithm_}, {.optimizer = config_, .lr = 1e-3});
    Check(skipped.ok() && skipped->skipped, "an update that one rank cannot make is skipped");
    Check(policy->Snapshot(0).Digest() == before, "a skipped update leaves the weights");
  }

 private:
  void Check(bool holds, const std::string& what) {
    if (holds) return;
    std::fprintf(stderr, "rank %d of %d: %s: check failed\n", ranks_.rank(), ranks_.size(),
                 what.c_str());
    ranks_.Abort(1);
  }

  static std::string Text(size_t bytes) {
    std::string text(bytes, ' ');
    for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 31 % 251);
    return text;
  }

  // Of a rank; magnitudes differ by so much that another order of the sum would show.
  template <typename T>
  static std::vector<T> Values(int rank, size_t count) {
    constexpr size_t kPeriod = 4099;
    Rng rng = TestRng(100 + static_cast<uint64_t>(rank));
    std::vector<T> values(count);
    for (size_t i = 0; i < count; ++i) {
      if (i >= kPeriod) {
        values[i] = values[i - kPeriod];
        continue;
      }
      const double magnitude = std::ldexp(1.0, static_cast<int>(rng.NextBelow(30)));
      values[i] = static_cast<T>(Signed(rng) * magnitude);
    }
    return values;
  }

  void CheckBroadcast(size_t bytes) {
    std::string value = ranks_.rank() == 0 ? Text(bytes) : "left over from before";
    ranks_.Broadcast(value);
    Check(value == Text(bytes), absl::StrCat("broadcast of ", bytes, " bytes"));
  }

  template <typename T>
  void CheckSum(std::initializer_list<size_t> counts) {
    for (const size_t count : counts) {
      std::vector<T> expected = Values<T>(0, count);
      for (int rank = 1; rank < ranks_.size(); ++rank) {
        const std::vector<T> other = Values<T>(rank, count);
        for (size_t i = 0; i < count; ++i) expected[i] += other[i];
      }
      std::vector<T> values = Values<T>(ranks_.rank(), count);
      ranks_.AllReduceSum(std::span<T>(values));
      // The bits of the sum in rank order, so the same on every rank.
      Check(count == 0 || std::memcmp(values.data(), expected.data(), count * sizeof(T)) == 0,
            absl::StrCat("the sum of ", count, " values of ", sizeof(T), " bytes"));
    }
  }

  std::vector<TrainSequence> Slice(const std::vector<TrainSequence>& all) const {
    std::vector<TrainSequence> mine;
    for (size_t i = 0; i < all.size(); ++i) {
      const bool is_mine =
          i % static_cast<size_t>(ranks_.size()) == static_cast<size_t>(ranks_.rank());
      if (is_mine) mine.push_back(all[i]);
    }
    return mine;
  }

  void Report(const absl::StatusOr<UpdateMetrics>& metrics, int64_t sequences) {
    Check(metrics.ok() && !metrics->skipped, "an update of finite numbers");
    Check(metrics->sequences == sequences, "every rank knows all sequences");
    if (ranks_.rank() == 0) std::printf("%.17g\n", metrics->loss);
    std::string values = absl::StrCat(metrics->loss, " ", metrics->grad_norm, " ",
                                      metrics->ratio_max, " ", metrics->entropy);
    const std::string mine = values;
    ranks_.Broadcast(values);
    Check(values == mine, absl::StrCat("metrics of rank 0 ", values, ", of this rank ", mine));
  }

  void CheckSameWeights(const Policy& policy, const std::string& when) {
    const std::string mine = absl::StrCat(policy.Snapshot(0).Digest());
    std::string first = mine;
    ranks_.Broadcast(first);
    Check(first == mine, absl::StrCat("the weights of rank 0 and of this one ", when));
  }

  Collectives& ranks_;
  v1::OptimizerConfig config_;
  v1::GrpoConfig grpo_config_;
  std::unique_ptr<Algorithm> algorithm_;
};

}  // namespace
}  // namespace r1::learner

int main() {
  auto ranks = r1::learner::Collectives::Create();
  if (!ranks.ok()) {
    std::fprintf(stderr, "%s\n", std::string(ranks.status().message()).c_str());
    return 1;
  }
  r1::learner::RanksProgram program(**ranks);
  program.CheckCollectives();
  program.Train();
  return 0;
}
