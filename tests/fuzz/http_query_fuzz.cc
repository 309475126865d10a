// Queries of the status API: any bytes give parameters or InvalidArgument, and any UTF-8 name and
// value that is percent-encoded comes back as it was.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/query_string.h"
#include "common/status.h"
#include "common/utf8.h"

namespace {

std::string PercentEncoded(absl::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return encoded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = r1::QueryString::Parse(text);
  if (parsed.ok()) {
    R1_CHECK(r1::IsValidUtf8(parsed->Text("keys", "")));
    const auto number = parsed->Integer("since", 5, 0, 1000);
    R1_CHECK(number.ok() ? *number >= 0 && *number <= 1000
                         : absl::IsInvalidArgument(number.status()));
    R1_CHECK(!parsed->CheckKnown({"keys", "since"}).ok() || text.size() < 8192);
  } else {
    R1_CHECK(absl::IsInvalidArgument(parsed.status()));
  }

  const absl::string_view name = text.substr(0, text.find('='));
  const absl::string_view value = text.substr(std::min(text.size(), name.size() + 1));
  if (name.empty() || !r1::IsValidUtf8(name) || !r1::IsValidUtf8(value)) return 0;
  const std::string query = PercentEncoded(name) + "=" + PercentEncoded(value);
  if (query.size() > r1::QueryString::kBytesMax) return 0;
  const auto round_trip = r1::QueryString::Parse(query);
  R1_CHECK(round_trip.ok());
  R1_CHECK(round_trip->Text(std::string(name), "absent") == value);
  return 0;
}
