#include "common/byte_alphabet.h"

#include <array>
#include <map>

namespace r1 {
namespace {

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::map<std::string, char, std::less<>> bytes;
};

const Alphabet& ByteLevel() {
  static const Alphabet* const alphabet = [] {
    auto* made = new Alphabet;
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
      made->bytes.emplace(character, static_cast<char>(byte));
    }
    return made;
  }();
  return *alphabet;
}

}  // namespace

absl::string_view ByteLevelCharacter(char byte) {
  return ByteLevel().characters[static_cast<unsigned char>(byte)];
}

std::string ByteLevelToBytes(absl::string_view token) {
  const auto& table = ByteLevel().bytes;
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const size_t length = (token[at] & 0x80) == 0 ? 1 : 2;
    const auto found = table.find(std::string(token.substr(at, length)));
    if (found == table.end()) return std::string(token);
    bytes.push_back(found->second);
    at += length;
  }
  return bytes;
}

}  // namespace r1
