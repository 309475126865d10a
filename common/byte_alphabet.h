// The byte-level alphabet of GPT-2's tokenizer: one printable character for each of the 256 bytes,
// so that a vocabulary of bytes can be written as text. Printable Latin-1 characters stand for
// themselves; the other bytes, in order, for U+0100, U+0101, …
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace r1 {

// The character of a byte, in UTF-8 (one or two bytes).
absl::string_view ByteLevelCharacter(char byte);

// The bytes that a token stands for; nullopt when a character of it is outside of the alphabet.
std::optional<std::string> BytesOfToken(absl::string_view token);

// The bytes that a token decodes to. A token with a character outside of the alphabet, which an
// added token may be, stands for itself.
std::string ByteLevelToBytes(absl::string_view token);

}  // namespace r1
