// Unicode mathematics to LaTeX: what keyboards, PDF readers and models write in place of commands.

#include <algorithm>
#include <array>

#include "rewards/math/lexer.h"

namespace r1::rewards::math {
namespace {

struct Replacement {
  uint32_t code;
  const char* latex;
};

// Sorted by code.
constexpr std::array kReplacements = {
    Replacement{0x00A0, " "},
    Replacement{0x00A2, "\\text{cents}"},
    Replacement{0x00A3, "\\pounds "},
    Replacement{0x00B0, "^\\circ "},
    Replacement{0x00B1, "\\pm "},
    Replacement{0x00B7, "\\cdot "},
    Replacement{0x00BC, "\\frac{1}{4}"},
    Replacement{0x00BD, "\\frac{1}{2}"},
    Replacement{0x00BE, "\\frac{3}{4}"},
    Replacement{0x00D7, "\\times "},
    Replacement{0x00F7, "/"},
    Replacement{0x0393, "\\Gamma "},
    Replacement{0x0394, "\\Delta "},
    Replacement{0x0398, "\\Theta "},
    Replacement{0x03A3, "\\Sigma "},
    Replacement{0x03A6, "\\Phi "},
    Replacement{0x03A9, "\\Omega "},
    Replacement{0x03B1, "\\alpha "},
    Replacement{0x03B2, "\\beta "},
    Replacement{0x03B3, "\\gamma "},
    Replacement{0x03B4, "\\delta "},
    Replacement{0x03B5, "\\epsilon "},
    Replacement{0x03B8, "\\theta "},
    Replacement{0x03BB, "\\lambda "},
    Replacement{0x03BC, "\\mu "},
    Replacement{0x03C0, "\\pi "},
    Replacement{0x03C1, "\\rho "},
    Replacement{0x03C3, "\\sigma "},
    Replacement{0x03C4, "\\tau "},
    Replacement{0x03C6, "\\phi "},
    Replacement{0x03C9, "\\omega "},
    Replacement{0x2002, " "},
    Replacement{0x2003, " "},
    Replacement{0x2009, " "},
    Replacement{0x200A, " "},
    Replacement{0x200B, ""},
    Replacement{0x2010, "-"},
    Replacement{0x2011, "-"},
    Replacement{0x2012, "-"},
    Replacement{0x2013, "-"},
    Replacement{0x2014, "-"},
    Replacement{0x2019, "'"},
    Replacement{0x202F, " "},
    Replacement{0x2032, "'"},
    Replacement{0x2044, "/"},
    Replacement{0x2062, ""},
    Replacement{0x20AC, "\\$"},
    Replacement{0x2102, "\\mathbb{C}"},
    Replacement{0x2115, "\\mathbb{N}"},
    Replacement{0x211A, "\\mathbb{Q}"},
    Replacement{0x211D, "\\mathbb{R}"},
    Replacement{0x2124, "\\mathbb{Z}"},
    Replacement{0x2153, "\\frac{1}{3}"},
    Replacement{0x2154, "\\frac{2}{3}"},
    Replacement{0x2155, "\\frac{1}{5}"},
    Replacement{0x215B, "\\frac{1}{8}"},
    Replacement{0x215C, "\\frac{3}{8}"},
    Replacement{0x215D, "\\frac{5}{8}"},
    Replacement{0x215E, "\\frac{7}{8}"},
    Replacement{0x2192, "\\to "},
    Replacement{0x21D2, "\\Rightarrow "},
    Replacement{0x2205, "\\emptyset "},
    Replacement{0x2208, "\\in "},
    Replacement{0x2212, "-"},
    Replacement{0x2213, "\\mp "},
    Replacement{0x2215, "/"},
    Replacement{0x2217, "*"},
    Replacement{0x2219, "\\cdot "},
    Replacement{0x221A, "\\sqrt "},
    Replacement{0x221B, "\\sqrt[3]"},
    Replacement{0x221E, "\\infty "},
    Replacement{0x2220, "\\angle "},
    Replacement{0x2229, "\\cap "},
    Replacement{0x222A, "\\cup "},
    Replacement{0x2236, ":"},
    Replacement{0x2248, "\\approx "},
    Replacement{0x2260, "\\neq "},
    Replacement{0x2264, "\\le "},
    Replacement{0x2265, "\\ge "},
    Replacement{0x22C5, "\\cdot "},
    Replacement{0x2308, "\\lceil "},
    Replacement{0x2309, "\\rceil "},
    Replacement{0x230A, "\\lfloor "},
    Replacement{0x230B, "\\rfloor "},
    Replacement{0x2A7D, "\\le "},
    Replacement{0x2A7E, "\\ge "},
    Replacement{0x3000, " "},
    Replacement{0x3001, ","},
    Replacement{0x3002, "."},
    Replacement{0xFEFF, ""},
};

// Superscript and subscript digits and signs: the character, or 0.
char Superscript(uint32_t code) {
  if (code == 0x00B2) return '2';
  if (code == 0x00B3) return '3';
  if (code == 0x00B9) return '1';
  if (code == 0x2070) return '0';
  if (code >= 0x2074 && code <= 0x2079) return static_cast<char>('4' + (code - 0x2074));
  if (code == 0x207A) return '+';
  if (code == 0x207B) return '-';
  if (code == 0x207F) return 'n';
  return 0;
}

char Subscript(uint32_t code) {
  return code >= 0x2080 && code <= 0x2089 ? static_cast<char>('0' + (code - 0x2080)) : '\0';
}

// The code point at `at` and its length; length 1 and code 0 for an invalid byte.
std::pair<uint32_t, size_t> DecodeAt(absl::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return {0, 1};
  uint32_t code = lead & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {0, 1};
    code = code << 6 | (byte(at + i) & 0x3FU);
  }
  return {code, length};
}

bool IsAscii(absl::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace

std::string UnicodeToLatex(absl::string_view text) {
  if (IsAscii(text)) return std::string(text);
  std::string latex;
  latex.reserve(text.size() + 16);
  char script = 0;  // '^' or '_' while a run of such digits is open
  for (size_t at = 0; at < text.size();) {
    const bool is_ascii = (text[at] & 0x80) == 0;
    const auto [code, length] =
        is_ascii ? std::pair<uint32_t, size_t>{text[at], 1} : DecodeAt(text, at);
    const char raised = is_ascii ? '\0' : Superscript(code);
    const char lowered = is_ascii ? '\0' : Subscript(code);
    const char wanted = raised != 0 ? '^' : lowered != 0 ? '_' : '\0';
    if (script != wanted) {
      if (script != 0) latex += '}';
      if (wanted != 0) latex.append({wanted, '{'});
      script = wanted;
    }
    const auto* found = std::lower_bound(
        kReplacements.begin(), kReplacements.end(), code,
        [](const Replacement& replacement, uint32_t value) { return replacement.code < value; });
    if (wanted != 0) {
      latex += raised != 0 ? raised : lowered;
    } else if (!is_ascii && code >= 0xFF01 && code <= 0xFF5E) {  // full-width ASCII
      latex += static_cast<char>(code - 0xFF01 + '!');
    } else if (!is_ascii && found != kReplacements.end() && found->code == code) {
      latex += found->latex;
    } else {
      latex.append(text.data() + at, length);
    }
    at += length;
  }
  if (script != 0) latex += '}';
  return latex;
}

}  // namespace r1::rewards::math
