#include "tests/learner/status/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "common/status.h"

namespace r1::learner {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

RawClient::RawClient(const std::string& address) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  R1_CHECK(socket_ >= 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port =
      htons(static_cast<uint16_t>(std::atoi(address.substr(address.rfind(':') + 1).c_str())));
  R1_CHECK(connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0);
}

RawClient::~RawClient() { close(socket_); }

void RawClient::ShrinkReceiveBuffer() {
  const int bytes = 1;
  R1_CHECK(setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0);
}

bool RawClient::Send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

std::string RawClient::ReadAll(double seconds) {
  std::string all;
  const double deadline = Now() + seconds;
  char buffer[65536];
  while (true) {
    const double left = deadline - Now();
    pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left * 1000) + 1) == 0) {
      timed_out_ = true;
      return all;
    }
    const ssize_t count = recv(socket_, buffer, sizeof(buffer), 0);
    if (count <= 0) return all;
    all.append(buffer, static_cast<size_t>(count));
  }
}

RawReply SplitReply(const std::string& bytes) {
  RawReply reply;
  const size_t end = bytes.find("\r\n\r\n");
  if (bytes.rfind("HTTP/1.1 ", 0) != 0 || end == std::string::npos) return reply;
  reply.status = std::atoi(bytes.c_str() + 9);
  reply.head = bytes.substr(0, end + 2);
  reply.body = bytes.substr(end + 4);
  return reply;
}

RawReply Request(const std::string& address, const std::string& target, const std::string& method,
                 const std::string& extra) {
  RawClient client(address);
  client.Send(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + extra + "\r\n");
  return SplitReply(client.ReadAll());
}

std::string HeaderOf(const RawReply& reply, const std::string& name) {
  const size_t begin = reply.head.find("\r\n" + name + ": ");
  if (begin == std::string::npos) return "";
  const size_t value = begin + name.size() + 4;
  return reply.head.substr(value, reply.head.find("\r\n", value) - value);
}

}  // namespace r1::learner
