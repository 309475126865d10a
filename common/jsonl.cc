#include "common/jsonl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace r1 {
namespace {

constexpr size_t kBufferBytes = 1 << 16;

absl::Status ReadFailed(const std::string& path, absl::string_view what, int error) {
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  const bool missing = error == ENOENT || error == ENOTDIR;
  return missing ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonlReader>> JsonlReader::Open(const std::string& path,
                                                               size_t line_bytes_max) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ReadFailed(path, "open", errno);
  return std::unique_ptr<JsonlReader>(new JsonlReader(path, file, line_bytes_max));
}

JsonlReader::JsonlReader(std::string path, int file, size_t line_bytes_max)
    : path_(std::move(path)), file_(file), line_bytes_max_(line_bytes_max) {}

JsonlReader::~JsonlReader() { close(file_); }

absl::StatusOr<bool> JsonlReader::FillBuffer() {
  buffer_.resize(kBufferBytes);
  buffer_at_ = 0;
  ssize_t got;
  do {
    got = read(file_, buffer_.data(), buffer_.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    const int error = errno;
    buffer_.clear();
    return ReadFailed(path_, "read", error);
  }
  buffer_.resize(static_cast<size_t>(got));
  digest_.Update(buffer_);
  return got > 0;
}

absl::StatusOr<bool> JsonlReader::ReadLine() {
  line_.clear();
  too_long_ = false;
  for (bool any = false;; any = true) {
    if (buffer_at_ == buffer_.size()) {
      R1_ASSIGN_OR_RETURN(const bool more, FillBuffer());
      if (!more) return any;
    }
    const absl::string_view left = absl::string_view(buffer_).substr(buffer_at_);
    const size_t line_break = left.find('\n');
    const absl::string_view part = left.substr(0, line_break);
    too_long_ = too_long_ || part.size() > line_bytes_max_ - line_.size();
    if (!too_long_) line_.append(part.data(), part.size());
    if (line_break != absl::string_view::npos) {
      buffer_at_ += line_break + 1;
      return true;
    }
    buffer_at_ = buffer_.size();
  }
}

absl::StatusOr<bool> JsonlReader::Next(JsonlRow& row) {
  do {
    R1_ASSIGN_OR_RETURN(const bool more, ReadLine());
    at_end_ = !more;
    if (at_end_) return false;
    ++line_number_;
  } while (!too_long_ && absl::StripAsciiWhitespace(line_).empty());

  row = JsonlRow();
  row.line = line_number_;
  row.bytes = line_.size();
  row.where = absl::StrCat(path_, ":", line_number_);
  if (too_long_) {
    row.status = absl::ResourceExhaustedError(
        absl::StrCat(row.where, ": the line is longer than ", line_bytes_max_, " bytes"));
    return true;
  }
  row.text = line_;
  absl::StatusOr<nlohmann::json> parsed = ParseJson(line_, row.where);
  if (!parsed.ok()) {
    row.status = parsed.status();
  } else if (!parsed->is_object()) {
    row.status = absl::InvalidArgumentError(
        absl::StrCat(row.where, ": expected an object, found ", DescribeJson(*parsed)));
  } else {
    row.object = *std::move(parsed);
  }
  return true;
}

std::string JsonlReader::Sha256Hex() {
  R1_CHECK(at_end_);
  return digest_.Hex();
}

}  // namespace r1
