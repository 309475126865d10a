// What rank 0 leaves behind as the run goes on: rows, samples and checkpoints, in files and on the
// status page. A full disk or another error of these files is logged and never ends the run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "learner/checkpoint.h"
#include "learner/metrics.h"
#include "learner/run_directory.h"
#include "learner/sample_writer.h"
#include "learner/status/status_board.h"
#include "learner/tensorboard_writer.h"
#include "proto/config.pb.h"

namespace r1::learner {

// Not thread-safe. Borrows directory and board.
class RunRecorder {
 public:
  // After RunDirectory::CutBack. Puts the rows of earlier attempts on the board.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RunRecorder>> Open(
      const v1::Config& config, const RunDirectory& directory, StatusBoard& board);

  void WriteRow(const MetricsRow& row);
  void WriteSamples(SampleBatch batch);

  // Makes rows and samples durable and records their sizes in the state: before a checkpoint that
  // will cut back to them.
  [[nodiscard]] absl::Status Sync(v1::CheckpointState& state);
  CheckpointStore& checkpoints() { return checkpoints_; }

  // All rows of the run, earlier attempts included.
  [[nodiscard]] absl::StatusOr<std::vector<MetricsRow>> ReadRows() const;

 private:
  RunRecorder(const RunDirectory& directory, StatusBoard& board,
              CheckpointStore::Options checkpoints)
      : directory_(directory),
        board_(board),
        checkpoints_(RealFileSystem(), std::move(checkpoints)) {}

  const RunDirectory& directory_;
  StatusBoard& board_;
  CheckpointStore checkpoints_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<TensorboardWriter> tensorboard_;
  std::unique_ptr<SampleWriter> samples_;
};

}  // namespace r1::learner
