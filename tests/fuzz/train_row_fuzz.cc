// A row to fine-tune on: an error that can be printed, or sequences whose targets lie inside them.
// Input: a flag byte (bit 0: with a chat template), then the row.

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/training_set.h"
#include "common/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const r1::Tokenizer& tokenizer =
      *r1::Tokenizer::Parse(*r1::Tokenizer::BuiltinJson("bytes")).value().release();
  static const auto* chat_template = new r1::ModelChatTemplate(
      r1::ModelChatTemplate::OfSource("{% for m in messages %}[{{ m.role }}]{{ m.content }}"
                                      "{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
                                      "{% if add_generation_prompt %}[assistant]{% endif %}")
          .value());
  if (size == 0) return 0;
  const std::string row(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto texts = r1::EncodeTrainRow(
      row, "row",
      {.tokenizer = tokenizer, .chat_template = (data[0] & 1) != 0 ? chat_template : nullptr});
  if (!texts.ok()) {
    R1_CHECK(!texts.status().message().empty());
    R1_CHECK(r1::IsValidUtf8(texts.status().message()));
    return 0;
  }
  R1_CHECK(!texts->empty());
  for (const r1::TrainText& text : *texts) {
    R1_CHECK(!text.targets.empty());
    int next = 1;
    for (const r1::TokenRange& range : text.targets) {
      R1_CHECK(range.begin >= next);
      R1_CHECK(range.end > range.begin);
      next = range.end;
    }
    R1_CHECK(next <= static_cast<int>(text.ids.size()));
  }
  return 0;
}
