#!/usr/bin/env python3
"""The default run with its GRPO stage cut short: it must learn, and worker and learner must agree."""

import shutil
import sys

import r1_process

GRPO_STEPS = 60
RISE_MIN = 0.1
MISMATCH_MAX = 1e-5


def main():
    r1 = r1_process.parse_arguments()
    folder = r1_process.new_folder()
    run_dir = folder / "run"
    done = r1_process.call(r1, r1_process.arguments_of(
        "configs/r1_mini.toml", run_dir, [f"stage.rl.grpo.steps={GRPO_STEPS}",
                                          "stage.rl.optimizer.decay_from_update=30"]), 600)
    print(done.stdout[-1500:], done.stderr[-1500:])
    assert done.returncode == 0, f"r1 run ended with {done.returncode}"

    sampled, greedy = "eval/held_out/pass@1", "eval/held_out/greedy"
    start = r1_process.last_evaluation(run_dir, "cold_start", sampled)
    end = r1_process.last_evaluation(run_dir, "rl", sampled)
    assert end >= start + RISE_MIN, f"sampled accuracy {start:.3f} -> {end:.3f}"
    low = r1_process.last_evaluation(run_dir, "rl", sampled + "_low")
    high = r1_process.last_evaluation(run_dir, "rl", sampled + "_high")
    assert low <= end <= high and r1_process.last_evaluation(run_dir, "rl", greedy) <= 1

    rows = [r for r in r1_process.metrics_rows(run_dir) if "mismatch/logprob_abs_mean" in r]
    assert len(rows) == GRPO_STEPS, f"{len(rows)} steps measured the mismatch"
    worst = max(r["mismatch/logprob_abs_mean"] for r in rows)
    assert worst <= MISMATCH_MAX, f"mean |difference of logprobs| {worst:.1e}"
    for row in r1_process.metrics_rows(run_dir):
        assert {"stage", "step", "update"} <= row.keys(), row
    print(f"sampled accuracy {start:.3f} -> {end:.3f}, worst mean logprob difference {worst:.1e}")

    model = sorted((run_dir / "checkpoints").iterdir())[-1]
    evaluated = r1_process.call(r1, ["eval", "--model", str(model), "--prompts", "64",
                                     "--max-tokens", "52"])
    assert evaluated.returncode == 0 and "eval/chain/pass@1" in evaluated.stdout, evaluated
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
