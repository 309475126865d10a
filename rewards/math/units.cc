#include "rewards/math/units.h"

#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace r1::rewards::math {
namespace {

struct Spelling {
  absl::string_view word;  // singular
  absl::string_view unit;
};

constexpr std::array kSpellings = {
    Spelling{"percent", "%"},     Spelling{"degree", "deg"},    Spelling{"deg", "deg"},
    Spelling{"dollar", "$"},      Spelling{"usd", "$"},         Spelling{"cent", "cent"},
    Spelling{"euro", "euro"},     Spelling{"pound", "lb"},      Spelling{"lb", "lb"},
    Spelling{"ounce", "oz"},      Spelling{"oz", "oz"},         Spelling{"inch", "in"},
    Spelling{"inche", "in"},      Spelling{"in", "in"},         Spelling{"foot", "ft"},
    Spelling{"feet", "ft"},       Spelling{"ft", "ft"},         Spelling{"yard", "yd"},
    Spelling{"yd", "yd"},         Spelling{"mile", "mi"},       Spelling{"mi", "mi"},
    Spelling{"mph", "mi/h"},      Spelling{"mm", "mm"},         Spelling{"millimeter", "mm"},
    Spelling{"cm", "cm"},         Spelling{"centimeter", "cm"}, Spelling{"centimetre", "cm"},
    Spelling{"m", "m"},           Spelling{"meter", "m"},       Spelling{"metre", "m"},
    Spelling{"km", "km"},         Spelling{"kilometer", "km"},  Spelling{"kilometre", "km"},
    Spelling{"g", "g"},           Spelling{"gram", "g"},        Spelling{"mg", "mg"},
    Spelling{"kg", "kg"},         Spelling{"kilogram", "kg"},   Spelling{"l", "L"},
    Spelling{"liter", "L"},       Spelling{"litre", "L"},       Spelling{"ml", "mL"},
    Spelling{"milliliter", "mL"}, Spelling{"gallon", "gal"},    Spelling{"s", "s"},
    Spelling{"sec", "s"},         Spelling{"second", "s"},      Spelling{"min", "min"},
    Spelling{"minute", "min"},    Spelling{"h", "h"},           Spelling{"hr", "h"},
    Spelling{"hour", "h"},        Spelling{"day", "day"},       Spelling{"week", "week"},
    Spelling{"month", "month"},   Spelling{"year", "year"},     Spelling{"radian", "rad"},
    Spelling{"rad", "rad"},       Spelling{"acre", "acre"},     Spelling{"unit", "unit"},
};

// Empty when the word is none; "es" and "s" of a plural may be there.
absl::string_view UnitOf(absl::string_view word) {
  for (const Spelling& spelling : kSpellings) {
    if (spelling.word == word) return spelling.unit;
  }
  return word.size() > 2 && absl::ConsumeSuffix(&word, "s") ? UnitOf(word) : absl::string_view();
}

}  // namespace

bool IsUnitWord(absl::string_view word) {
  return word.size() > 1 && !UnitOf(absl::AsciiStrToLower(word)).empty();
}

std::string CanonicalUnit(absl::string_view words) {
  std::string unit;
  std::string power;
  const std::string lower = absl::AsciiStrToLower(words);
  if (absl::StartsWith(lower, "pmod")) {  // "pmod{3}"
    return absl::StrCat("mod ", absl::StrReplaceAll(lower.substr(4), {{"{", ""}, {" ", ""}}));
  }
  for (absl::string_view word : std::vector<absl::string_view>(
           absl::StrSplit(lower, absl::ByAnyChar(" ~./\\,"), absl::SkipEmpty()))) {
    if (word == "square" || word == "sq") power = "^2";
    if (word == "cubic" || word == "cu") power = "^3";
    const size_t caret = word.find('^');
    const absl::string_view exponent =
        caret == absl::string_view::npos ? absl::string_view() : word.substr(caret);
    const absl::string_view base = UnitOf(word.substr(0, caret));
    if (base.empty()) continue;
    // "units" alone count things; they agree with any unit.
    if (base == "unit") continue;
    absl::StrAppend(&unit, unit.empty() ? "" : "/", base, exponent.empty() ? power : exponent);
    power.clear();
  }
  return unit;
}

}  // namespace r1::rewards::math
