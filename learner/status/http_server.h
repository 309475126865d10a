// A small read-only HTTP/1.1 server for the status page, on cpp-httplib, which no other file sees.
// What that library leaves open is closed here: every request has a byte limit and a deadline,
// connections and threads are bounded, a slow client makes way when others wait, only GET and HEAD
// reach the handler, bodies are never read, one request is served per connection. There is no TLS
// yet, so any address but loopback is refused; and because a browser may be tricked into sending
// another site's requests to loopback (DNS rebinding), so is any Host header that does not name
// loopback.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/status.h"

namespace r1::learner {

struct HttpRequest {
  std::string path;   // as it was sent, percent-encoded
  std::string query;  // after the question mark, undecoded
};

struct HttpReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Called from several threads at once; for HEAD too, whose body is then not sent.
using HttpHandler = std::function<HttpReply(const HttpRequest&)>;

struct HttpLimits {
  int threads = 4;
  int waiting_max = 64;              // accepted connections without a thread; more are answered 503
  size_t request_bytes_max = 16384;  // request line and headers
  double request_seconds_max = 5;    // to send them
  double crowded_seconds_max = 0.5;  // the same, when other connections wait
  double reply_seconds_max = 10;     // to take the reply
};

// Thread-safe. Serves from Start until it is destroyed, which takes less than a second even with
// clients connected.
class HttpServer {
 public:
  // `address` is HOST:PORT with HOST 127.x.x.x, localhost or [::1]; port 0 = any free one. Errors:
  // InvalidArgument for another form, PermissionDenied for an address that is not loopback,
  // Unavailable when it cannot be bound.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& address, HttpHandler handler, const HttpLimits& limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // "127.0.0.1:8080", with the port that was bound.
  const std::string& address() const { return address_; }

 private:
  class Impl;
  HttpServer(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace r1::learner
