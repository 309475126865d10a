// The arithmetic of an evaluation: what k samples of each problem say about a model, and how sure
// that is. Pure functions of counts; docs/evaluation.md has the definitions in words.
//
// Sources: unbiased pass@k, Chen et al. (2107.03374, eq. 1); majority vote, Wang et al.
// (2203.11171), cons@64 of DeepSeek-R1 (2501.12948); bootstrap, Efron (1979); Wilson (1927).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace r1 {

struct Interval {
  double low = 0;
  double high = 1;
};

// The most samples of one problem that the functions below take: C(1024, 512) is still a double.
inline constexpr int64_t kEvaluationSamplesMax = 1024;

// The chance that at least one of k samples, drawn from `samples` without putting back, is correct:
// 1 - C(n - c, k) / C(n, k). 0 <= correct <= samples, 1 <= k <= samples.
double PassAtK(int64_t samples, int64_t correct, int64_t k);

// Samples that gave the same answer.
struct AnswerClass {
  int64_t votes = 0;  // positive
  double correct =
      0;  // share of them that was judged correct: 1 or 0 when answers are judged alike
};

// The chance that the answer with the most votes is correct, when a tie is broken by lot: the mean
// of `correct` over the classes that have most votes. 0 without votes.
double ConsensusOfVotes(std::span<const AnswerClass> classes);

// The mean of ConsensusOfVotes over all ways to draw k samples without putting back from those of
// `classes` and `silent` ones that gave no answer and do not vote. Exact: a sum over the possible
// counts, in time k^2 log k times the samples at most. Equals ConsensusOfVotes for k = all samples,
// and pass@1 for k = 1.
double ExpectedConsensus(std::span<const AnswerClass> classes, int64_t silent, int64_t k);

// Wilson's score interval at 95 % for a share p seen in n independent trials; n may be fractional
// and is positive.
Interval WilsonInterval(double p, double n);

// The value of a statistic over problems, given by their indices; with repetitions.
using Statistic = std::function<double(std::span<const uint32_t> problems)>;

// Percentile bootstrap at 95 %: problems are drawn with putting back, as many as there are, 2,000
// times; the ends are the 2.5 and 97.5 percentiles of the statistic, interpolated. A pure function
// of its arguments. problems > 0.
Interval BootstrapInterval(uint32_t problems, uint64_t seed, const Statistic& statistic);

// The same for the mean of one value a problem.
Interval BootstrapMeanInterval(std::span<const double> values, uint64_t seed);

// The same for values that are shares. Where all of them are 0, or all are 1, no draw can differ
// and the interval would be empty, which says too much: it is then Wilson's with n = the number of
// problems.
Interval BootstrapShareInterval(std::span<const double> values, uint64_t seed);

}  // namespace r1
