#include "learner/tensorboard_writer.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/hash.h"
#include "proto/tensorboard.pb.h"

namespace r1::learner {
namespace {

template <typename Integer>
void AppendLittleEndian(std::string& bytes, Integer number) {
  for (size_t i = 0; i < sizeof(number); ++i) bytes.push_back(static_cast<char>(number >> (8 * i)));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorboardWriter>> TensorboardWriter::Create(
    FileSystem& filesystem, const std::string& folder, uint64_t number,
    const std::vector<MetricsRow>& earlier, const Clock& clock) {
  std::unique_ptr<TensorboardWriter> writer(new TensorboardWriter(clock));
  for (const MetricsRow& row : earlier) writer->RunStep(row);
  const std::string name =
      absl::StrFormat("events.out.tfevents.%d.%s.%d.%d", static_cast<int64_t>(clock.UnixSeconds()),
                      HostName(), static_cast<int64_t>(getpid()), number);
  R1_ASSIGN_OR_RETURN(writer->file_, AppendFile::Open(filesystem, JoinPath(folder, name)));

  v1::TensorboardEvent first;
  first.set_wall_time(clock.UnixSeconds());
  first.set_file_version("brain.Event:2");
  R1_RETURN_IF_ERROR(writer->AppendRecord(first.SerializeAsString()));
  v1::TensorboardEvent restart;
  restart.set_wall_time(clock.UnixSeconds());
  restart.set_step(writer->last_step_ + 1);
  restart.mutable_session_log()->set_status(v1::TensorboardSessionLog::START);
  R1_RETURN_IF_ERROR(writer->AppendRecord(restart.SerializeAsString()));
  return writer;
}

int64_t TensorboardWriter::RunStep(const MetricsRow& row) {
  const int64_t start = stage_starts_.emplace(row.stage_index, last_step_).first->second;
  const int64_t step = start + row.step;
  last_step_ = std::max(last_step_, step);
  return step;
}

absl::Status TensorboardWriter::Append(const MetricsRow& row) {
  v1::TensorboardEvent event;
  event.set_wall_time(clock_.UnixSeconds());
  event.set_step(RunStep(row));
  for (const auto& [name, value] : row.values) {
    v1::TensorboardSummary::Value* scalar = event.mutable_summary()->add_value();
    scalar->set_tag(name);
    scalar->set_simple_value(static_cast<float>(value));
  }
  return AppendRecord(event.SerializeAsString());
}

absl::Status TensorboardWriter::AppendRecord(const std::string& event) {
  std::string record;
  AppendLittleEndian(record, static_cast<uint64_t>(event.size()));
  AppendLittleEndian(record, MaskCrc32c(Crc32c(record)));
  record += event;
  AppendLittleEndian(record, MaskCrc32c(Crc32c(event)));
  return file_->Append(record);
}

}  // namespace r1::learner
