// A simulated world in one thread: a clock that jumps from event to event, and a network that
// delays, reorders, drops and duplicates messages and cuts off nodes. Everything follows from the
// seed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <queue>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/rng.h"

namespace r1::sim {

struct Faults {
  double drop = 0;       // probability that a message is lost
  double duplicate = 0;  // … or arrives twice
  double delay_mean = 0.01;
  double quiet_after = 0;  // no faults from this time on
};

class World {
 public:
  World(uint64_t seed, const Faults& faults)
      : random_(seed, 0, RngPurpose::kTest, 1, 0), faults_(faults) {}

  const ManualClock& clock() const { return clock_; }
  double now() const { return clock_.MonotonicSeconds(); }
  bool faulty() const { return now() < faults_.quiet_after; }

  uint64_t Below(uint64_t bound) { return random_.NextBelow(bound); }
  double Uniform() { return random_.NextUniform(); }
  bool Chance(double probability) { return Uniform() < probability; }

  void After(double seconds, std::function<void()> event) {
    events_.push({now() + seconds, next_order_++, std::move(event)});
  }

  // A message between the learner and node `node`.
  void Send(int node, const std::function<void()>& deliver) {
    if (faulty() && (now() < cut_until_[node] || Chance(faults_.drop))) return;
    After(Delay(), deliver);
    if (faulty() && Chance(faults_.duplicate)) After(Delay(), deliver);
  }
  void CutOff(int node, double seconds) { cut_until_[node] = now() + seconds; }

  // Runs the next event; false when there is none before `end`.
  bool Step(double end) {
    if (events_.empty() || events_.top().time > end) return false;
    const Event event = events_.top();
    events_.pop();
    if (event.time > now()) clock_.Advance(event.time - now());
    event.run();
    return true;
  }

 private:
  struct Event {
    double time;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const {  // the earliest on top
      return std::pair(time, order) > std::pair(other.time, other.order);
    }
  };

  double Delay() { return faults_.delay_mean * 2 * Uniform() * (Chance(0.05) ? 20 : 1); }

  Rng random_;
  const Faults faults_;
  ManualClock clock_;
  std::priority_queue<Event> events_;
  uint64_t next_order_ = 0;
  std::map<int, double> cut_until_;
};

}  // namespace r1::sim
