"""Writes tokenizer_{chars,bytes}.jsonl: what Hugging Face's tokenizers makes of the built-in tokenizers.

Run in this folder with tokenizers 0.23.3 (pip install tokenizers==0.23.3). The tokenizer_*.json files beside
it are what Tokenizer::BuiltinJson returns, which tests/common/tokenizer_test.cc checks. A row is
{"text", "ids", "decoded", "decoded_skip_special"}; rows with random ids have no text.
"""

import json
import random

import tokenizers

TAGS = ["<pad>", "<bos>", "<eos>", "<think>", "</think>", "<answer>", "</answer>"]
NEAR_TAGS = ["<", ">", "</", "<think", "think>", "<<think>>", "< think>", "</answer", "<eos"]
CHARS = list("0123456789+-=:\nabcdefghij")


def character(rng):
    """Any Unicode character, with a bent for those of one, two, three and four bytes alike."""
    low, high = rng.choice([(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0x10000, 0x10FFFF)])
    return chr(rng.randint(low, high))


def text(rng, kind):
    pieces = []
    for _ in range(rng.randint(0, 12)):
        draw = rng.random()
        if draw < 0.25:
            pieces.append(rng.choice(TAGS))
        elif draw < 0.35 and kind == "bytes":
            pieces.append(rng.choice(NEAR_TAGS))
        else:
            pieces.append(rng.choice(CHARS) if kind == "chars" else character(rng))
    return "".join(pieces)


def row(tokenizer, ids):
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    skipped = tokenizer.decode(ids, skip_special_tokens=True)
    return {"ids": ids, "decoded": decoded, "decoded_skip_special": skipped}


def main():
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    for kind in ("chars", "bytes"):
        rng = random.Random(7)
        tokenizer = tokenizers.Tokenizer.from_file(f"tokenizer_{kind}.json")
        size = tokenizer.get_vocab_size()
        with open(f"tokenizer_{kind}.jsonl", "w", encoding="ascii") as out:
            for _ in range(200):
                sample = text(rng, kind)
                ids = tokenizer.encode(sample, add_special_tokens=False).ids
                out.write(json.dumps({"text": sample, **row(tokenizer, ids)}) + "\n")
            for _ in range(100):  # invalid UTF-8, and ids that no token has
                ids = [rng.randrange(size + 3) for _ in range(rng.randint(0, 10))]
                out.write(json.dumps(row(tokenizer, ids)) + "\n")


if __name__ == "__main__":
    main()
