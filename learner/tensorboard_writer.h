// TensorBoard event files, written natively: every row of metrics.jsonl as scalars. The horizontal
// axis is the step of the whole run: steps of a stage count from where the stages before it ended.
//
// An event file is a sequence of records, little-endian: u64 length, u32 masked crc32c of the
// length, data, u32 masked crc32c of the data. The data is a TensorboardEvent.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/filesystem.h"
#include "learner/append_file.h"
#include "learner/metrics.h"

namespace r1::learner {

// TensorFlow's mask of a crc32c that is stored beside its data.
constexpr uint32_t MaskCrc32c(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// Not thread-safe. Borrows file system and clock.
class TensorboardWriter {
 public:
  // Starts a new file in the folder: events.out.tfevents.<unix seconds>.<host>.<pid>.<number>,
  // `number` being the run's incarnation. `earlier` are the rows of metrics.jsonl that the run goes
  // on from; what older event files hold beyond them is declared void.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TensorboardWriter>> Create(
      FileSystem& filesystem, const std::string& folder, uint64_t number,
      const std::vector<MetricsRow>& earlier, const Clock& clock);

  // On an error (full disk) the row is missing in TensorBoard, and later ones are not harmed.
  [[nodiscard]] absl::Status Append(const MetricsRow& row);

  const std::string& path() const { return file_->path(); }

 private:
  explicit TensorboardWriter(const Clock& clock) : clock_(clock) {}
  int64_t RunStep(const MetricsRow& row);
  absl::Status AppendRecord(const std::string& event);

  const Clock& clock_;
  std::unique_ptr<AppendFile> file_;
  std::map<uint32_t, int64_t> stage_starts_;  // run step at which a stage began, by stage_index
  int64_t last_step_ = 0;
};

}  // namespace r1::learner
