// What the lexer makes of names: LaTeX commands, and functions and constants with and without a
// backslash.
#pragma once

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "rewards/math/lexer.h"

namespace r1::rewards::math {

enum class Action : uint8_t {
  kIgnore,       // \left, \displaystyle
  kIgnoreGroup,  // \hspace{…}
  kWords,        // \text{…}
  kFont,         // \mathrm{…}: a letter, a function's name or words
  kModulus,      // \pmod{…}: a unit
  kOperator,
  kSymbol,
  kConstant,
  kFunction,
  kFraction,
  kBinomial,
  kBegin,
  kFinish,
};

struct Command {
  Action action;
  char op = 0;
  uint8_t id = 0;
};

using CommandTable = absl::flat_hash_map<absl::string_view, Command>;

// Function and constant names, with and without a backslash.
const CommandTable& NamedCommands();

// Everything else that begins with a backslash.
const CommandTable& LatexCommands();

}  // namespace r1::rewards::math
