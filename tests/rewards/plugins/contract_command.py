#!/usr/bin/env python3
"""The contract's plugin as a program that speaks JSON lines (tests/rewards/plugin_contract.h)."""

import json
import sys

import contract

config = json.loads(sys.stdin.readline())["config"]
print(json.dumps({"r1_reward": 1}), flush=True)
replies, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    request = json.loads(line)
    scores = []
    for sample in request["samples"]:
        try:
            scores.append(contract.score(sample, config))
        except ValueError as error:
            scores.append({"error": str(error)})
    for score in scores:  # true and false are no numbers
        if isinstance(score, dict) and "score" in score:
            score["score"] = float(score["score"])
    # NaN is no JSON; Python writes it all the same.
    print(json.dumps({"id": request["id"], "scores": scores}), file=replies, flush=True)
