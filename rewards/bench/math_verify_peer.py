#!/usr/bin/env python3
"""math-verify over a file of labelled rows: how often it is right, and how fast on one core.

    math_verify_peer.py FILE.jsonl

Rows as in r1_bench_rewards: {response or prediction, answer, expected}. A prediction is bare LaTeX, so it is
put between dollars, as the answer is. Rates count processor seconds, each over about 3 seconds of rows.
"""

import importlib.metadata
import json
import logging
import pathlib
import sys
import time

import math_verify

LONG_BYTES = 8 << 10
SECONDS = 3


def is_equal(row):
    gold = math_verify.parse(f"${row['answer']}$", parsing_timeout=5)
    text = row.get("response") or f"${row['prediction']}$"
    return bool(math_verify.verify(gold, math_verify.parse(text, parsing_timeout=5), timeout_seconds=5))


def rate(rows):
    """Rows a processor second, over as many rows as about SECONDS take."""
    begin, judged = time.process_time(), 0
    while time.process_time() - begin < SECONDS:
        is_equal(rows[judged % len(rows)])
        judged += 1
    return judged / (time.process_time() - begin)


def lengthened(row):
    """The row with an output of at least LONG_BYTES: its own text, repeated before it."""
    text = row["response"]
    filler = text * (LONG_BYTES // len(text.encode()) + 1)
    return {**row, "response": filler[:LONG_BYTES] + text}


def main():
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    rows = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    verdicts = [(is_equal(row), bool(row.get("expected", True))) for row in rows]
    right = sum(verdict == expected for verdict, expected in verdicts)
    false_positives = sum(verdict and not expected for verdict, expected in verdicts)
    what = "outputs" if rows[0].get("response") else "pairs"
    print(f"  math-verify {importlib.metadata.version('math-verify')}: {right} of {len(rows)} as expected "
          f"({100 * right / len(rows):.2f} %), {false_positives} false positives")
    print(f"  math-verify {what}: {rate(rows):.0f} a processor second")
    if what == "outputs":
        print(f"  math-verify outputs of 8 KiB and more: {rate([lengthened(row) for row in rows]):.0f} a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
