// Messages as JSON by protobuf's own mapping, for the HTTP API and for `--json`. Names are those of
// the .proto file; fields at their default are printed too, so that a reader finds every name; a
// double that is not finite becomes the string "NaN", "Infinity" or "-Infinity", which every JSON
// parser takes (and JavaScript's Number() turns back).
#pragma once

#include <string>

#include "common/status.h"
#include "google/protobuf/message.h"

namespace r1 {

// Internal when a string field is not valid UTF-8: whoever filled the message should have used
// ReplaceInvalidUtf8.
[[nodiscard]] absl::StatusOr<std::string> MessageToJson(const google::protobuf::Message& message);

// {"error": "…"} with the status's message; for replies that have no message of their own.
std::string ErrorToJson(const absl::Status& status);

}  // namespace r1
