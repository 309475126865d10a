// Deterministic simulation: the real ledger, pool and lease book under a simulated clock, network
// and processes. Whatever is dropped, delayed, duplicated, cut off, stalled or killed, the run ends
// with the weights and evaluations of an undisturbed one, soon after the faults stop.
//
// R1_SIM_SEED=n runs one seed again, R1_SIM_SEEDS=n sets their number.

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "tests/sim/sim_learner.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/sim_world.h"

namespace r1::sim {
namespace {

constexpr double kQuietAfter = 6;
// From the last fault to the end: leases (5 s) and workers (2 s) run out once, then each of the six
// steps and their evaluations takes a few round trips.
constexpr double kEndWithin = 40;

struct Result {
  std::string failure;
  uint64_t learner_kills = 0;
  uint64_t worker_kills = 0;
  uint64_t events = 0;
};

Result Simulate(uint64_t seed) {
  Rng setup(seed, 0, RngPurpose::kTest, 0, 0);
  const auto one_of = [&setup](std::vector<double> values) {
    return values[setup.NextBelow(values.size())];
  };
  Plan plan;
  plan.lag = setup.NextBelow(3);
  plan.checkpoint_probability = one_of({0, 0.5, 1});
  const Faults faults{.drop = one_of({0, 0.02, 0.2}),
                      .duplicate = one_of({0, 0.02, 0.2}),
                      .delay_mean = one_of({0.001, 0.02, 0.1}),
                      .quiet_after = kQuietAfter};
  const double fault_every = one_of({0.2, 0.6, 2});
  const int workers = 1 + static_cast<int>(setup.NextBelow(3));

  World world(seed, faults);
  SimLearner learner(plan, world);
  std::vector<std::unique_ptr<SimWorker>> nodes;
  for (int node = 0; node < workers; ++node) {
    nodes.push_back(std::make_unique<SimWorker>(node, world, learner));
  }
  Result result;
  const std::function<void()> fault = [&] {
    if (!world.faulty()) return;
    SimWorker& node = *nodes[world.Below(nodes.size())];
    switch (world.Below(5)) {
      case 0:
        ++result.worker_kills;
        node.Kill();
        world.After(3 * world.Uniform(), [&node] { node.Start(); });
        break;
      case 1:
        node.Stall(6 * world.Uniform());
        break;
      case 2:
        world.CutOff(static_cast<int>(world.Below(nodes.size())), 4 * world.Uniform());
        break;
      case 3:
        if (learner.pool() == nullptr) break;
        ++result.learner_kills;
        learner.Kill();
        world.After(world.Uniform(), [&learner] { learner.Start(); });
        break;
      default:
        break;  // nothing: let it run
    }
    world.After(2 * fault_every * world.Uniform(), fault);
  };
  world.After(fault_every, fault);
  // Time passes at the learner also when nobody calls.
  const std::function<void()> tick = [&] { world.After(0.25, tick); };
  tick();

  const double end = kQuietAfter + kEndWithin;
  while (learner.failure().empty() && !learner.done() && world.Step(end)) {
    learner.Advance();
    ++result.events;
  }
  if (!learner.failure().empty()) {
    result.failure = learner.failure();
  } else if (!learner.done()) {
    result.failure = absl::StrCat("not done ", kEndWithin, " s after the faults stopped");
  } else if (learner.outcome() != Undisturbed(plan)) {
    result.failure = "the run ended in other weights or evaluations";
  }
  return result;
}

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, EveryRunEndsAsIfUndisturbed) {
  SetLogLevel(LogLevel::kError);
  const uint64_t only = FromEnvironment("R1_SIM_SEED", 0);
  const uint64_t first = only != 0 ? only : 1;
  const uint64_t last = only != 0 ? only : FromEnvironment("R1_SIM_SEEDS", 10000);
  Result total;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Result result = Simulate(seed);
    ASSERT_EQ(result.failure, "") << "R1_SIM_SEED=" << seed << " runs it again";
    total.events += result.events;
    total.learner_kills += result.learner_kills;
    total.worker_kills += result.worker_kills;
  }
  std::cout << "seeds " << last - first + 1 << ", events " << total.events << ", learner kills "
            << total.learner_kills << ", worker kills " << total.worker_kills << std::endl;
  if (only == 0) {
    EXPECT_GT(total.learner_kills, last / 10);
    EXPECT_GT(total.worker_kills, last / 10);
  }
}

TEST(SimulationTest, OneSeedIsOneHistory) {
  SetLogLevel(LogLevel::kError);
  for (const uint64_t seed : {3, 4, 5}) {
    EXPECT_EQ(Simulate(seed).events, Simulate(seed).events);
  }
}

}  // namespace
}  // namespace r1::sim
