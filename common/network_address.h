// HOST:PORT texts. Until there is TLS only loopback addresses are allowed, as nothing on the wire
// is encrypted or authenticated.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

struct NetworkAddress {
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;
};

// InvalidArgument says what is wrong with the text.
[[nodiscard]] absl::StatusOr<NetworkAddress> ParseNetworkAddress(absl::string_view text);

// InvalidArgument unless the host is localhost, 127.x.y.z or [::1]; names `what` ("learner").
[[nodiscard]] absl::Status CheckLoopback(absl::string_view text, absl::string_view what);

}  // namespace r1
