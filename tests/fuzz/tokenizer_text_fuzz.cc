// The built-in tokenizers on any text: Decode is the inverse of Encode, up to the repair of invalid
// UTF-8, with and without added tokens. Input: the text.

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/tokenizer.h"
#include "common/utf8.h"

namespace {

const r1::Tokenizer& Builtin(const std::string& name) {
  return *r1::Tokenizer::Parse(*r1::Tokenizer::BuiltinJson(name)).value().release();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const r1::Tokenizer& bytes = Builtin("bytes");
  static const r1::Tokenizer& chars = Builtin("chars");
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string repaired = r1::ReplaceInvalidUtf8(text);
  const auto parsed = bytes.Encode(text);
  const auto plain = bytes.Encode(text, /*parse_added_tokens=*/false);
  R1_CHECK(parsed.ok());
  R1_CHECK(plain.ok());
  R1_CHECK(plain->size() == text.size());
  R1_CHECK(parsed->size() <= plain->size());
  R1_CHECK(bytes.Decode(*parsed) == repaired);
  R1_CHECK(bytes.Decode(*plain) == repaired);
  const auto few = chars.Encode(text);
  if (few.ok()) {
    R1_CHECK(chars.Decode(*few) == text);
  } else {
    R1_CHECK(r1::IsValidUtf8(few.status().message()));
  }
  return 0;
}
