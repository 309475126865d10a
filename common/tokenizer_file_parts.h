// The parts of tokenizer.json around the model, read into a TokenizerFile, and the checks that they
// share. Internal to tokenizer_file.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "common/tokenizer_file.h"

namespace r1::tokenizer_file {

inline constexpr char kWhere[] = "tokenizer.json";

// InvalidArgument: "tokenizer.json: <feature>: not supported: <found>".
absl::Status Unsupported(absl::string_view feature, const nlohmann::json& found);

// InvalidArgument unless the value is absent or one of those given; null is always given.
[[nodiscard]] absl::Status ExpectOneOf(const nlohmann::json& object, const std::string& path,
                                       const std::string& key,
                                       const std::vector<nlohmann::json>& supported);
// Every key must be one that the checks around the call look at.
[[nodiscard]] absl::Status ExpectKeys(const nlohmann::json& object, const std::string& path,
                                      const std::vector<std::string>& known);
// An object whose "type" is the one supported.
[[nodiscard]] absl::Status ExpectType(const nlohmann::json& root, const std::string& key,
                                      const std::string& type);

// NFC, none, or a Sequence of these.
[[nodiscard]] absl::Status ReadNormalizer(const nlohmann::json& root, TokenizerFile& file);
// ByteLevel, or a Sequence of Splits with ByteLevel at the end.
[[nodiscard]] absl::Status ReadPreTokenizer(const nlohmann::json& root, TokenizerFile& file);
// ByteLevel (which changes offsets only), TemplateProcessing, none, or a Sequence of these.
[[nodiscard]] absl::Status ReadPostProcessor(const nlohmann::json& root, TokenizerFile& file);
// Once the vocabulary is read: the ids that the post-processor adds are in it.
[[nodiscard]] absl::Status CheckPostProcessorIds(const TokenizerFile& file);

}  // namespace r1::tokenizer_file
