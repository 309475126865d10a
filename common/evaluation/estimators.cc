#include "common/evaluation/estimators.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/rng.h"
#include "common/status.h"

namespace r1 {
namespace {

constexpr int kResamples = 2000;
constexpr double kNormalQuantile975 = 1.959963984540054;

// C(n, k) for n up to kEvaluationSamplesMax; exact as long as it is below 2^53.
double Binomial(int64_t n, int64_t k) {
  if (k < 0 || k > n) return 0;
  k = std::min(k, n - k);
  double result = 1;
  for (int64_t i = 1; i <= k; ++i) {
    result = result * static_cast<double>(n - k + i) / static_cast<double>(i);
  }
  return result;
}

// Ways to draw the other classes so that each has at most `top` votes: by the number of samples
// drawn, and of classes that have exactly `top`.
class OtherVotes {
 public:
  OtherVotes(int64_t k, int64_t top)
      : k_(k),
        top_(top),
        ties_max_(k / top),
        ways_(static_cast<size_t>((k + 1) * (ties_max_ + 1))) {
    ways_[Index(0, 0)] = 1;
  }

  void Add(int64_t votes) {
    const int64_t most = std::min({votes, top_, k_});
    std::vector<double> ways_to_take;
    for (int64_t taken = 0; taken <= most; ++taken) ways_to_take.push_back(Binomial(votes, taken));
    std::vector<double> next(ways_.size(), 0);
    for (int64_t drawn = 0; drawn <= k_; ++drawn) {
      for (int64_t ties = 0; ties <= ties_max_; ++ties) {
        const double ways = At(drawn, ties);
        if (ways == 0) continue;
        for (int64_t taken = 0; taken <= std::min(most, k_ - drawn); ++taken) {
          const int64_t tied = ties + (taken == top_ ? 1 : 0);
          next[Index(drawn + taken, tied)] += ways * ways_to_take[static_cast<size_t>(taken)];
        }
      }
    }
    ways_.swap(next);
  }

  double At(int64_t drawn, int64_t ties) const { return ways_[Index(drawn, ties)]; }
  int64_t ties_max() const { return ties_max_; }

 private:
  size_t Index(int64_t drawn, int64_t ties) const {
    return static_cast<size_t>(drawn * (ties_max_ + 1) + ties);
  }

  const int64_t k_;
  const int64_t top_;
  const int64_t ties_max_;
  std::vector<double> ways_;
};

// The percentile of sorted values, interpolated linearly between ranks.
double Percentile(const std::vector<double>& sorted, double share) {
  const double rank = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

double PassAtK(int64_t samples, int64_t correct, int64_t k) {
  R1_CHECK(samples >= 1 && samples <= kEvaluationSamplesMax);
  R1_CHECK(correct >= 0 && correct <= samples);
  R1_CHECK(k >= 1 && k <= samples);
  if (samples - correct < k) return 1;
  double none = 1;  // as a product, so that no binomial is formed
  for (int64_t i = samples - correct + 1; i <= samples; ++i) {
    none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  }
  return 1 - none;
}

double ConsensusOfVotes(std::span<const AnswerClass> classes) {
  int64_t most = 0;
  for (const AnswerClass& answer : classes) most = std::max(most, answer.votes);
  double correct = 0;
  int64_t tied = 0;
  for (const AnswerClass& answer : classes) {
    if (answer.votes != most) continue;
    correct += answer.correct;
    ++tied;
  }
  return tied == 0 ? 0 : correct / static_cast<double>(tied);
}

double ExpectedConsensus(std::span<const AnswerClass> classes, int64_t silent, int64_t k) {
  int64_t samples = silent;
  for (const AnswerClass& answer : classes) {
    R1_CHECK(answer.votes > 0);
    samples += answer.votes;
  }
  R1_CHECK(silent >= 0 && samples <= kEvaluationSamplesMax);
  R1_CHECK(k >= 1 && k <= samples);
  const double all_ways = Binomial(samples, k);
  double expected = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    if (classes[i].correct == 0) continue;
    double won = 0;
    for (int64_t top = 1; top <= std::min(classes[i].votes, k); ++top) {
      OtherVotes others(k - top, top);
      for (size_t j = 0; j < classes.size(); ++j) {
        if (j != i) others.Add(classes[j].votes);
      }
      for (int64_t drawn = 0; drawn <= k - top; ++drawn) {
        for (int64_t ties = 0; ties <= others.ties_max(); ++ties) {
          won += Binomial(classes[i].votes, top) / all_ways * others.At(drawn, ties) *
                 Binomial(silent, k - top - drawn) / static_cast<double>(ties + 1);
        }
      }
    }
    expected += won * classes[i].correct;
  }
  return std::min(expected, 1.0);  // the sum may round up
}

Interval WilsonInterval(double p, double n) {
  R1_CHECK(n > 0);
  const double z2 = kNormalQuantile975 * kNormalQuantile975;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = std::sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  // The ends are 0 and 1 in exact arithmetic when p is.
  return {p <= 0 ? 0 : std::max(0.0, middle - half), p >= 1 ? 1 : std::min(1.0, middle + half)};
}

Interval BootstrapInterval(uint32_t problems, uint64_t seed, const Statistic& statistic) {
  R1_CHECK(problems > 0);
  std::vector<double> values(kResamples);
  std::vector<uint32_t> drawn(problems);
  for (uint32_t i = 0; i < kResamples; ++i) {
    Rng rng(seed, 0, RngPurpose::kBootstrap, i, 0);
    for (uint32_t& problem : drawn) problem = static_cast<uint32_t>(rng.NextBelow(problems));
    values[i] = statistic(drawn);
  }
  std::sort(values.begin(), values.end());
  return {Percentile(values, 0.025), Percentile(values, 0.975)};
}

Interval BootstrapMeanInterval(std::span<const double> values, uint64_t seed) {
  return BootstrapInterval(static_cast<uint32_t>(values.size()), seed,
                           [values](std::span<const uint32_t> problems) {
                             double sum = 0;
                             for (const uint32_t problem : problems) sum += values[problem];
                             return sum / static_cast<double>(problems.size());
                           });
}

Interval BootstrapShareInterval(std::span<const double> values, uint64_t seed) {
  R1_CHECK(!values.empty());
  const double first = values[0];
  const bool all_equal =
      std::all_of(values.begin(), values.end(), [first](double value) { return value == first; });
  if (!all_equal || (first != 0 && first != 1)) return BootstrapMeanInterval(values, seed);
  return WilsonInterval(first, static_cast<double>(values.size()));
}

}  // namespace r1
