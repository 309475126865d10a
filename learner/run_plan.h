// What a run needs of the hardware, computed from its config and its model's sizes before anything
// starts: bytes in the memory of a learner rank and of a rollout worker, operations and bytes of
// every phase of a step, and the time below which no phase can come. Pure arithmetic.
//
// Memory is planned for the longest sequences and full micro-batches; times for PlanLoad's lengths,
// by default the longest too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "proto/config.pb.h"

namespace r1::learner {

// One device that a learner rank or a rollout worker has to itself.
struct Accelerator {
  std::string name;
  double memory_bytes = 0;
  // What programs reach, not the data sheet's peak.
  double bytes_per_second = 0;
  double flops = 0;
  // Bytes of a weight, activation or cached value in a pass: 2 = bf16. fp32 where it is 4, and then
  // the learner's master weights are the ones that it computes with.
  int value_bytes = 2;
};
// InvalidArgument lists the known ones: h200, h100, h800, a100, cpu.
[[nodiscard]] absl::StatusOr<Accelerator> FindAccelerator(const std::string& name);

struct MemoryLine {
  std::string what;
  double bytes = 0;          // of each rank or worker, which holds all of it: what r1 does today
  double sharded_bytes = 0;  // were it cut into equal parts, one a device
};

struct MemoryPlan {
  std::string who;  // "learner rank", "rollout worker"
  int count = 0;    // how many there are
  std::vector<MemoryLine> lines = {};
  double bytes() const;
  double sharded_bytes() const;
};

// Of all devices together, for one step.
struct Phase {
  std::string what;
  int devices = 0;  // that work in it
  double flops = 0;
  double bytes = 0;    // that memory must move
  double seconds = 0;  // the floor: the slower of both, work shared evenly
};

struct StagePlan {
  std::string name;
  std::string kind;
  double steps = 0;   // updates where a step is one
  double tokens = 0;  // of a step, prompts included
  std::vector<Phase> phases = {};
  double seconds() const;  // of a step, phases one after another
};

struct RunPlan {
  int64_t parameters = 0;
  int64_t active_parameters = 0;
  Accelerator accelerator;
  MemoryPlan learner = {};
  MemoryPlan rollout = {};
  // Samples that a worker's memory holds at a time.
  double running_samples = 0;
  std::vector<StagePlan> stages = {};
  // What does not fit, a sentence each, with what would.
  std::vector<std::string> problems = {};
};

struct PlanLoad {
  // Shared between the learner's ranks and the workers in the config's proportion; 0 = as many as
  // the config has of both.
  int devices = 0;
  // Mean lengths; 0 = as long as they may be.
  int prompt_tokens = 0;
  int response_tokens = 0;
};
RunPlan PlanRun(const v1::Config& config, const ModelSpec& spec, const Accelerator& accelerator,
                const PlanLoad& load);

}  // namespace r1::learner
