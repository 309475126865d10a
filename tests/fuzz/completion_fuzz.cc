// What a server answers, as a completion of either kind, as an error, and as the URL that somebody
// gave. Messages are one line and bounded, since they are shown to a person.

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "common/evaluation/completion_protocol.h"
#include "common/status.h"
#include "common/utf8.h"

namespace r1 {
namespace {

void CheckAnswer(const std::string& body) {
  for (const bool chat : {false, true}) {
    const absl::StatusOr<Completion> completion = ParseCompletion(body, chat);
    if (completion.ok()) {
      R1_CHECK(IsValidUtf8(completion->text));
      R1_CHECK(completion->tokens.value_or(0) >= 0);
    } else {
      R1_CHECK(completion.status().code() == absl::StatusCode::kInvalidArgument);
    }
    const absl::StatusOr<EndpointUrl> url = ParseEndpointUrl(body, chat);
    if (!url.ok()) continue;
    R1_CHECK(absl::StartsWith(url->path, "/"));
    R1_CHECK(absl::EndsWith(url->path, chat ? "/chat/completions" : "/completions"));
    // What goes into a request line and a header holds neither breaks nor blanks.
    R1_CHECK((url->origin + url->path).find_first_of(" \r\n\t") == std::string::npos);
  }
  const std::string error = CompletionError(body);
  R1_CHECK(error.size() < 2000);
  R1_CHECK(!absl::StrContains(error, '\n'));
}

}  // namespace
}  // namespace r1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  r1::CheckAnswer(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
