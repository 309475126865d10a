// Tokenizers on any text: Decode is the inverse of Encode, up to the repair of invalid UTF-8 and to
// NFC, with and without added tokens, at once and token by token. The built-in ones, which take any
// bytes, and the small ones of tests/golden, which take valid UTF-8. Input: the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/incremental_decoder.h"
#include "common/tokenizer.h"
#include "common/unicode_nfc.h"
#include "common/utf8.h"

namespace {

const r1::Tokenizer& Builtin(const std::string& name) {
  return *r1::Tokenizer::Parse(*r1::Tokenizer::BuiltinJson(name)).value().release();
}

struct Family {
  std::unique_ptr<r1::Tokenizer> tokenizer;
  bool normalizes;
};

std::vector<Family> Families() {
  std::vector<Family> families;
  for (const std::string name : {"deepseek_v3", "llama3", "qwen3"}) {
    const std::string path = R1_GOLDEN_DIR "/bpe_" + name + ".json";
    const auto json = r1::RealFileSystem().Read(path, 1 << 20);
    families.push_back({r1::Tokenizer::Parse(json.value()).value(), name == "qwen3"});
  }
  return families;
}

std::string DecodeInParts(const r1::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  r1::IncrementalDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.Append(id);
  return text + decoder.Finish();
}

void CheckBuiltins(const std::string& text, const std::string& repaired) {
  static const r1::Tokenizer& bytes = Builtin("bytes");
  static const r1::Tokenizer& chars = Builtin("chars");
  const auto parsed = bytes.Encode(text);
  const auto plain = bytes.Encode(text, /*parse_added_tokens=*/false);
  R1_CHECK(parsed.ok());
  R1_CHECK(plain.ok());
  R1_CHECK(plain->size() == text.size());
  R1_CHECK(parsed->size() <= plain->size());
  R1_CHECK(bytes.Decode(*parsed) == repaired);
  R1_CHECK(bytes.Decode(*plain) == repaired);
  R1_CHECK(DecodeInParts(bytes, *plain) == repaired);
  const auto few = chars.Encode(text);
  if (few.ok()) {
    R1_CHECK(chars.Decode(*few) == text);
  } else {
    R1_CHECK(r1::IsValidUtf8(few.status().message()));
  }
}

// Content never becomes an added token, and what stands around it is encoded as ever.
void CheckContent(const r1::Tokenizer& tokenizer, const std::string& text,
                  const std::vector<int32_t>& parsed) {
  R1_CHECK(*tokenizer.EncodeWithContent(text, {}) == parsed);
  const r1::TextRange whole[] = {{0, text.size()}};
  const auto content = tokenizer.EncodeWithContent(text, whole);
  for (const int32_t id : *content) R1_CHECK(!tokenizer.IsSpecial(id));
  R1_CHECK(*content == *tokenizer.Encode(text, /*parse_added_tokens=*/false));
  size_t begin = text.size() / 3, end = text.size() - text.size() / 3;
  const auto is_inside = [&text](size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
  };
  while (is_inside(begin)) ++begin;
  while (is_inside(end)) ++end;
  const r1::TextRange middle[] = {{begin, std::max(begin, end)}};
  const auto mixed = tokenizer.EncodeWithContent(text, middle);
  R1_CHECK(mixed.ok());
  R1_CHECK(r1::NormalizeNfc(tokenizer.Decode(*mixed)) == r1::NormalizeNfc(text));
  R1_CHECK(tokenizer.AddSpecialTokens(*mixed).size() >= mixed->size());
}

void CheckFamily(const Family& family, const std::string& text, const std::string& repaired) {
  const r1::Tokenizer& tokenizer = *family.tokenizer;
  R1_CHECK(tokenizer.Encode(text).ok() == (text == repaired));
  const auto parsed = tokenizer.Encode(repaired);
  const auto plain = tokenizer.Encode(repaired, /*parse_added_tokens=*/false);
  R1_CHECK(parsed.ok());
  R1_CHECK(plain.ok());
  const std::string expected = family.normalizes ? r1::NormalizeNfc(repaired) : repaired;
  R1_CHECK(tokenizer.Decode(*plain) == expected);
  R1_CHECK(DecodeInParts(tokenizer, *plain) == expected);
  R1_CHECK(!family.normalizes || r1::NormalizeNfc(expected) == expected);
  // Around added tokens the text is normalized in parts, which may differ from the whole: U+0338
  // composes with a > before it.
  if (!family.normalizes) R1_CHECK(tokenizer.Decode(*parsed) == expected);
  R1_CHECK(DecodeInParts(tokenizer, *parsed) == tokenizer.Decode(*parsed));
  CheckContent(tokenizer, repaired, *parsed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Family>& families = *new std::vector<Family>(Families());
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string repaired = r1::ReplaceInvalidUtf8(text);
  CheckBuiltins(text, repaired);
  for (const Family& family : families) CheckFamily(family, text, repaired);
  return 0;
}
