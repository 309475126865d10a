#include "learner/collectives.h"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/log.h"

namespace r1::learner {
namespace {

// One rank, no MPI: everything is already the sum.
class SingleRank : public Collectives {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void AllReduceSum(std::span<float>) override {}
  void AllReduceSum(std::span<double>) override {}
  void AllReduceSum(std::span<int64_t>) override {}
  void Broadcast(std::string&) override {}
  void Barrier() override {}
  [[noreturn]] void Abort(int exit_code) override { _exit(exit_code); }
};

template <typename T>
MPI_Datatype TypeOf();
template <>
MPI_Datatype TypeOf<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype TypeOf<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype TypeOf<int64_t>() {
  return MPI_INT64_T;
}

class MpiRanks : public Collectives {
 public:
  MpiRanks() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiRanks() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void AllReduceSum(std::span<float> values) override { OrderedSum(values); }
  void AllReduceSum(std::span<double> values) override { OrderedSum(values); }
  void AllReduceSum(std::span<int64_t> values) override { OrderedSum(values); }

  void Broadcast(std::string& value) override {
    uint64_t bytes = value.size();
    MPI_Bcast(&bytes, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    value.resize(bytes);
    for (uint64_t done = 0; done < bytes; done += kBlockBytes) {
      MPI_Bcast(value.data() + done, static_cast<int>(std::min(kBlockBytes, bytes - done)),
                MPI_BYTE, 0, MPI_COMM_WORLD);
    }
  }
  void Barrier() override { MPI_Barrier(MPI_COMM_WORLD); }
  [[noreturn]] void Abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
  }

 private:
  static constexpr uint64_t kBlockBytes = 64 << 20;

  // MPI_Allreduce leaves the order of the sum to the library. Here every rank sums one slice of
  // each block over all ranks in rank order, and the slices are gathered again.
  template <typename T>
  void OrderedSum(std::span<T> values) {
    const size_t block = std::max<size_t>(kBlockBytes / sizeof(T) / static_cast<size_t>(size_), 1) *
                         static_cast<size_t>(size_);
    for (size_t begin = 0; begin < values.size(); begin += block) {
      SumBlock(values.subspan(begin, std::min(block, values.size() - begin)));
    }
  }

  template <typename T>
  void SumBlock(std::span<T> values) {
    const auto ranks = static_cast<size_t>(size_);
    const size_t slice = (values.size() + ranks - 1) / ranks;
    std::vector<T> padded(slice * ranks);
    std::copy(values.begin(), values.end(), padded.begin());
    std::vector<T> parts(slice * ranks);
    MPI_Alltoall(padded.data(), static_cast<int>(slice), TypeOf<T>(), parts.data(),
                 static_cast<int>(slice), TypeOf<T>(), MPI_COMM_WORLD);
    for (size_t rank = 1; rank < ranks; ++rank) {
      for (size_t i = 0; i < slice; ++i) parts[i] += parts[rank * slice + i];
    }
    MPI_Allgather(parts.data(), static_cast<int>(slice), TypeOf<T>(), padded.data(),
                  static_cast<int>(slice), TypeOf<T>(), MPI_COMM_WORLD);
    std::copy_n(padded.begin(), values.size(), values.begin());
  }

  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

double AllReduceMax(Collectives& collectives, double value) {
  // A sum of one slot a rank.
  std::vector<double> slots(static_cast<size_t>(collectives.size()));
  slots[static_cast<size_t>(collectives.rank())] = value;
  collectives.AllReduceSum(std::span<double>(slots));
  return *std::max_element(slots.begin(), slots.end());
}

std::set<std::string> AllGatherNames(Collectives& collectives, const std::set<std::string>& own) {
  // A sum of the ranks' lengths, then of their letters, each rank's in its own place.
  const std::string text = absl::StrJoin(own, "\n");
  const auto ranks = static_cast<size_t>(collectives.size());
  const auto rank = static_cast<size_t>(collectives.rank());
  std::vector<int64_t> ends(ranks);
  std::fill(ends.begin() + static_cast<std::ptrdiff_t>(rank), ends.end(), text.size() + 1);
  collectives.AllReduceSum(std::span<int64_t>(ends));
  std::vector<int64_t> letters(static_cast<size_t>(ends.back()));
  const int64_t begin = rank == 0 ? 0 : ends[rank - 1];
  for (size_t i = 0; i < text.size(); ++i) {
    letters[static_cast<size_t>(begin) + i] = static_cast<unsigned char>(text[i]);
  }
  letters[static_cast<size_t>(ends[rank]) - 1] = '\n';
  collectives.AllReduceSum(std::span<int64_t>(letters));
  const std::string all(letters.begin(), letters.end());
  return absl::StrSplit(all, '\n', absl::SkipEmpty());
}

bool LaunchedByMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<Collectives>> Collectives::Create() {
  if (!LaunchedByMpi()) return std::make_unique<SingleRank>();
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    return absl::UnavailableError("MPI_Init_thread failed");
  }
  if (provided < MPI_THREAD_FUNNELED) {
    return absl::FailedPreconditionError(
        "this MPI library cannot be used beside other threads (MPI_THREAD_FUNNELED)");
  }
  return std::make_unique<MpiRanks>();
}

}  // namespace r1::learner
