#!/usr/bin/env python3
import json
import sys

hello = json.loads(sys.stdin.readline())  # {"r1_reward": 1, "name": …, "config": {…}}
print(json.dumps({"r1_reward": hello["r1_reward"]}), flush=True)
for line in sys.stdin:  # {"id": 7, "timeout_ms": 30000, "samples": [{"response": …, …}, …]}
    request = json.loads(line)
    scores = []
    for sample in request["samples"]:
        answer = sample["response"].partition("<answer>")[2].partition("</answer>")[0]
        scores.append({"score": 1.0 if 0 < len(answer) <= 4 else 0.0, "reason": "length"})
    print(json.dumps({"id": request["id"], "scores": scores}), flush=True)
