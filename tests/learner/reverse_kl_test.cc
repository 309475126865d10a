// The loss of on-policy distillation in float64: its expected gradient under the student's own
// samples is that of the reverse KL, and off-policy it is weighed by the ratio.

#include "learner/algorithms/reverse_kl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/rng.h"
#include "learner/policy/torch_headers.h"

namespace r1::learner {
namespace {

using Doubles = std::vector<double>;

Doubles RandomLogits(int count, uint64_t seed) {
  Rng rng(seed, 0, RngPurpose::kTest, 0, 0);
  Doubles logits;
  for (int i = 0; i < count; ++i) logits.push_back(4 * rng.NextUniform() - 2);
  return logits;
}

Doubles LogSoftmax(const Doubles& logits) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  Doubles logprobs;
  for (const double logit : logits) logprobs.push_back(logit - std::log(sum));
  return logprobs;
}

// KL(student || teacher) over the whole vocabulary.
double ReverseKlOracle(const Doubles& student_logits, const Doubles& teacher_logits) {
  const Doubles student = LogSoftmax(student_logits);
  const Doubles teacher = LogSoftmax(teacher_logits);
  double kl = 0;
  for (size_t i = 0; i < student.size(); ++i)
    kl += std::exp(student[i]) * (student[i] - teacher[i]);
  return kl;
}

at::Tensor ToTensor(const Doubles& values) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.data_ptr<double>());
  return tensor;
}

// Each token of the vocabulary once, weighed by the probability with which `sampler` draws it: the
// expectation over samples, without their noise.
Doubles ExpectedGradient(const Doubles& student_logits, const Doubles& sampler_logits,
                         const Doubles& teacher_logits, TokenLossSums* sums) {
  const at::Tensor logits = ToTensor(student_logits).set_requires_grad(true);
  const at::Tensor sampler = ToTensor(LogSoftmax(sampler_logits));
  const TokenLossInputs inputs{.logprobs = at::log_softmax(logits, 0),
                               .old_logprobs = sampler,
                               .reference_logprobs = ToTensor(LogSoftmax(teacher_logits)),
                               .advantages = at::zeros_like(sampler)};
  const at::Tensor losses = ReverseKl().TokenLoss(inputs, sums);
  const at::Tensor gradient =
      torch::autograd::grad({(sampler.exp() * losses).sum()}, {logits})[0].contiguous();
  return Doubles(gradient.data_ptr<double>(), gradient.data_ptr<double>() + gradient.numel());
}

TEST(ReverseKlTest, ExpectedGradientIsThatOfTheReverseKl) {
  constexpr double kStep = 1e-6;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Doubles student = RandomLogits(12, seed);
    const Doubles teacher = RandomLogits(12, 100 + seed);
    const Doubles gradient = ExpectedGradient(student, student, teacher, nullptr);
    for (size_t i = 0; i < student.size(); ++i) {
      const double logit = student[i];
      student[i] = logit + kStep;
      const double above = ReverseKlOracle(student, teacher);
      student[i] = logit - kStep;
      const double below = ReverseKlOracle(student, teacher);
      student[i] = logit;
      ASSERT_NEAR(gradient[i], (above - below) / (2 * kStep), 1e-8) << "seed " << seed;
    }
  }
}

// Samples of an older student: the ratio turns their expectation into the newer student's.
TEST(ReverseKlTest, TheRatioWeighsOffPolicySamples) {
  const Doubles student = RandomLogits(12, 1);
  const Doubles sampler = RandomLogits(12, 2);
  const Doubles teacher = RandomLogits(12, 3);
  const Doubles gradient = ExpectedGradient(student, sampler, teacher, nullptr);
  // d/dtheta sum_y p_student(y) (log p_sampler(y) - log p_teacher(y)), by the softmax's derivative.
  const Doubles p = LogSoftmax(student);
  const Doubles old = LogSoftmax(sampler);
  const Doubles target = LogSoftmax(teacher);
  double mean = 0;
  for (size_t i = 0; i < p.size(); ++i) mean += std::exp(p[i]) * (old[i] - target[i]);
  for (size_t i = 0; i < p.size(); ++i) {
    EXPECT_NEAR(gradient[i], std::exp(p[i]) * (old[i] - target[i] - mean), 1e-12);
  }
}

TEST(ReverseKlTest, SumsEstimateTheKlAndAnEqualTeacherTeachesNothing) {
  const Doubles student = RandomLogits(12, 1);
  TokenLossSums sums;
  for (const double gradient : ExpectedGradient(student, student, student, &sums)) {
    EXPECT_NEAR(gradient, 0, 1e-15);
  }
  EXPECT_EQ(sums.tokens, 12);
  EXPECT_NEAR(sums.kl_ref, 0, 1e-12);
  EXPECT_NEAR(sums.kl_old, 0, 1e-12);
  EXPECT_NEAR(sums.ratio_max, 1, 1e-12);
  TokenLossSums apart;
  ExpectedGradient(student, student, RandomLogits(12, 9), &apart);
  EXPECT_GT(apart.kl_ref, 0);
}

TEST(ReverseKlTest, RewardsTeachNothing) {
  const Doubles rewards = {0, 1, 1};
  EXPECT_EQ(ReverseKl().Advantages(rewards), Doubles({0, 0, 0}));
}

}  // namespace
}  // namespace r1::learner
