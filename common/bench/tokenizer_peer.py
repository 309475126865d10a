#!/usr/bin/env python3
"""Encoding speed of r1_bench_tokenizer beside Hugging Face's tokenizers, on one thread each, in one run.

    tokenizer_peer.py --bench build/release/bin/r1_bench_tokenizer --tokenizer DIR --input FILE.jsonl

Needs `pip install tokenizers`. Both encode every string of the file, one call a string, and both must find the
same number of tokens. Rounds alternate, so that a busy machine slows both; processor seconds, best round.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bench", "tokenizer", "input"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = map(json.loads, pathlib.Path(options.input).read_text(encoding="utf-8").splitlines())
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    megabytes = sum(len(text.encode()) for text in texts) * 1e-6
    peer = tokenizers.Tokenizer.from_file(str(pathlib.Path(options.tokenizer) / "tokenizer.json"))
    ours, theirs = [], []
    for _ in range(options.rounds):
        command = [options.bench, "--tokenizer", options.tokenizer, "--input", options.input, "--rounds", "2", "--json"]
        ours.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        begin = time.process_time()
        tokens = sum(len(peer.encode(text, add_special_tokens=False).ids) for text in texts)
        theirs.append(megabytes / (time.process_time() - begin))
        assert tokens == ours[-1]["tokens"], (tokens, ours[-1])
    best = max(ours, key=lambda row: row["encode_megabytes_per_second"])
    speed = best["encode_megabytes_per_second"]
    print(f"{len(texts)} texts, {megabytes:.2f} MB, {best['tokens']} tokens; MB/s: r1 {speed:.2f}, "
          f"tokenizers {tokenizers.__version__} {max(theirs):.2f}, ratio {speed / max(theirs):.2f}; "
          f"r1 loads in {best['load_seconds']:.2f} s, decodes {best['decode_megabytes_per_second']:.0f} MB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
