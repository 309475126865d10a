#!/usr/bin/env python3
"""Where the time of a run's GRPO stage went, from its metrics.jsonl.

  step_shares.py runs/r1_mini-s1
"""

import json
import pathlib
import sys


def main():
    rows = [json.loads(line) for line in
            (pathlib.Path(sys.argv[1]) / "metrics.jsonl").read_text().splitlines()]
    steps = [r for r in rows if "reward/mean" in r]
    total = sum(r["time/step"] for r in steps)
    print(f"{len(steps)} steps, {total:.1f} s, {total / len(steps):.3f} s a step")
    for phase in ("generate", "train", "publish", "evaluate", "checkpoint", "unaccounted"):
        seconds = sum(r.get(f"time/{phase}", 0) for r in steps)
        print(f"{phase:12} {seconds:8.2f} s  {seconds / total:6.1%}")
    scoring = sum(r["time/worker_score"] for r in steps)
    print(f"scoring      {scoring:8.2f} s  {scoring / total:6.1%}  (on reward threads, meanwhile)")
    for kind, phase in (("gen", "generate"), ("train", "train")):
        rates = sorted(r[f"perf/{kind}_tokens_per_second"] for r in steps
                       if r.get(f"perf/{kind}_tokens_per_second", 0) > 0)
        print(f"{kind:5} median {rates[len(rates) // 2]:10.0f} tokens/s over time/{phase}")


if __name__ == "__main__":
    sys.exit(main())
