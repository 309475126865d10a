#include "common/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace r1 {
namespace {

// The one piece of global mutable state besides the registries: where lines go.
struct LogSink {
  std::mutex mutex;
  int file = -1;
  bool to_stderr = true;
  std::string role = "r1";
  std::atomic<LogLevel> level{LogLevel::kInfo};
  std::atomic<LogObserver> observer{nullptr};
};

LogSink& Sink() {
  static LogSink* sink = new LogSink;  // never destroyed: other threads may log during exit
  return *sink;
}

void WriteAll(int file, const std::string& line) {
  const char* data = line.data();
  size_t left = line.size();
  while (left > 0) {
    const ssize_t written = write(file, data, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nowhere left to report it
    data += written;
    left -= static_cast<size_t>(written);
  }
}

std::string UtcNow() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc;
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, millis);
}

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kError:
      return "ERROR";
  }
  return "?";
}

}  // namespace

void SetLogRole(const std::string& role) {
  std::lock_guard<std::mutex> lock(Sink().mutex);
  Sink().role = role;
}

absl::Status SetLogFile(const std::string& path, bool tee) {
  const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot open log file: ", std::strerror(errno)));
  }
  std::lock_guard<std::mutex> lock(Sink().mutex);
  if (Sink().file >= 0) close(Sink().file);
  Sink().file = file;
  Sink().to_stderr = tee;
  return absl::OkStatus();
}

void SetLogLevel(LogLevel level) { Sink().level = level; }
void SetLogObserver(LogObserver observer) { Sink().observer = observer; }

LogLine::~LogLine() {
  LogSink& sink = Sink();
  if (level_ < sink.level.load()) return;
  const std::string text = text_.str();
  const char* slash = std::strrchr(file_, '/');
  {
    std::lock_guard<std::mutex> lock(sink.mutex);
    const std::string line =
        absl::StrCat(UtcNow(), " ", LevelName(level_), " ", sink.role, " ",
                     slash == nullptr ? file_ : slash + 1, ":", line_, "] ", text, "\n");
    if (sink.file >= 0) WriteAll(sink.file, line);
    if (sink.to_stderr) WriteAll(STDERR_FILENO, line);
  }
  if (LogObserver observer = sink.observer.load();
      observer != nullptr && level_ != LogLevel::kInfo) {
    observer(level_, text);
  }
}

}  // namespace r1
