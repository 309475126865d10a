#include "learner/status/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/clock.h"
#include "common/proto_json.h"

namespace r1::learner {
namespace {

constexpr char kJson[] = "application/json; charset=utf-8";
// How often a waiting thread looks whether the server stops or others wait.
constexpr int kPollMillis = 50;
// After the reply, what the client still sends is read away: closing with unread bytes would reset
// the connection, and the client would lose the reply.
constexpr size_t kDrainBytesMax = size_t{2} << 20;
constexpr int kDrainMillis = 20;
// Connections that the kernel holds until they are accepted.
constexpr int kBacklog = 128;
constexpr int kStartMillisMax = 5000;

const httplib::Headers& SecurityHeaders() {
  static const auto* headers = new httplib::Headers{
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
       "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Accept-Ranges", "none"},
      {"Cache-Control", "no-store"},
  };
  return *headers;
}

std::string RawReply(absl::string_view status_line, absl::string_view error) {
  const std::string body = ErrorToJson(absl::UnknownError(error));
  return absl::StrCat("HTTP/1.1 ", status_line, "\r\nContent-Type: ", kJson,
                      "\r\nConnection: close\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
}

struct LoopbackAddress {
  std::string host;
  int port = 0;
  int family = AF_INET;
};

absl::StatusOr<LoopbackAddress> ParseLoopback(const std::string& address) {
  const size_t colon = address.rfind(':');
  LoopbackAddress parsed;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &parsed.port) ||
      parsed.port < 0 || parsed.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "status.address: expected HOST:PORT with a port from 0 to 65535, found \"", address, "\""));
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[") && !absl::ConsumeSuffix(&host, "]")) {
    return absl::InvalidArgumentError(
        absl::StrCat("status.address: [ without ] in \"", address, "\""));
  }
  parsed.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, parsed.host.c_str(), &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) {
    return parsed;
  }
  if (inet_pton(AF_INET6, parsed.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6)) {
    parsed.family = AF_INET6;
    return parsed;
  }
  return absl::PermissionDeniedError(
      absl::StrCat("status.address: ", address,
                   " is not loopback; the page has no TLS and no log-in yet, so use "
                   "127.0.0.1 and reach it from elsewhere through ssh -L PORT:127.0.0.1:PORT"));
}

// A name under which a browser on this machine, or at the near end of a tunnel, reaches loopback.
bool NamesLoopback(absl::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && host.find(']', colon) == absl::string_view::npos) {
    host = host.substr(0, colon);
  }
  return absl::EqualsIgnoreCase(host, "localhost") || host == "[::1]" ||
         (absl::StartsWith(host, "127.") &&
          host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

// One client's connection as the library reads and writes it, within the limits. Used by one
// thread.
class ClientStream : public httplib::Stream {
 public:
  enum class Failure { kNone, kClosed, kTooLong, kTooSlow };

  ClientStream(int socket, const HttpLimits& limits, const std::atomic<bool>& stopping,
               const std::atomic<int>& waiting)
      : socket_(socket),
        limits_(limits),
        stopping_(stopping),
        waiting_(waiting),
        started_(RealClock().MonotonicSeconds()) {}

  bool is_readable() const override { return begin_ < end_; }
  bool is_writable() const override { return failure_ == Failure::kNone; }

  ssize_t read(char* data, size_t size) override {
    if (begin_ == end_ && !Fill()) return failure_ == Failure::kClosed ? 0 : -1;
    const size_t count = std::min(size, end_ - begin_);
    std::memcpy(data, buffer_ + begin_, count);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* data, size_t size) override {
    if (!replying_) {
      replying_ = true;
      started_ = progressed_ = RealClock().MonotonicSeconds();
    }
    while (true) {
      const ssize_t sent = send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        progressed_ = RealClock().MonotonicSeconds();
        return sent;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return -1;
      if (!Wait(POLLOUT)) return -1;
    }
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip = "loopback";
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    get_remote_ip_and_port(ip, port);
  }
  // The library refuses descriptors above FD_SETSIZE because its own streams use select(2). This
  // one does not, and the learner may well hold more than a thousand.
  socket_t socket() const override { return 0; }

  bool replying() const { return replying_; }
  bool received_anything() const { return received_ > 0; }
  Failure failure() const { return failure_; }

  // The last words, when the library has found none. Never waits.
  void SendNow(const std::string& reply) {
    send(socket_, reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void Drain() {
    shutdown(socket_, SHUT_WR);
    char scratch[4096];
    for (size_t drained = 0; drained < kDrainBytesMax && !stopping_;) {
      pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
      if (poll(&ready, 1, kDrainMillis) <= 0) return;
      const ssize_t count = recv(socket_, scratch, sizeof(scratch), MSG_DONTWAIT);
      if (count <= 0) return;
      drained += static_cast<size_t>(count);
    }
  }

 private:
  bool Fill() {
    if (failure_ != Failure::kNone) return false;
    const size_t left = limits_.request_bytes_max - received_;
    if (left == 0) {
      failure_ = Failure::kTooLong;
      return false;
    }
    if (!Wait(POLLIN)) return false;
    const ssize_t count = recv(socket_, buffer_, std::min(left, sizeof(buffer_)), MSG_DONTWAIT);
    if (count <= 0) {
      failure_ = Failure::kClosed;
      return false;
    }
    received_ += static_cast<size_t>(count);
    begin_ = 0;
    end_ = static_cast<size_t>(count);
    return true;
  }

  // Until the socket is ready; false when the time for it is over.
  bool Wait(short events) {
    while (!stopping_ && !Late()) {
      pollfd ready{.fd = socket_, .events = events, .revents = 0};
      const int count = poll(&ready, 1, kPollMillis);
      if (count > 0) return true;
      if (count < 0 && errno != EINTR) break;
    }
    failure_ = Failure::kTooSlow;
    return false;
  }

  // When others wait, a request must come quickly and a reply must go on moving.
  bool Late() const {
    const double now = RealClock().MonotonicSeconds();
    const double seconds_max = replying_ ? limits_.reply_seconds_max : limits_.request_seconds_max;
    if (now - started_ > seconds_max) return true;
    return waiting_ > 0 && now - (replying_ ? progressed_ : started_) > limits_.crowded_seconds_max;
  }

  const int socket_;
  const HttpLimits& limits_;
  const std::atomic<bool>& stopping_;
  const std::atomic<int>& waiting_;
  double started_;
  double progressed_ = 0;
  bool replying_ = false;
  Failure failure_ = Failure::kNone;
  size_t received_ = 0;
  char buffer_[4096];
  size_t begin_ = 0;
  size_t end_ = 0;
};

// True on the accepting thread while it runs the job of a connection for which there is no room.
thread_local bool refusing_connection = false;

// The library's own pool queues without a bound, and each entry holds a descriptor. Here a
// connection beyond the bound is run at once by the accepting thread, as one to refuse.
// Thread-safe.
class BoundedPool : public httplib::TaskQueue {
 public:
  BoundedPool(int threads, int waiting_max, std::atomic<int>& waiting)
      : waiting_max_(waiting_max), waiting_(waiting) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }

  void enqueue(std::function<void()> job) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (waiting_ < waiting_max_) {
        jobs_.push_back(std::move(job));
        ++waiting_;
        changed_.notify_one();
        return;
      }
    }
    refusing_connection = true;
    job();
    refusing_connection = false;
  }

  void shutdown() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  // Jobs that are queued at shutdown still run, because each closes its socket.
  void Run() {
    while (true) {
      std::function<void()> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
        --waiting_;
      }
      job();
    }
  }

  const int waiting_max_;
  std::atomic<int>& waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

// The library's server with its connection loop replaced: its keep-alive would bind a thread to
// every idle browser.
class HttpServer::Impl : public httplib::Server {
 public:
  Impl(HttpHandler handler, const HttpLimits& limits)
      : handler_(std::move(handler)), limits_(limits) {
    new_task_queue = [this] {
      return new BoundedPool(limits_.threads, limits_.waiting_max, waiting_);
    };
    set_payload_max_length(0);
    set_default_headers(SecurityHeaders());
    // Not SO_REUSEPORT, the library's choice: two runs on one port would take turns.
    set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      Serve(request, response);
      return HandlerResponse::Handled;
    });
    const HandlerWithResponse add_missing_body = [](const httplib::Request&,
                                                    httplib::Response& response) {
      if (response.body.empty()) SetError(response, response.status, "malformed request");
      return HandlerResponse::Handled;
    };
    set_error_handler(add_missing_body);
  }

  ~Impl() override {
    stopping_ = true;
    stop();
    if (thread_.joinable()) thread_.join();
  }

  // The port, or a negative number.
  int Bind(const LoopbackAddress& address) {
    set_address_family(address.family);
    int port = address.port;
    if (port == 0) {
      port = bind_to_any_port(address.host);
    } else if (!bind_to_port(address.host, port)) {
      return -1;
    }
    // The library listens with a backlog of 5; a client beyond it would wait a second for its next
    // attempt.
    return port < 0 || ::listen(svr_sock_, kBacklog) == 0 ? port : -1;
  }

  void Listen() {
    thread_ = std::thread([this] { listen_after_bind(); });
    // stop() does nothing before the loop runs.
    for (int i = 0; i < kStartMillisMax && !is_running(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  static void SetError(httplib::Response& response, int status, absl::string_view text) {
    response.status = status;
    response.set_content(ErrorToJson(absl::UnknownError(text)), kJson);
  }

  void Serve(const httplib::Request& request, httplib::Response& response) {
    if (request.method != "GET" && request.method != "HEAD") {
      response.set_header("Allow", "GET, HEAD");
      return SetError(response, 405, "this page is read only: GET or HEAD");
    }
    const size_t hosts = request.get_header_value_count("Host");
    if (hosts > 1 || (hosts == 0 && request.version == "HTTP/1.1")) {
      return SetError(response, 400, "expected one Host header");
    }
    if (hosts == 1 && !NamesLoopback(request.get_header_value("Host"))) {
      return SetError(response, 403,
                      "the Host header must be localhost or 127.0.0.1, with any port");
    }
    const size_t mark = request.target.find('?');
    HttpReply reply =
        handler_({.path = request.target.substr(0, mark),
                  .query = mark == std::string::npos ? "" : request.target.substr(mark + 1)});
    response.status = reply.status;
    response.set_content(std::move(reply.body), reply.content_type.c_str());
  }

  bool process_and_close_socket(socket_t socket) override {
    if (fcntl(socket, F_SETFD, FD_CLOEXEC) != 0) {
      close(socket);
      return false;
    }
    ClientStream stream(socket, limits_, stopping_, waiting_);
    bool served = false;
    if (refusing_connection) {
      stream.SendNow(RawReply("503 Service Unavailable", "too many connections; try again"));
    } else {
      bool closed = false;
      served = process_request(stream, /*close_connection=*/true, closed, [](auto& request) {
        // Compressing costs the learner more than it saves on loopback, and ranges can be made to
        // multiply the reply.
        request.headers.erase("Accept-Encoding");
        request.ranges.clear();
      });
      if (!stream.replying() && stream.received_anything() && !stopping_) {
        const bool too_long = stream.failure() == ClientStream::Failure::kTooLong;
        stream.SendNow(too_long
                           ? RawReply("431 Request Header Fields Too Large",
                                      "request line or headers are too long")
                           : RawReply("408 Request Timeout", "the request did not come in time"));
      }
      stream.Drain();
    }
    close(socket);
    return served;
  }

  const HttpHandler handler_;
  const HttpLimits limits_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> waiting_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                              HttpHandler handler,
                                                              const HttpLimits& limits) {
  R1_ASSIGN_OR_RETURN(const LoopbackAddress loopback, ParseLoopback(address));
  auto impl = std::make_unique<Impl>(std::move(handler), limits);
  const int port = impl->Bind(loopback);
  if (port < 0) {
    return absl::UnavailableError(absl::StrCat("status.address: cannot listen on ", address, ": ",
                                               std::strerror(errno),
                                               "; port 0 takes any free one"));
  }
  impl->Listen();
  const std::string host =
      loopback.family == AF_INET6 ? absl::StrCat("[", loopback.host, "]") : loopback.host;
  return std::unique_ptr<HttpServer>(
      new HttpServer(std::move(impl), absl::StrCat(host, ":", port)));
}

}  // namespace r1::learner
