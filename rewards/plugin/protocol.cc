#include "rewards/plugin/protocol.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1::rewards {
namespace {

using nlohmann::json;

constexpr char kWhere[] = "the plugin's line";
constexpr char kVersionKey[] = "r1_reward";
constexpr size_t kReasonBytesMax = 99;
constexpr size_t kErrorBytesMax = 1000;
constexpr size_t kSamplesMax = 65536;
constexpr JsonFields::Range kAnyInteger = {0, std::numeric_limits<int64_t>::max()};

absl::StatusOr<json> ParseObject(absl::string_view line) {
  R1_ASSIGN_OR_RETURN(json parsed, ParseJson(line, kWhere));
  if (parsed.is_object()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat(kWhere, ": expected an object, found ", DescribeJson(parsed)));
}

absl::Status CheckVersion(const json& object) {
  const JsonFields fields(object, kWhere);
  R1_ASSIGN_OR_RETURN(const int64_t version, fields.Integer(kVersionKey, kAnyInteger));
  if (version == kRewardProtocolVersion) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(kWhere, ": expected protocol version ",
                                                 kRewardProtocolVersion, ", found ", version));
}

absl::StatusOr<double> ParseNumber(const json& value, absl::string_view where) {
  if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": expected a finite number, found ", DescribeJson(value)));
}

absl::Status ParseParts(const json& object, const std::string& where, Score& score) {
  if (!object.is_object() || object.size() > kPartsMax) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object of at most ",
                                                   kPartsMax, " numbers, found ",
                                                   DescribeJson(object)));
  }
  for (const auto& [name, value] : object.items()) {
    if (name.empty() || name.size() > kPartNameBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": expected names of 1 to ", kPartNameBytesMax, " bytes, found ", Quoted(name)));
    }
    R1_ASSIGN_OR_RETURN(const double number, ParseNumber(value, absl::StrCat(where, ".", name)));
    score.parts.emplace_back(name, number);
  }
  return absl::OkStatus();
}

absl::StatusOr<Score> ParseScore(const json& value, const std::string& where) {
  Score score;
  if (!value.is_object()) {
    R1_ASSIGN_OR_RETURN(score.value, ParseNumber(value, where));
    score.reason = PrintableReason("");
    return score;
  }
  for (const auto& [key, unused] : value.items()) {
    const bool is_known = key == "score" || key == "reason" || key == "parts" || key == "error";
    if (is_known) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected keys score, reason, parts and error, found ", Quoted(key)));
  }
  const JsonFields fields(value, where);
  R1_ASSIGN_OR_RETURN(const std::string error, fields.String("error", ""));
  if (!error.empty()) return ErrorScore(kRewardError, error.substr(0, kErrorBytesMax));
  const json* number = fields.FindOrNull("score");
  if (number == nullptr) return fields.Error("score", "a finite number");
  R1_ASSIGN_OR_RETURN(score.value, ParseNumber(*number, where + ".score"));
  R1_ASSIGN_OR_RETURN(const std::string reason, fields.String("reason", ""));
  score.reason = PrintableReason(reason);
  if (const json* parts = fields.FindOrNull("parts")) {
    R1_RETURN_IF_ERROR(ParseParts(*parts, where + ".parts", score));
  }
  return score;
}

json SampleToJson(const RewardInput& input) {
  json sample = {{"prompt", std::string(input.prompt)},
                 {"response", std::string(input.response)},
                 {"answer", std::string(input.answer)},
                 {"finished", input.finished},
                 {"think_prefilled", input.think_prefilled}};
  if (!input.prediction.empty()) sample["prediction"] = std::string(input.prediction);
  if (!input.language.empty()) sample["language"] = std::string(input.language);
  if (input.n_tokens) sample["n_tokens"] = *input.n_tokens;
  const absl::StatusOr<json> columns = ParseJson(input.columns_json, "columns");
  if (columns.ok()) sample["columns"] = *columns;
  return sample;
}

absl::StatusOr<RequestSample> ParseSample(const json& object, const std::string& where) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected an object, found ", DescribeJson(object)));
  }
  const JsonFields fields(object, where);
  RequestSample sample;
  R1_ASSIGN_OR_RETURN(sample.prompt, fields.String("prompt", ""));
  R1_ASSIGN_OR_RETURN(sample.response, fields.String("response", ""));
  R1_ASSIGN_OR_RETURN(sample.prediction, fields.String("prediction", ""));
  R1_ASSIGN_OR_RETURN(sample.answer, fields.String("answer", ""));
  R1_ASSIGN_OR_RETURN(sample.language, fields.String("language", ""));
  R1_ASSIGN_OR_RETURN(sample.finished, fields.Bool("finished", true));
  R1_ASSIGN_OR_RETURN(sample.think_prefilled, fields.Bool("think_prefilled", false));
  R1_ASSIGN_OR_RETURN(sample.n_tokens, fields.Integer("n_tokens", kAnyInteger, sample.n_tokens));
  const json* columns = fields.FindOrNull("columns");
  sample.columns_json = columns == nullptr ? "{}" : DumpJson(*columns);
  return sample;
}

}  // namespace

std::string HelloLine(const std::string& name, const std::string& config_json) {
  const absl::StatusOr<json> config = ParseJson(config_json, "config_json");
  return DumpJson({{kVersionKey, kRewardProtocolVersion},
                   {"name", name},
                   {"config", config.ok() ? *config : json::object()}});
}

absl::Status CheckHelloReply(absl::string_view line) {
  R1_ASSIGN_OR_RETURN(const json object, ParseObject(line));
  return CheckVersion(object);
}

std::string RequestLine(int64_t id, double timeout_seconds,
                        std::span<const RewardInput* const> samples) {
  json list = json::array();
  for (const RewardInput* sample : samples) list.push_back(SampleToJson(*sample));
  return DumpJson({{"id", id},
                   {"timeout_ms", static_cast<int64_t>(timeout_seconds * 1000)},
                   {"samples", std::move(list)}});
}

absl::StatusOr<std::vector<Score>> ParseReply(absl::string_view line, int64_t id, size_t samples) {
  R1_ASSIGN_OR_RETURN(const json object, ParseObject(line));
  const JsonFields fields(object, kWhere);
  R1_ASSIGN_OR_RETURN(const int64_t found_id, fields.Integer("id", kAnyInteger));
  if (found_id != id) {
    return absl::InvalidArgumentError(
        absl::StrCat(kWhere, ": id: expected ", id, ", found ", found_id));
  }
  const json* list = fields.FindOrNull("scores");
  if (list == nullptr || !list->is_array() || list->size() != samples) {
    return fields.Error("scores", absl::StrCat("an array of ", samples, " elements"));
  }
  std::vector<Score> scores;
  for (size_t i = 0; i < samples; ++i) {
    absl::StatusOr<Score> score = ParseScore((*list)[i], absl::StrCat("scores[", i, "]"));
    // One bad score is that sample's fault; the others stand.
    scores.push_back(score.ok() ? *std::move(score)
                                : ErrorScore(kRewardError, std::string(score.status().message())));
  }
  return scores;
}

absl::StatusOr<std::string> ParseHello(absl::string_view line) {
  R1_ASSIGN_OR_RETURN(const json object, ParseObject(line));
  R1_RETURN_IF_ERROR(CheckVersion(object));
  const json* config = JsonFields(object, kWhere).FindOrNull("config");
  return config == nullptr ? "{}" : DumpJson(*config);
}

std::string HelloReplyLine() { return DumpJson({{kVersionKey, kRewardProtocolVersion}}); }

absl::StatusOr<Request> ParseRequest(absl::string_view line) {
  R1_ASSIGN_OR_RETURN(const json object, ParseObject(line));
  const JsonFields fields(object, kWhere);
  Request request;
  R1_ASSIGN_OR_RETURN(request.id, fields.Integer("id", kAnyInteger));
  R1_ASSIGN_OR_RETURN(request.timeout_ms, fields.Integer("timeout_ms", kAnyInteger));
  const json* list = fields.FindOrNull("samples");
  if (list == nullptr || !list->is_array() || list->size() > kSamplesMax) {
    return fields.Error("samples", absl::StrCat("an array of at most ", kSamplesMax, " elements"));
  }
  for (size_t i = 0; i < list->size(); ++i) {
    R1_ASSIGN_OR_RETURN(RequestSample sample,
                        ParseSample((*list)[i], absl::StrCat("samples[", i, "]")));
    request.samples.push_back(std::move(sample));
  }
  return request;
}

std::string ReplyLine(int64_t id, std::span<const Score> scores) {
  json list = json::array();
  for (const Score& score : scores) {
    if (!score.error.empty()) {
      list.push_back({{"error", score.error}});
      continue;
    }
    json entry = {{"score", score.value}, {"reason", score.reason}};
    for (const auto& [name, value] : score.parts) entry["parts"][name] = value;
    list.push_back(std::move(entry));
  }
  return DumpJson({{"id", id}, {"scores", std::move(list)}});
}

std::string PrintableReason(absl::string_view reason) {
  std::string word(reason.substr(0, kReasonBytesMax));
  std::replace_if(
      word.begin(), word.end(), [](char c) { return c <= ' ' || c > '~'; }, '_');
  return word.empty() ? "scored" : word;
}

}  // namespace r1::rewards
