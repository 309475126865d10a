"""Prints the tables of common/unicode_tables.cc: how the Unicode data inside Hugging Face's tokenizers differs
from what PCRE2 10.42 (Unicode 14) and any newer utf8proc know.

Run with tokenizers 0.23.3 (pip install tokenizers==0.23.3) and Python 3.11 (unicodedata 14.0.0). The regular
expressions of that library know Unicode 16; its NFC knows Unicode 9, so that later marks neither move nor compose.
"""

import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# Put around a mark, they show whether it is reordered and whether it blocks a composition.
AROUND = [("a", "\u0301\u0323\u0338\u0345\u05b0"), ("a\u0334\u0301\u0345", ""), ("\U00011935", "")]


def matched(pattern):
    """The code points that the regular expression of one character matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    found = set()
    for begin in range(0, len(CODE_POINTS), 4096):
        chunk = [chr(c) for c in CODE_POINTS[begin : begin + 4096]]
        left = set("".join(piece for piece, _ in split.pre_tokenize_str("".join(chunk))))
        found.update(ord(c) for c in chunk if c not in left)
    return found


def ranges(code_points):
    found = []
    for c in sorted(code_points):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def show(name, code_points):
    cells = [f"{{0x{low:04X}, 0x{high:04X}}}," for low, high in ranges(code_points)]
    print(f"{name}: {len(code_points)} code points")
    for begin in range(0, len(cells), 4):
        print("    " + " ".join(cells[begin : begin + 4]))


def main():
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
    marks_after_14 = set()
    for letter in "LNMPS":
        theirs = matched(rf"\p{{{letter}}}")
        ours = {c for c in CODE_POINTS if unicodedata.category(chr(c))[0] == letter}
        assert not ours - theirs, letter
        show(letter, theirs - ours)
        print(f"all of {letter}: {len(theirs)}", file=sys.stderr)
        if letter == "M":
            marks_after_14 = theirs - ours
    nfc = normalizers.NFC()
    differ = {
        c
        for c in CODE_POINTS
        for before, after in AROUND
        if nfc.normalize_str(before + chr(c) + after) != unicodedata.normalize("NFC", before + chr(c) + after)
    }
    show("unknown to NFC", differ | marks_after_14)


if __name__ == "__main__":
    main()
