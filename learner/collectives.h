// Collective operations between the learner's ranks; the only place that knows MPI. Sums are taken
// in rank order, so that equal inputs give equal bits.
//
// Every rank must make the same calls in the same order, from one thread. Errors of MPI itself end
// the job: all ranks exit together.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "common/status.h"

namespace r1::learner {

class Collectives {
 public:
  // MPI when the process was started by mpirun or srun, else a single rank without MPI.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Collectives>> Create();
  virtual ~Collectives() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Element-wise sum over ranks, in place, the same bits on every rank.
  virtual void AllReduceSum(std::span<float> values) = 0;
  virtual void AllReduceSum(std::span<double> values) = 0;
  virtual void AllReduceSum(std::span<int64_t> values) = 0;
  // Rank 0's value to all.
  virtual void Broadcast(std::string& value) = 0;
  virtual void Barrier() = 0;
  // Ends every rank of the job now.
  [[noreturn]] virtual void Abort(int exit_code) = 0;
};

// The largest value over ranks, the same on each; values are not negative. Collective.
double AllReduceMax(Collectives& collectives, double value);

// What any rank has, on each of them, sorted. Names hold no line break. Collective.
std::set<std::string> AllGatherNames(Collectives& collectives, const std::set<std::string>& own);

// True under mpirun or srun, decided from the environment alone.
bool LaunchedByMpi();

}  // namespace r1::learner
