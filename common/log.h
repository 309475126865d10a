// Log lines: "2026-11-22T10:00:00.123Z INFO learner/0 file.cc:12] text". R1_LOG because LibTorch
// defines LOG. Thread-safe; a line is written with one write(2). Lines go to stderr until
// SetLogFile.
#pragma once

#include <ostream>
#include <sstream>
#include <string>

#include "absl/status/status.h"

namespace r1 {

enum class LogLevel { kInfo, kWarning, kError };

// Names this process in its lines, as in "worker/1".
void SetLogRole(const std::string& role);

// Appends lines to this file from now on (also to stderr when `tee`).
[[nodiscard]] absl::Status SetLogFile(const std::string& path, bool tee);

// Lines below this level are dropped.
void SetLogLevel(LogLevel level);

// Called with each error and warning line, for the status page's events. May be null. Must not log.
using LogObserver = void (*)(LogLevel level, const std::string& text);
void SetLogObserver(LogObserver observer);

// One line, written when it goes out of scope. Use R1_LOG.
class LogLine {
 public:
  LogLine(LogLevel level, const char* file, int line) : level_(level), file_(file), line_(line) {}
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;
  std::ostream& stream() { return text_; }

 private:
  LogLevel level_;
  const char* file_;
  int line_;
  std::ostringstream text_;
};

}  // namespace r1

// R1_LOG(kInfo) << "step complete" << …;
#define R1_LOG(level) ::r1::LogLine(::r1::LogLevel::level, __FILE__, __LINE__).stream()
