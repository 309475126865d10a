#include "learner/run_recorder.h"

#include "common/clock.h"
#include "common/log.h"

namespace r1::learner {
namespace {

void LogIfError(const absl::Status& status) {
  if (!status.ok()) R1_LOG(kWarning) << status.message() << " (the run goes on)";
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunRecorder>> RunRecorder::Open(const v1::Config& config,
                                                               const RunDirectory& directory,
                                                               StatusBoard& board) {
  FileSystem& filesystem = RealFileSystem();
  std::unique_ptr<RunRecorder> recorder(new RunRecorder(directory, board,
                                                        {.folder = directory.checkpoints_folder(),
                                                         .keep = config.checkpoint().keep(),
                                                         .keep_stage_ends = true}));
  R1_ASSIGN_OR_RETURN(recorder->metrics_,
                      MetricsWriter::Open(filesystem, directory.metrics_path()));
  R1_ASSIGN_OR_RETURN(const std::vector<MetricsRow> rows, recorder->ReadRows());
  board.RestoreRows(rows);
  R1_ASSIGN_OR_RETURN(recorder->tensorboard_,
                      TensorboardWriter::Create(filesystem, directory.path(),
                                                directory.incarnation(), rows, RealClock()));
  R1_ASSIGN_OR_RETURN(
      recorder->samples_,
      SampleWriter::Open(filesystem,
                         {.folder = directory.samples_folder(),
                          .bytes_max = static_cast<uint64_t>(config.samples().bytes_max()),
                          .every_n = config.samples().every_n()}));
  return recorder;
}

void RunRecorder::WriteRow(const MetricsRow& row) {
  LogIfError(metrics_->Append(row));
  LogIfError(tensorboard_->Append(row));
  board_.AddRow(row);
}

void RunRecorder::WriteSamples(SampleBatch batch) {
  LogIfError(samples_->Write(batch).status());
  board_.AddSamples(std::move(batch.samples));
}

absl::Status RunRecorder::Sync(v1::CheckpointState& state) {
  R1_RETURN_IF_ERROR(samples_->Sync());
  R1_ASSIGN_OR_RETURN(const uint64_t metrics_bytes, metrics_->Sync());
  RunDirectory::RecordOffsets(metrics_bytes, &state);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MetricsRow>> RunRecorder::ReadRows() const {
  R1_ASSIGN_OR_RETURN(MetricsFile file, ReadMetrics(RealFileSystem(), directory_.metrics_path()));
  for (const std::string& warning : file.warnings) R1_LOG(kWarning) << warning;
  return std::move(file.rows);
}

}  // namespace r1::learner
