"""Cases for byte-level BPE: what Hugging Face's tokenizers makes of generated texts.

Needs tokenizers 0.23.3 (pip install tokenizers==0.23.3).

  python make_bpe_cases.py small
      Writes bpe_<family>.json and bpe_<family>.jsonl beside this file: small tokenizers, trained here, each with
      the splits, normalization, post-processing and kinds of added tokens of a family, and 60 cases of each.
  python make_bpe_cases.py full FILES OUTPUT COUNT
      FILES/<family>/tokenizer.json[.gz] are published tokenizers. Writes OUTPUT/<family>/tokenizer.json and
      generated.jsonl with COUNT cases, and copies FILES/<family>/cases.jsonl. Run
      R1_TOKENIZERS=OUTPUT build/.../bin/tokenizer_test --gtest_filter='*Published*' to compare.

A row is {"text", "ids", "with_special", "decoded", "decoded_skip_special"}; "decoded" is left out when it is the
text, "decoded_skip_special" when it is "decoded", "with_special" when it is "ids". Rows with random ids have no text.
"""

import gzip
import json
import pathlib
import random
import shutil
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = """the quick brown fox jumps over lazy dog Natalia sold clips altogether how many answer because therefore
number total cost dollars hours each find compute integer let equation solve matrix proof theorem Wait Hmm
straße naïve café façade coöperate Ångström señor über garçon Việt Nam tiếng không Łódź žluťoučký kůň İstanbul ığdır
Привет мир как дела сколько стоит Здравствуйте объём ёлка Ελληνικά φιλοσοφία άνθρωπος שלום עולם مرحبا بالعالم
سلام नमस्ते दुनिया हिन्दी বাংলা ไทยภาษา สวัสดี ខ្មែរ မြန်မာ ქართული հայերեն አማርኛ தமிழ் తెలుగు ಕನ್ನಡ മലയാളം 한국어 안녕하세요 세계
你好 世界 数学 计算 因为 所以 答案 日本語 こんにちは カタカナ ひらがな 東京 﨑 㐀 𠀀𠮷 ＡＢＣ ｶﾅ""".split()
CONTRACTIONS = "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'LL 'D 'ſ 'x ' ’s 'st 'ſt it's don't WE'RE I'M'll".split()
CODE = [
    "def f(x):\n    return x**2 + 1\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "std::vector<int> v{1,2};",
    "if __name__ == '__main__':\r\n        main()\r\n", "SELECT * FROM t WHERE a>=3;", "<div class=\"x\">&amp;</div>",
    "\\frac{1}{2}\\sqrt{x_1^2}", "$$\\boxed{42}$$", "#include <map>", "a->b.c(&d)", "x = [1, 2, 3][::-1]", "/* no */",
    "https://example.org/?q=a&b=c#d", "{\"k\": [null, true, 1e-9]}", "`ls -la | grep x`", "<<48/2=24>>24", "#### 72",
]
SPACES = [" ", " ", " ", "\n", "\t", "\r", "\r\n", "\u00a0", "\u3000", "\u2028", "\u2029", "\u0085", "\u180e", "\u200b",
          "\v", "\f", "\u1680", "\u2003", "\ufeff", "\x1c"]
DIGITS = list("0123456789") + ["½", "²", "Ⅷ", "٣", "४", "１", "𝟜", "㊿", "〇"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + list("…—–“”‘’«»¿¡、。！？「」・€£¥©®™°±×÷≤≥∑∫√∞→⇒∀∃½·")
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏿", "🇫🇷", "1️⃣", "❤️", "🫠", "🪿", "☕", "\ufe0f", "\u200d"]
MARKS = ["e\u0301", "a\u0323\u0302", "\u0301", "\u0300\u0323\u0334", "o\u031b\u0323", "\u1100\u1161\u11a8", "\uac00\u11a8",
         "\u212b", "\u2126", "\u0958", "\u0915\u093c", "\u05d0\u05b7\u05bc", "\u0344", "\u1e9b\u0323", "a\u0899\u0301",
         "\U0001d15e", "\uf900", "\u0f73", "\u0b47\u0b3e", "\u0327c\u0327", "x\u20dd", "\u0f71\u0f72", "e\u1abf\u0301"]


# Everything that NFC moves, takes apart or puts together, and what it must leave alone.
UNSTABLE = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))
            or unicodedata.normalize("NFD", chr(c)) != chr(c) and not 0xAC00 <= c <= 0xD7A3]
UNSTABLE += sorted({part for c in UNSTABLE for part in unicodedata.normalize("NFD", c)})
UNSTABLE += [chr(c) for low, high in [(0x1100, 0x11FF), (0xAC00, 0xAC1C), (0x10EFD, 0x10EFF), (0x16121, 0x16128)]
             for c in range(low, high + 1)]


def character(rng):
    """Any Unicode character, with a bent for those of one, two, three and four bytes alike."""
    low, high = rng.choice([(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
                            (0x20000, 0x3FFFF), (0x40000, 0x10FFFF)])
    return chr(rng.randint(low, high))


def piece(rng, added):
    kind = rng.randrange(16)
    many = lambda choices, most: "".join(rng.choice(choices) for _ in range(rng.randint(1, most)))
    if kind <= 2:
        return (" " if rng.random() < 0.7 else "") + rng.choice(WORDS)
    if kind == 3:
        return rng.choice(WORDS) + rng.choice(CONTRACTIONS)
    if kind == 4:
        return many(SPACES, 6)
    if kind == 5:
        return " " * rng.randint(1, 20) + rng.choice(["", "\n", "\n\n", "\t", "x", "7", "你"])
    if kind == 6:
        return many(DIGITS, 9)
    if kind == 7:
        return many(PUNCTUATION, 5)
    if kind == 8:
        return rng.choice(CODE)
    if kind == 9:
        return many(EMOJI, 4)
    if kind == 10:
        return many(MARKS, 5)
    if kind == 11:
        return "".join(character(rng) for _ in range(rng.randint(1, 6)))
    if kind == 12 and added:
        token = rng.choice(added)
        return rng.choice([token, token, token[:-1], token[1:], token * 2, " " + token + " "])
    if kind == 14:
        return many(UNSTABLE, 8)
    if kind == 13:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 8))).decode("utf-8", "replace")
    return rng.choice(WORDS)[: rng.randint(1, 4)] * rng.choice([1, 2, 3, 20])


def text(rng, added):
    if rng.random() < 0.01:
        return rng.choice(["", "a", " ", "\n", "ab" * 500, " " * 300, "=" * 200, "é" * 100, "0" * 77])
    return "".join(piece(rng, added) for _ in range(rng.randint(1, 12)))


def decoded(tokenizer, ids, sample):
    row = {"ids": ids}
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    skipped = tokenizer.decode(ids, skip_special_tokens=True)
    if whole != sample:
        row["decoded"] = whole
    if skipped != whole:
        row["decoded_skip_special"] = skipped
    return row


def cases(tokenizer, count, seed):
    rng = random.Random(seed)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    size = tokenizer.get_vocab_size()
    for i in range(count):
        if i % 10 == 9:  # invalid UTF-8, and ids that no token has
            ids = [rng.randrange(size + 3) for _ in range(rng.randint(0, 12))]
            yield decoded(tokenizer, ids, None)
            continue
        sample = text(rng, added)
        ids = tokenizer.encode(sample, add_special_tokens=False).ids
        row = {"text": sample, **decoded(tokenizer, ids, sample)}
        with_special = tokenizer.encode(sample, add_special_tokens=True).ids
        if with_special != ids:
            row["with_special"] = with_special
        yield row


def write_cases(path, tokenizer, count, seed):
    with open(path, "w", encoding="ascii") as out:
        for row in cases(tokenizer, count, seed):
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


def words_pattern(numbers):
    return (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers +
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]


def added(content, special, normalized=False):
    return tokenizers.AddedToken(content, special=special, normalized=normalized)


def splits(*patterns):
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def bos_template(tokenizer, token):
    return processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, tokenizer.token_to_id(token))])


def small(family):
    """(normalizer, pre-tokenizer, added tokens, tokenizer -> post-processor or None) of a family."""
    plain = lambda tokenizer: processors.ByteLevel(trim_offsets=False)
    if family in ("qwen2", "qwen3", "deepseek_r1_distill_qwen"):
        think = [added("<think>", False), added("</think>", False)]
        if family == "deepseek_r1_distill_qwen":
            tokens = [added("<｜end▁of▁sentence｜>", True), added("<｜User｜>", False), added("<｜Assistant｜>", False),
                      added("<｜begin▁of▁sentence｜>", True), *think]
            post = lambda tokenizer: bos_template(tokenizer, "<｜begin▁of▁sentence｜>")
        else:
            tokens = [added("<|endoftext|>", True), added("<|im_start|>", True), added("<|im_end|>", True),
                      added("<tool_call>", False), *(think if family == "qwen3" else [])]
            post = plain
        return normalizers.NFC(), splits(words_pattern(r"\p{N}")), tokens, post
    if family == "llama3":
        tokens = [added("<|begin_of_text|>", True), added("<|end_of_text|>", True), added("<|eot_id|>", True)]
        post = lambda tokenizer: processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), bos_template(tokenizer, "<|begin_of_text|>")])
        return None, splits(words_pattern(r"\p{N}{1,3}")), tokens, post
    if family == "deepseek_v3":
        tokens = [added("<｜begin▁of▁sentence｜>", True), added("<｜end▁of▁sentence｜>", True),
                  added("<think>", False, True), added("</think>", False, True), added("<｜User｜>", False, True)]
        return normalizers.Sequence([]), splits(*DEEPSEEK), tokens, plain
    # What no family has, but ByteLevel can do, and added tokens that are looked for in the normalized text.
    assert family == "gpt2_nfc"
    tokens = [added("<|endoftext|>", True), added("é", False, True), added("<é>", False), added("한국", False, True)]
    end = lambda tokenizer: processors.TemplateProcessing(
        single="$A <|endoftext|> <|endoftext|>",
        special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))])
    return (normalizers.Sequence([normalizers.NFC()]), pre_tokenizers.ByteLevel(add_prefix_space=True), tokens, end)


FAMILIES = ["deepseek_r1_distill_qwen", "deepseek_v3", "gpt2_nfc", "llama3", "qwen2", "qwen3"]


def make_small(family):
    normalizer, pre_tokenizer, tokens, post = small(family)
    tokenizer = Tokenizer(models.BPE(ignore_merges=family == "llama3"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(family)
    trainer = trainers.BpeTrainer(vocab_size=560, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator((text(rng, []) for _ in range(3000)), trainer)
    if family == "llama3":  # tokens that no merge leads to any more
        state = json.loads(tokenizer.to_str())
        state["model"]["merges"] = [m for i, m in enumerate(state["model"]["merges"]) if i < 100 or i % 7]
        known = set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) | {a + b for a, b in state["model"]["merges"]}
        state["model"]["merges"] = [m for m in state["model"]["merges"] if m[0] in known and m[1] in known]
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens(tokens)
    tokenizer.post_processor = post(tokenizer)
    return tokenizer


def main():
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    here = pathlib.Path(__file__).parent
    if sys.argv[1:] == ["small"]:
        for family in FAMILIES:
            tokenizer = make_small(family)
            (here / f"bpe_{family}.json").write_text(tokenizer.to_str(pretty=False) + "\n")
            write_cases(here / f"bpe_{family}.jsonl", tokenizer, 60, 7)
        return
    command, files, output, count = sys.argv[1:]
    assert command == "full", command
    for family in sorted(pathlib.Path(files).iterdir()):
        packed = family / "tokenizer.json.gz"
        plain = family / "tokenizer.json"
        if not packed.exists() and not plain.exists():
            continue
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        target = pathlib.Path(output) / family.name
        target.mkdir(parents=True, exist_ok=True)
        (target / "tokenizer.json").write_bytes(data)
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        write_cases(target / "generated.jsonl", tokenizer, int(count), family.name)
        if (family / "cases.jsonl").exists():
            shutil.copyfile(family / "cases.jsonl", target / "cases.jsonl")
        print(family.name, count)


if __name__ == "__main__":
    main()
