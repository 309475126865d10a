// AdamW, the schedule and the norm against float64 arithmetic written down as published.

#include "learner/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

v1::OptimizerConfig Config() {
  v1::OptimizerConfig config;
  config.set_beta1(0.9);
  config.set_beta2(0.95);
  config.set_eps(1e-8);
  config.set_weight_decay(0.1);
  config.set_decay("constant");
  return config;
}

// Offsets as the policy lays parameters out: trainable weights one after the other.
std::vector<int64_t> Offsets(const ModelSpec& spec, size_t* parameters) {
  std::vector<int64_t> offsets;
  int64_t next = 0;
  for (const WeightSpec& weight : spec.weights) {
    offsets.push_back(weight.trainable() ? next : -1);
    next += weight.trainable() ? weight.elements() : 0;
  }
  *parameters = static_cast<size_t>(next);
  return offsets;
}

std::vector<float> RandomValues(size_t count, Rng& rng, double scale) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * Signed(rng));
  return values;
}

// Algorithm 2 of "Decoupled Weight Decay Regularization", element by element.
struct Oracle {
  std::vector<double> parameters, m, v;
  std::vector<bool> decayed;
  int64_t t = 0;

  void Update(const v1::OptimizerConfig& config, double lr, double scale,
              const std::vector<float>& gradient) {
    ++t;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const double g = gradient[i] * scale;
      m[i] = config.beta1() * m[i] + (1 - config.beta1()) * g;
      v[i] = config.beta2() * v[i] + (1 - config.beta2()) * g * g;
      const double m_hat = m[i] / (1 - std::pow(config.beta1(), t));
      const double v_hat = v[i] / (1 - std::pow(config.beta2(), t));
      const double decay = decayed[i] ? config.weight_decay() : 0;
      parameters[i] -= lr * (m_hat / (std::sqrt(v_hat) + config.eps()) + decay * parameters[i]);
    }
  }
};

Oracle MakeOracle(const ModelSpec& spec, const std::vector<float>& parameters) {
  Oracle oracle{.parameters = {parameters.begin(), parameters.end()},
                .m = std::vector<double>(parameters.size()),
                .v = std::vector<double>(parameters.size()),
                .decayed = {}};
  for (const WeightSpec& weight : spec.weights) {
    if (!weight.trainable()) continue;
    // Norms are the one-dimensional weights.
    oracle.decayed.insert(oracle.decayed.end(), static_cast<size_t>(weight.elements()),
                          weight.shape.size() > 1);
  }
  return oracle;
}

TEST(AdamWTest, FollowsTheFloat64OracleOverManyUpdates) {
  const ModelSpec spec = TinySpec();
  size_t count = 0;
  const std::vector<int64_t> offsets = Offsets(spec, &count);
  Rng rng = TestRng(1);
  std::vector<float> parameters = RandomValues(count, rng, 1);
  Oracle oracle = MakeOracle(spec, parameters);
  AdamW optimizer(spec, offsets, count);
  const v1::OptimizerConfig config = Config();
  for (int update = 0; update < 300; ++update) {
    // Gradients over nine decades, some exactly 0 (an expert without tokens).
    std::vector<float> gradient = RandomValues(count, rng, std::pow(10, -6 + update % 9));
    for (size_t i = 0; i < count; i += 7) gradient[i] = 0;
    const double lr = 1e-2 / (1 + update % 5);
    const double scale = update % 3 == 0 ? 0.25 : 1;
    optimizer.Update(config, lr, scale, gradient, parameters);
    oracle.Update(config, lr, scale, gradient);
  }
  EXPECT_EQ(optimizer.updates(), 300);
  double largest = 0;
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(parameters[i] - oracle.parameters[i]));
  }
  // 300 roundings of numbers around 1 to fp32.
  EXPECT_LT(largest, 1e-5);
  EXPECT_GT(MaxDifference(parameters, RandomValues(count, rng, 0)), 0.1);
}

TEST(AdamWTest, ThreadsChangeNoBit) {
  const ModelSpec spec = PresetSpec();
  size_t count = 0;
  const std::vector<int64_t> offsets = Offsets(spec, &count);
  Rng rng = TestRng(4);
  std::vector<float> alone = RandomValues(count, rng, 1), together = alone;
  AdamW one(spec, offsets, count), many(spec, offsets, count);
  kernels::ThreadPool threads(3);
  for (int update = 0; update < 3; ++update) {
    const std::vector<float> gradient = RandomValues(count, rng, 1);
    one.Update(Config(), 1e-2, 0.5, gradient, alone);
    many.Update(Config(), 1e-2, 0.5, gradient, together, &threads);
  }
  EXPECT_TRUE(SameBits(alone, together));
}

TEST(AdamWTest, DecayAloneShrinksMatricesAndLeavesNorms) {
  const ModelSpec spec = TinySpec();
  size_t count = 0;
  const std::vector<int64_t> offsets = Offsets(spec, &count);
  std::vector<float> parameters(count, 1.0f);
  AdamW(spec, offsets, count).Update(Config(), 0.5, 1, std::vector<float>(count, 0.0f), parameters);
  for (size_t w = 0; w < spec.weights.size(); ++w) {
    if (offsets[w] < 0) continue;
    for (int64_t i = 0; i < spec.weights[w].elements(); ++i) {
      const float expected = spec.weights[w].is_norm() ? 1.0f : 0.95f;
      EXPECT_EQ(parameters[static_cast<size_t>(offsets[w] + i)], expected) << spec.weights[w].name;
    }
  }
}

TEST(AdamWTest, ResetForgetsEverything) {
  const ModelSpec spec = TinySpec();
  size_t count = 0;
  const std::vector<int64_t> offsets = Offsets(spec, &count);
  Rng rng = TestRng(2);
  const std::vector<float> start = RandomValues(count, rng, 1);
  const std::vector<float> gradient = RandomValues(count, rng, 1);
  AdamW fresh(spec, offsets, count), used(spec, offsets, count);
  std::vector<float> expected = start, found = start;
  fresh.Update(Config(), 1e-2, 1, gradient, expected);
  used.Update(Config(), 1e-2, 1, RandomValues(count, rng, 5), found);
  used.Reset();
  EXPECT_EQ(used.updates(), 0);
  found = start;
  used.Update(Config(), 1e-2, 1, gradient, found);
  EXPECT_TRUE(SameBits(found, expected));
}

TEST(AdamWTest, ContinuesBitByBitFromTheStateInACheckpoint) {
  const ModelSpec spec = TinySpec();
  size_t count = 0;
  const std::vector<int64_t> offsets = Offsets(spec, &count);
  Rng rng = TestRng(3);
  std::vector<float> parameters = RandomValues(count, rng, 1);
  AdamW optimizer(spec, offsets, count);
  for (int update = 0; update < 5; ++update) {
    optimizer.Update(Config(), 1e-2, 1, RandomValues(count, rng, 1), parameters);
  }
  AdamW resumed(spec, offsets, count);
  std::vector<float> resumed_parameters = parameters;
  const std::vector<float> m = Copy(optimizer.first_moment()), v = Copy(optimizer.second_moment());
  std::memcpy(resumed.first_moment().data(), m.data(), m.size() * sizeof(float));
  std::memcpy(resumed.second_moment().data(), v.data(), v.size() * sizeof(float));
  resumed.set_updates(optimizer.updates());
  for (int update = 0; update < 5; ++update) {
    const std::vector<float> gradient = RandomValues(count, rng, 1);
    optimizer.Update(Config(), 1e-2, 1, gradient, parameters);
    resumed.Update(Config(), 1e-2, 1, gradient, resumed_parameters);
  }
  EXPECT_TRUE(SameBits(parameters, resumed_parameters));
  EXPECT_EQ(resumed.updates(), 10);
}

// --- Schedules ---

v1::Schedule MakeSchedule(const std::vector<std::pair<int64_t, double>>& points) {
  v1::Schedule schedule;
  for (const auto& [from_update, value] : points) {
    v1::SchedulePoint* point = schedule.add_points();
    point->set_from_update(from_update);
    point->set_value(value);
  }
  return schedule;
}

TEST(ScheduleTest, HoldsEachValueFromItsUpdateOn) {
  const v1::Schedule schedule = MakeSchedule({{0, 1.0}, {10, 0.5}, {20, 0.0}});
  EXPECT_EQ(ScheduleAt(schedule, 0), 1.0);
  EXPECT_EQ(ScheduleAt(schedule, 9), 1.0);
  EXPECT_EQ(ScheduleAt(schedule, 10), 0.5);
  EXPECT_EQ(ScheduleAt(schedule, 19), 0.5);
  EXPECT_EQ(ScheduleAt(schedule, 1'000'000), 0.0);
  EXPECT_EQ(ScheduleAt(MakeSchedule({{5, 1.0}}), 4), 0.0);
}

TEST(LearningRateTest, WarmsUpLinearlyFromTheFirstUpdate) {
  v1::OptimizerConfig config = Config();
  *config.mutable_lr() = MakeSchedule({{0, 4e-3}});
  config.set_warmup_updates(4);
  for (int update = 0; update < 10; ++update) {
    EXPECT_DOUBLE_EQ(LearningRate(config, update, 100), 4e-3 * std::min(update + 1, 4) / 4);
  }
}

TEST(LearningRateTest, DecaysToItsFractionAndStaysThere) {
  for (const std::string shape : {"linear", "cosine"}) {
    v1::OptimizerConfig config = Config();
    *config.mutable_lr() = MakeSchedule({{0, 1.0}, {60, 0.5}});
    config.set_decay(shape);
    config.set_decay_from_update(20);
    config.set_decay_to_fraction(0.1);
    for (const int64_t length : {int64_t{0}, int64_t{40}}) {
      config.set_decay_updates(length);
      const double end = length > 0 ? 60 : 100;  // 0 = the last update of 100
      for (int update = 0; update < 120; ++update) {
        const double done = std::min(std::max((update - 20) / (end - 20), 0.0), 1.0);
        const double left =
            shape == "linear" ? 1 - done : (1 + std::cos(std::numbers::pi * done)) / 2;
        const double expected = (update < 60 ? 1.0 : 0.5) * (0.1 + 0.9 * left);
        EXPECT_NEAR(LearningRate(config, update, 100), expected, 1e-12)
            << shape << " over " << length << " at " << update;
      }
    }
  }
}

TEST(LearningRateTest, AStageOfOneUpdateDecaysWithoutDividingByZero) {
  v1::OptimizerConfig config = Config();
  *config.mutable_lr() = MakeSchedule({{0, 1.0}});
  config.set_decay("linear");
  config.set_decay_to_fraction(0);
  EXPECT_EQ(LearningRate(config, 0, 0), 1.0);
  EXPECT_EQ(LearningRate(config, 1, 0), 0.0);
}

TEST(GlobalNormTest, IsTheEuclideanNormAndDoesNotOverflow) {
  Rng rng = TestRng(4);
  for (const size_t count : {0, 1, 7, 8, 9, 1000}) {
    const std::vector<float> values = RandomValues(count, rng, 3);
    double squares = 0;
    for (const float value : values) squares += static_cast<double>(value) * value;
    EXPECT_NEAR(GlobalNorm(values), std::sqrt(squares), 1e-12 * (1 + std::sqrt(squares)));
  }
  EXPECT_DOUBLE_EQ(GlobalNorm(std::vector<float>{3e38f, 3e38f}), 3e38f * std::sqrt(2.0));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(GlobalNorm(std::vector<float>{1, nan})));
}

}  // namespace
}  // namespace r1::learner
