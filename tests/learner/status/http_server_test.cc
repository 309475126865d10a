// The HTTP server over real sockets: what is served, what is refused, and that nobody can keep
// others out.

#include "learner/status/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/learner/status/raw_client.h"

namespace r1::learner {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Echoes path and query; "/large" is 8 MB.
HttpReply Echo(const HttpRequest& request) {
  if (request.path == "/large") return {.body = std::string(8 << 20, 'x')};
  return {.body = request.path + "|" + request.query};
}

std::unique_ptr<HttpServer> StartOrDie(const HttpLimits& limits = {}) {
  auto server = HttpServer::Start("127.0.0.1:0", Echo, limits);
  R1_CHECK(server.ok());
  return *std::move(server);
}

absl::StatusCode StartCode(const std::string& address) {
  return HttpServer::Start(address, Echo).status().code();
}

TEST(HttpServerTest, OnlyLoopbackAddressesAreServed) {
  for (const char* address : {"127.0.0.1:0", "127.1.2.3:0", "localhost:0", "[::1]:0"}) {
    EXPECT_EQ(StartCode(address), absl::StatusCode::kOk) << address;
  }
  for (const char* address :
       {"0.0.0.0:0", "10.0.0.1:0", "[::]:0", "example.org:80", ":0", "128.0.0.1:0"}) {
    EXPECT_EQ(StartCode(address), absl::StatusCode::kPermissionDenied) << address;
  }
  for (const char* address :
       {"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "[::1:0"}) {
    EXPECT_EQ(StartCode(address), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST(HttpServerTest, APortInUseIsAnErrorThatSaysSo) {
  const auto server = StartOrDie();
  const auto second = HttpServer::Start(server->address(), Echo);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server->address()));
}

TEST(HttpServerTest, RepliesCarrySecurityHeadersAndClose) {
  const auto server = StartOrDie();
  const RawReply reply = Request(server->address(), "/a/b?x=1&y=%20");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "/a/b|x=1&y=%20");
  EXPECT_EQ(HeaderOf(reply, "Content-Length"), "14");
  EXPECT_EQ(HeaderOf(reply, "Connection"), "close");
  EXPECT_EQ(HeaderOf(reply, "Cache-Control"), "no-store");
  EXPECT_EQ(HeaderOf(reply, "X-Content-Type-Options"), "nosniff");
  const std::string policy = HeaderOf(reply, "Content-Security-Policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, testing::Not(HasSubstr("unsafe")));
  EXPECT_THAT(HeaderOf(Request(server->address(), "/", "POST"), "Content-Security-Policy"),
              HasSubstr("default-src 'none'"));
}

TEST(HttpServerTest, HeadHasTheLengthButNoBody) {
  const auto server = StartOrDie();
  const RawReply reply = Request(server->address(), "/abc", "HEAD");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(HeaderOf(reply, "Content-Length"), "5");
  EXPECT_EQ(reply.body, "");
}

TEST(HttpServerTest, OtherMethodsAreRefused) {
  const auto server = StartOrDie();
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}) {
    const RawReply reply = Request(server->address(), "/", method);
    EXPECT_EQ(reply.status, 405) << method;
    EXPECT_EQ(HeaderOf(reply, "Allow"), "GET, HEAD") << method;
    EXPECT_THAT(reply.body, HasSubstr("\"error\":")) << method;
  }
}

TEST(HttpServerTest, HostsThatAreNotLoopbackAreRefused) {
  const auto server = StartOrDie();
  const auto status = [&](const std::string& headers) {
    RawClient client(server->address());
    client.Send("GET / HTTP/1.1\r\n" + headers + "\r\n");
    return SplitReply(client.ReadAll()).status;
  };
  for (const char* good :
       {"localhost", "LOCALHOST:9000", "127.0.0.1:1", "127.0.0.1", "[::1]:80", "[::1]"}) {
    EXPECT_EQ(status(std::string("Host: ") + good + "\r\n"), 200) << good;
  }
  for (const char* bad :
       {"evil.example", "127.evil.example", "localhost.evil.example", "127.0.0.1.x:80"}) {
    EXPECT_EQ(status(std::string("Host: ") + bad + "\r\n"), 403) << bad;
  }
  EXPECT_EQ(status(""), 400);
  EXPECT_EQ(status("Host: localhost\r\nHost: localhost\r\n"), 400);
}

TEST(HttpServerTest, MalformedRequestsEndInA4xxAndThePageStaysLive) {
  const auto server = StartOrDie();
  const std::string host = "Host: localhost\r\n";
  const std::string broken[] = {
      "\r\n\r\n",
      "GET\r\n\r\n",
      "GET /\r\n\r\n",
      "GET / HTTP/3.0\r\n" + host + "\r\n",
      "get / HTTP/1.1\r\n" + host + "\r\n",
      "BREW /pot HTTP/1.1\r\n" + host + "\r\n",
      std::string("GET /\0 HTTP/1.1\r\n\r\n", 19),
      "GET / HTTP/1.1\n" + host + "\n",
      "\x16\x03\x01\x02TLS hello\r\n\r\n",
  };
  for (const std::string& request : broken) {
    RawClient client(server->address());
    client.Send(request);
    const std::string bytes = client.ReadAll();
    EXPECT_FALSE(client.timed_out()) << request;
    const RawReply reply = SplitReply(bytes);
    EXPECT_TRUE(bytes.empty() || (reply.status >= 400 && reply.status < 500)) << request << bytes;
  }
  EXPECT_EQ(Request(server->address(), "/").status, 200);
}

TEST(HttpServerTest, LongRequestsAreRefusedWithoutReadingThemAll) {
  const auto server = StartOrDie();
  const std::string megabyte(1 << 20, 'a');
  const std::string requests[] = {
      "GET /" + megabyte + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + megabyte + "\r\n\r\n",
  };
  for (const std::string& request : requests) {
    RawClient client(server->address());
    client.Send(request);
    EXPECT_THAT(SplitReply(client.ReadAll()).status, AnyOf(400, 414, 431));
  }
  std::string many = "GET / HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 50'000; ++i) many += "A: b\r\n";
  RawClient client(server->address());
  client.Send(many + "\r\n");
  EXPECT_THAT(SplitReply(client.ReadAll()).status, AnyOf(400, 431));
  EXPECT_EQ(Request(server->address(), "/").status, 200);
}

TEST(HttpServerTest, BodiesAreNeverReadAndPipelinedRequestsAreNotServed) {
  const auto server = StartOrDie();
  const std::string extra[] = {
      "Content-Length: 5\r\n\r\nhello",
      "Content-Length: 99999999999999\r\n\r\nx",
      "Content-Length: -1\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx\r\n",
      "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n",
      "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
  };
  for (const std::string& rest : extra) {
    RawClient client(server->address());
    client.Send("GET /first HTTP/1.1\r\nHost: localhost\r\n" + rest);
    const std::string bytes = client.ReadAll();
    EXPECT_THAT(bytes, HasSubstr("/first|")) << rest;
    EXPECT_THAT(bytes, testing::Not(HasSubstr("smuggled"))) << rest;
  }
  RawClient client(server->address());
  const std::string one = "GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.Send(one + one + one);
  const std::string bytes = client.ReadAll();
  EXPECT_EQ(bytes.find("HTTP/1.1 200"), bytes.rfind("HTTP/1.1 200"));  // exactly one reply
}

TEST(HttpServerTest, RangesAndCompressionAreIgnored) {
  const auto server = StartOrDie();
  std::string ranges = "Range: bytes=0-";
  for (int i = 0; i < 1500; ++i) ranges += ",0-";
  const RawReply reply =
      Request(server->address(), "/large", "GET", ranges + "\r\nAccept-Encoding: gzip, br\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body.size(), size_t{8} << 20);
  EXPECT_EQ(HeaderOf(reply, "Content-Encoding"), "");
}

TEST(HttpServerTest, SlowClientsDoNotKeepOthersOut) {
  const auto server = StartOrDie({.crowded_seconds_max = 0.1});
  // Forty connections that send a byte and then nothing, and ten that never read a large reply.
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 40; ++i) {
    slow.push_back(std::make_unique<RawClient>(server->address()));
    slow.back()->Send("G");
  }
  for (int i = 0; i < 10; ++i) {
    slow.push_back(std::make_unique<RawClient>(server->address()));
    slow.back()->ShrinkReceiveBuffer();
    slow.back()->Send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  const double started = Now();
  EXPECT_EQ(Request(server->address(), "/").status, 200);
  // Fifty clients, four threads, about 0.15 s each; without making way it would be a minute.
  EXPECT_LT(Now() - started, 5);
}

TEST(HttpServerTest, ADrippingClientIsCutOffAtItsDeadline) {
  const auto server = StartOrDie({.request_seconds_max = 0.6});
  RawClient client(server->address());
  const double started = Now();
  const std::string request = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
  for (size_t i = 0; i < 100 && client.Send(std::string(1, request[i % request.size()])); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (Now() - started > 1.2) break;
  }
  const RawReply reply = SplitReply(client.ReadAll());
  EXPECT_THAT(reply.status, AnyOf(0, 400, 408));
  EXPECT_FALSE(client.timed_out());
  EXPECT_LT(Now() - started, 3);
}

TEST(HttpServerTest, AnIdleConnectionGets408) {
  const auto server = StartOrDie({.request_seconds_max = 0.2});
  RawClient client(server->address());
  client.Send("GET / HT");
  EXPECT_EQ(SplitReply(client.ReadAll()).status, 408);
}

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

TEST(HttpServerTest, ConnectionsBeyondTheBoundAreRefusedAndNothingLeaks) {
  const size_t before = OpenDescriptors();
  {
    const auto server = StartOrDie({.threads = 2, .waiting_max = 4, .crowded_seconds_max = 5});
    std::vector<std::unique_ptr<RawClient>> held;
    for (int i = 0; i < 30; ++i) held.push_back(std::make_unique<RawClient>(server->address()));
    int refused = 0;
    for (const double deadline = Now() + 4; refused < 30 - 2 - 4 && Now() < deadline;) {
      for (auto& client : held) refused += SplitReply(client->ReadAll(0.01)).status == 503 ? 1 : 0;
    }
    EXPECT_GE(refused, 30 - 2 - 4);  // more when the threads were slow to take their first ones
    EXPECT_LE(refused, 30 - 4);
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(HttpServerTest, ShutdownTakesLessThanASecondWithClientsConnected) {
  auto server = StartOrDie();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawClient>(server->address()));
    clients.back()->Send("GET / HTTP/1.1\r\n");
  }
  clients.push_back(std::make_unique<RawClient>(server->address()));
  clients.back()->ShrinkReceiveBuffer();
  clients.back()->Send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const double started = Now();
  server.reset();
  EXPECT_LT(Now() - started, 1.0);
}

TEST(HttpServerTest, ManyClientsAtOnceAllGetTheirReply) {
  const auto server = StartOrDie();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string path = absl::StrCat("/", t, "/", i);
        good += Request(server->address(), path).body == path + "|" ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 400);
}

}  // namespace
}  // namespace r1::learner
