#include "common/network_address.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "common/utf8.h"

namespace r1 {
namespace {

absl::Status Malformed(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("address ", Quoted(text), ": expected HOST:PORT, ", why));
}

bool IsLoopbackHost(const std::string& host) {
  if (host == "localhost") return true;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  in_addr v4;
  return inet_pton(AF_INET, host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

}  // namespace

absl::StatusOr<NetworkAddress> ParseNetworkAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Malformed(text, "found no port");
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) return Malformed(text, "found no host");
  if (!bracketed && host.find(':') != absl::string_view::npos) {
    return Malformed(text, "an IPv6 host stands in brackets, as in [::1]:7000");
  }
  int port = -1;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return Malformed(text, "the port is a number from 0 to 65535");
  }
  return NetworkAddress{.host = std::string(host), .port = port};
}

absl::Status CheckLoopback(absl::string_view text, absl::string_view what) {
  R1_ASSIGN_OR_RETURN(const NetworkAddress address, ParseNetworkAddress(text));
  if (IsLoopbackHost(address.host)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      what, " address ", Quoted(text), " is not a loopback address; other addresses need TLS, ",
      "which does not exist yet. Use 127.0.0.1:PORT, or an SSH tunnel to the other machine"));
}

}  // namespace r1
