#!/usr/bin/env python3
"""configs/gsm8k.toml on a few rows of GSM8K: stopped in GRPO, resumed, finished."""

import json
import shutil
import signal
import sys
import time

import r1_process

SETTINGS = [
    'data.train_files=["tests/fixtures/gsm8k_sample.jsonl"]',
    "stage.cold_start.sft.updates_max=4",
    "stage.cold_start.sft.sequences_per_update=16",
    "stage.rl.grpo.steps=4",
    "stage.rl.grpo.prompts_per_step=4",
    "stage.rl.grpo.samples_per_prompt=4",
    "stage.rl.grpo.sequences_per_update=16",
    "checkpoint.every_steps=1",
]


def wait_for_grpo(run_dir, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        path = run_dir / "metrics.jsonl"
        if path.exists() and '"stage":"rl"' in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the run did not reach its first GRPO step")


def main():
    r1 = r1_process.parse_arguments()
    folder = r1_process.new_folder()
    run_dir = folder / "run"
    arguments = r1_process.arguments_of("configs/gsm8k.toml", run_dir, SETTINGS)
    with open(folder / "log", "w") as log:
        process = r1_process.start(r1, arguments, log)
        wait_for_grpo(run_dir, process)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
    assert code == 4, (code, (folder / "log").read_text()[-1500:])

    done = r1_process.call(r1, arguments, 300)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "resuming" in done.stdout, done.stdout[:300]
    rows = r1_process.metrics_rows(run_dir)
    steps = [r["step"] for r in rows if r["stage"] == "rl" and "reward/mean" in r]
    assert steps == [1, 2, 3, 4], steps
    report = json.loads((run_dir / "report.json").read_text())
    assert [s["name"] for s in report["stages"]] == ["cold_start", "rl"]
    assert r1_process.last_evaluation(run_dir, "rl", "eval/held_out/samples") > 0
    print(done.stdout[-600:])
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
