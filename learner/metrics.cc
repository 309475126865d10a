#include "learner/metrics.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace r1::learner {
namespace {

constexpr uint64_t kMetricsBytesMax = uint64_t{4} << 30;
constexpr size_t kWarningsMax = 10;
constexpr int64_t kIntegerMax = int64_t{1} << 53;  // exact in every JSON reader

std::string JsonNumber(double value) {
  if (!std::isfinite(value)) return "null";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end.ptr);
}

}  // namespace

std::string FormatMetricsRow(const MetricsRow& row) {
  std::string line = absl::StrCat("{\"stage\":", JsonString(row.stage), ",\"step\":", row.step,
                                  ",\"update\":", row.update, ",\"stage_index\":", row.stage_index);
  for (const auto& [name, value] : row.values) {
    absl::StrAppend(&line, ",", JsonString(name), ":", JsonNumber(value));
  }
  return line + "}\n";
}

absl::StatusOr<MetricsRow> ParseMetricsRow(absl::string_view line, absl::string_view where) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json object, ParseJson(line, where));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected an object, found ", DescribeJson(object)));
  }
  const JsonFields fields(object, std::string(where));
  MetricsRow row;
  R1_ASSIGN_OR_RETURN(row.stage, fields.String("stage"));
  R1_ASSIGN_OR_RETURN(row.step, fields.Integer("step", {0, kIntegerMax}));
  R1_ASSIGN_OR_RETURN(row.update, fields.Integer("update", {0, kIntegerMax}));
  R1_ASSIGN_OR_RETURN(const int64_t stage_index,
                      fields.Integer("stage_index", {0, std::numeric_limits<uint32_t>::max()}));
  row.stage_index = static_cast<uint32_t>(stage_index);
  for (const auto& [name, value] : object.items()) {
    if (value.is_number()) row.values[name] = value.get<double>();
    if (value.is_null()) row.values[name] = std::numeric_limits<double>::quiet_NaN();
  }
  for (const char* name : {"step", "update", "stage_index"}) row.values.erase(name);
  return row;
}

absl::StatusOr<MetricsFile> ReadMetrics(FileSystem& filesystem, const std::string& path) {
  R1_ASSIGN_OR_RETURN(const std::string text, filesystem.Read(path, kMetricsBytesMax));
  MetricsFile file;
  size_t skipped = 0;
  const auto skip = [&](std::string warning) {
    if (++skipped <= kWarningsMax) file.warnings.push_back(std::move(warning));
  };
  absl::string_view rest = text;
  for (int64_t line_number = 1; !rest.empty(); ++line_number) {
    const std::string where = absl::StrCat(path, ":", line_number);
    const size_t end = rest.find('\n');
    if (end == absl::string_view::npos) {
      skip(absl::StrCat(where, ": the last line is torn after ", rest.size(), " bytes: ignored"));
      break;
    }
    auto row = ParseMetricsRow(rest.substr(0, end), where);
    if (row.ok()) {
      file.rows.push_back(*std::move(row));
    } else {
      skip(absl::StrCat(row.status().message(), ": ignored"));
    }
    rest.remove_prefix(end + 1);
    file.bytes = text.size() - rest.size();
  }
  if (skipped > kWarningsMax) {
    file.warnings.push_back(absl::StrCat(path, ": ", skipped - kWarningsMax, " more"));
  }
  return file;
}

absl::StatusOr<std::unique_ptr<MetricsWriter>> MetricsWriter::Open(FileSystem& filesystem,
                                                                   const std::string& path) {
  if (filesystem.Exists(path)) {
    R1_ASSIGN_OR_RETURN(const MetricsFile earlier, ReadMetrics(filesystem, path));
    R1_RETURN_IF_ERROR(filesystem.Truncate(path, earlier.bytes));
  }
  R1_ASSIGN_OR_RETURN(auto file, AppendFile::Open(filesystem, path));
  return std::unique_ptr<MetricsWriter>(new MetricsWriter(std::move(file)));
}

absl::Status MetricsWriter::Append(const MetricsRow& row) {
  for (const auto& [name, value] : row.values) {
    if (!std::isfinite(value)) ++nonfinite_values_;
  }
  return file_->Append(FormatMetricsRow(row));
}

absl::StatusOr<uint64_t> MetricsWriter::Sync() {
  R1_RETURN_IF_ERROR(file_->Sync());
  return file_->bytes();
}

}  // namespace r1::learner
