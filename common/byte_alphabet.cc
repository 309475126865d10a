#include "common/byte_alphabet.h"

#include <array>

namespace r1 {
namespace {

constexpr int kCodePointsEnd = 0x144;  // 68 bytes do not stand for themselves

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, kCodePointsEnd> bytes;  // by code point; -1 outside of the alphabet
};

const Alphabet& ByteLevel() {
  static const Alphabet* const alphabet = [] {
    auto* made = new Alphabet;
    made->bytes.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const int code_point = StandsForItself(byte) ? byte : next++;
      std::string& character = made->characters[static_cast<size_t>(byte)];
      if (code_point < 0x80) {
        character = static_cast<char>(code_point);
      } else {  // all below U+0800
        character = {static_cast<char>(0xC0 | code_point >> 6),
                     static_cast<char>(0x80 | (code_point & 0x3F))};
      }
      made->bytes[static_cast<size_t>(code_point)] = byte;
    }
    return made;
  }();
  return *alphabet;
}

}  // namespace

absl::string_view ByteLevelCharacter(char byte) {
  return ByteLevel().characters[static_cast<unsigned char>(byte)];
}

std::optional<std::string> BytesOfToken(absl::string_view token) {
  const auto& table = ByteLevel().bytes;
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t at = 0; at < token.size(); ++at) {
    int code_point = static_cast<unsigned char>(token[at]);
    if (code_point >= 0x80) {
      if (code_point >= 0xE0 || ++at == token.size()) return std::nullopt;
      code_point = (code_point & 0x1F) << 6 | (token[at] & 0x3F);
    }
    if (code_point >= kCodePointsEnd) return std::nullopt;
    const int byte = table[static_cast<size_t>(code_point)];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

std::string ByteLevelToBytes(absl::string_view token) {
  std::optional<std::string> bytes = BytesOfToken(token);
  return bytes.has_value() ? *std::move(bytes) : std::string(token);
}

}  // namespace r1
