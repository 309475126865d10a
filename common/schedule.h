// A number that may change at an update of its stage (v1::Schedule). Pure arithmetic on the
// resolved config; points ascend and the first one is from update 0.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/config.pb.h"

namespace r1 {

// The schedule's value at an update (counted from 0) of the stage.
inline double ScheduleAt(const v1::Schedule& schedule, int64_t update) {
  double value = 0;
  for (const v1::SchedulePoint& point : schedule.points()) {
    if (point.from_update() <= update) value = point.value();
  }
  return value;
}

// The largest value that it ever has.
inline double ScheduleMax(const v1::Schedule& schedule) {
  double largest = ScheduleAt(schedule, 0);
  for (const v1::SchedulePoint& point : schedule.points()) {
    largest = std::max(largest, point.value());
  }
  return largest;
}

inline bool IsConstant(const v1::Schedule& schedule) {
  return std::all_of(schedule.points().begin(), schedule.points().end(),
                     [&](const auto& point) { return point.value() == ScheduleAt(schedule, 0); });
}

inline v1::Schedule ConstantSchedule(double value) {
  v1::Schedule schedule;
  schedule.add_points()->set_value(value);
  return schedule;
}

}  // namespace r1
