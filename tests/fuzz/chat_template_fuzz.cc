// Chat templates: an error, or a text that is valid UTF-8 with its content marked inside it, within
// the bounds of work and output. Input: the template, and behind the first NUL byte, if there is
// one, the variables as JSON; without it a conversation that has everything.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/chat_template.h"
#include "common/utf8.h"

namespace {

constexpr char kConversation[] =
    R"({"messages":[{"role":"system","content":"be brief"},)"
    R"({"role":"user","content":" Wörld \n"},)"
    R"({"role":"assistant","content":"<think>\nx\n</think>y",)"
    R"("tool_calls":[{"type":"function","function":{"name":"f","arguments":{"a":[1,2.5,null]}}}]},)"
    R"({"role":"tool","content":"4"},{"role":"user","content":"z"}],"add_generation_prompt":true,)"
    R"("tools":[{"name":"f","parameters":{}}],"bos_token":"<s>","eos_token":"</s>","n":12})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const r1::ChatTemplateLimits limits{.source_bytes_max = 1 << 16,
                                      .output_bytes_max = 1 << 16,
                                      .work_max = 300'000,
                                      .work_per_input_byte = 100};
  const auto parsed = r1::ChatTemplate::Parse(input.substr(0, nul), limits);
  if (!parsed.ok()) {
    R1_CHECK(!parsed.status().message().empty());
    return 0;
  }
  const absl::string_view variables =
      nul == absl::string_view::npos ? kConversation : input.substr(nul + 1);
  const auto chat = (*parsed)->Render(variables, "row", absl::UnixEpoch());
  if (!chat.ok()) {
    R1_CHECK(!chat.status().message().empty());
    return 0;
  }
  R1_CHECK(chat->text.size() <= limits.output_bytes_max);
  R1_CHECK(r1::IsValidUtf8(chat->text));
  size_t at = 0;
  for (const r1::TextRange& range : chat->content) {
    R1_CHECK(at <= range.begin);
    R1_CHECK(range.begin < range.end);
    at = range.end;
  }
  R1_CHECK(at <= chat->text.size());
  return 0;
}
