// The part of the OpenAI HTTP API that an evaluation needs, which vLLM, SGLang, llama.cpp's server
// and others speak: one request a sample, /chat/completions or /completions, without streaming.
// Pure functions of text; the transport is cli/evaluation/http_client.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

struct CompletionRequest {
  std::string model;
  bool chat = true;    // the prompt is a user's message
  std::string prompt;  // valid UTF-8
  double temperature = 0;
  double top_p = 1;
  int64_t tokens_max = 1;
  uint64_t seed = 0;
  nlohmann::json extra = nlohmann::json::object();  // laid over the body; null removes a field
};

// `n` is left out: not every server can draw several samples at a time, and one a request means
// that whatever was drawn is kept.
std::string CompletionBody(const CompletionRequest& request);

struct Completion {
  // The whole output. Where the server took the thinking out (reasoning_content), it is put back
  // between <think> and </think>.
  std::string text;
  std::string finish_reason;      // "stop", "length", or another word of the server's
  std::optional<int64_t> tokens;  // of the output, thinking included
};

// InvalidArgument: no JSON, or not the expected fields.
[[nodiscard]] absl::StatusOr<Completion> ParseCompletion(absl::string_view body, bool chat);

// What a server says about an error: error.message, message or detail of its JSON, else the
// beginning of the text; in quotes, bounded.
std::string CompletionError(absl::string_view body);

// "https://host:8000/v1" in its parts.
struct EndpointUrl {
  std::string origin;  // "https://host:8000"
  std::string path;    // "/v1/chat/completions"
  bool is_encrypted = false;
  bool is_loopback = false;
};

// The URL of a server's API, or of one of its two routes. InvalidArgument says what is wrong, as
// when the other route is named.
[[nodiscard]] absl::StatusOr<EndpointUrl> ParseEndpointUrl(absl::string_view url, bool chat);

}  // namespace r1
