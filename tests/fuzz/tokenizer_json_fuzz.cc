// tokenizer.json, its regular expressions included: an error, or a tokenizer whose ids are all
// inside its vocabulary, name a token each, and decode without a crash. Input: the file's text.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/tokenizer.h"
#include "common/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto parsed = r1::Tokenizer::Parse(text);
  if (!parsed.ok()) {
    R1_CHECK(!parsed.status().message().empty());
    return 0;
  }
  const r1::Tokenizer& tokenizer = **parsed;
  R1_CHECK(tokenizer.json() == text);
  R1_CHECK(tokenizer.bos_id() < tokenizer.vocab_size());
  R1_CHECK(!tokenizer.config_json().empty());
  for (const char* sample : {"", "<bos>7+5=12\n<think>a</think><eos>", "\xFF\xC3 x",
                             "abc  12 a\u0301\u00E9 ABC'll\u4F60\n\n x "}) {
    for (const bool parse_added_tokens : {true, false}) {
      const auto ids = tokenizer.Encode(sample, parse_added_tokens);
      if (!ids.ok()) continue;
      for (const int32_t id : *ids) {
        R1_CHECK(id >= 0);
        R1_CHECK(id < tokenizer.vocab_size());
      }
      R1_CHECK(r1::IsValidUtf8(tokenizer.Decode(*ids)));
      for (const int32_t id : tokenizer.AddSpecialTokens(*ids)) {
        R1_CHECK(id >= 0);
        R1_CHECK(id < tokenizer.vocab_size());
      }
    }
  }
  std::vector<int32_t> all;
  for (int32_t id = -1; id <= tokenizer.vocab_size(); ++id) all.push_back(id);
  R1_CHECK(r1::IsValidUtf8(tokenizer.Decode(all)));
  R1_CHECK(tokenizer.Decode(all, true).size() <= tokenizer.Decode(all).size() * 3 + 3);
  return 0;
}
