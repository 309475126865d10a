// The run's samples themselves, for people and scripts: samples/02_rl_step_000120.jsonl.zst
// (training) and samples/02_rl_step_000120.eval_<set>.jsonl.zst, one JSON object a sample.
// `zstdcat` reads them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/filesystem.h"
#include "proto/checkpoint.pb.h"
#include "proto/status.pb.h"

namespace r1::learner {

// Samples that were scored for one step of a stage, or for the evaluation of that step on one set.
struct SampleBatch {
  std::string stage;
  uint32_t stage_index = 0;
  int64_t step = 0;
  std::string eval_set;  // empty = training samples
  std::vector<v1::SampleRecord> samples;
};

// One line of the file, line break included. Invalid UTF-8 becomes U+FFFD, NaN becomes null.
std::string FormatSample(const SampleBatch& batch, const v1::SampleRecord& sample);

// Not thread-safe. Borrows the file system.
class SampleWriter {
 public:
  struct Options {
    std::string folder;
    uint64_t bytes_max = 64 << 20;  // all samples are kept until the files have this size together,
    int64_t every_n = 20;           // then those of every n-th step of a stage
  };
  // Counts the bytes that are there; makes the folder.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SampleWriter>> Open(FileSystem& filesystem,
                                                                          Options options);

  // Writes the batch's file under a temporary name and renames it. False when the limit leaves the
  // batch out.
  [[nodiscard]] absl::StatusOr<bool> Write(const SampleBatch& batch);
  // What was written survives a power cut afterwards. Call it before a checkpoint is saved; samples
  // written after the last checkpoint are made again anyway.
  [[nodiscard]] absl::Status Sync();
  // Of all sample files, compressed.
  uint64_t bytes() const { return bytes_; }

 private:
  SampleWriter(FileSystem& filesystem, Options options)
      : filesystem_(filesystem), options_(std::move(options)) {}

  FileSystem& filesystem_;
  const Options options_;
  uint64_t bytes_ = 0;
  std::vector<std::string> unsynced_;  // paths
};

// Removes the sample files of what comes after the checkpoint: later steps and stages, evaluations
// that were still pending, and temporaries. Null: the run begins again, everything goes. Other
// files are left alone. A missing folder is fine.
[[nodiscard]] absl::Status CutBackSamples(FileSystem& filesystem, const std::string& folder,
                                          const v1::CheckpointState* checkpoint);

}  // namespace r1::learner
