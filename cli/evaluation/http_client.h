// POST requests to one server over HTTP or HTTPS, on cpp-httplib, which no other file here sees.
// Certificates are verified; redirects are not followed; replies are bounded.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"

namespace r1::cli {

struct HttpAnswer {
  int status = 0;
  std::string body;
  double retry_after_seconds = 0;  // of a Retry-After header in seconds; 0 = none
};

// One request at a time; Abort may come from another thread.
class HttpClient {
 public:
  struct Options {
    double connect_seconds = 30;
    double quiet_seconds = 600;  // without a byte from the server
    size_t answer_bytes_max = size_t{64} << 20;
  };

  // `origin` is "http://host:port" or "https://host".
  HttpClient(const std::string& origin, const Options& options);
  ~HttpClient();

  // The server's answer, whatever its status. Unavailable: no connection, or it broke;
  // ResourceExhausted: the answer is too long; PermissionDenied: the certificate is not trusted;
  // Cancelled: Abort.
  [[nodiscard]] absl::StatusOr<HttpAnswer> Post(
      const std::string& path, const std::vector<std::pair<std::string, std::string>>& headers,
      const std::string& body);

  // Ends a Post that waits.
  void Abort();

 private:
  class Impl;
  const Options options_;
  std::unique_ptr<Impl> impl_;
  absl::Mutex mutex_;
  bool is_posting_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_aborted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace r1::cli
