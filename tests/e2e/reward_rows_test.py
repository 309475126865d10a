#!/usr/bin/env python3
"""Rows of two kinds in one stage, each judged by a reward of its own."""

import json
import shutil
import sys

import r1_process

CONFIG = """
[model]
preset = "qwen_tiny"
tokenizer = "bytes"
[sampling]
response_tokens_max = 12
[[stage]]
name = "rl"
kind = "grpo"
data = { train_files = ["%(train)s"], eval_files = ["%(held_out)s"] }
eval.prompts = 4
grpo = { steps = 1, prompts_per_step = 6, samples_per_prompt = 2, sequences_per_update = 12 }
[[stage.reward]]
name = "math"
rows = { column = "category", values = ["math", "stem"] }
[[stage.reward]]
name = "multiple_choice"
rows = { column = "category", values = ["choice"] }
[[stage.reward]]
name = "length"
weight = 0
"""
ROWS = [
    {"prompt": "1+1", "answer": "2", "category": "math"},
    {"prompt": "F=", "answer": "ma", "category": "stem"},
    {"prompt": "(A) 1 (B) 2", "answer": "A", "category": "choice"},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main():
    r1 = r1_process.parse_arguments()
    folder = r1_process.new_folder()
    write(folder / "train.jsonl", [dict(row, prompt=f"{row['prompt']} {i}") for i in range(20) for row in ROWS])
    write(folder / "held_out.jsonl", ROWS)
    config = folder / "rows.toml"
    config.write_text(CONFIG % {"train": folder / "train.jsonl", "held_out": folder / "held_out.jsonl"})
    run_dir = folder / "run"
    done = r1_process.call(r1, r1_process.arguments_of(str(config), run_dir, []), 120)
    assert done.returncode == 0, done.stderr[-1500:]

    row = next(row for row in r1_process.metrics_rows(run_dir) if "reward/mean" in row)
    judged = {name: sum(value for key, value in row.items() if key.startswith(f"reward/{name}/reason/"))
              for name in ("math", "multiple_choice", "length")}
    assert judged["math"] > 0 and judged["multiple_choice"] > 0, judged
    assert abs(judged["math"] + judged["multiple_choice"] - 1) < 1e-9, judged
    assert abs(judged["length"] - 1) < 1e-9, judged
    assert r1_process.last_evaluation(run_dir, "rl", "eval/held_out/samples") == 3

    # Nothing is left of a row that no reward judges: the sample is masked.
    config.write_text(config.read_text().replace('["choice"]', '["quiz"]')
                      .replace('name = "length"', 'name = "repetition"')
                      .replace("weight = 0\n", 'rows = { column = "category", values = ["quiz"] }\n'))
    done = r1_process.call(r1, r1_process.arguments_of(str(config), folder / "masked", []), 120)
    assert done.returncode == 0, done.stderr[-1500:]
    row = next(row for row in r1_process.metrics_rows(folder / "masked") if "reward/mean" in row)
    assert 0 < row["reward/masked_frac"] < 1, row

    config.write_text(config.read_text().replace('values = ["math", "stem"]', "values = []"))
    wrong = r1_process.call(r1, r1_process.arguments_of(str(config), folder / "wrong", []), 120)
    assert wrong.returncode == 2 and "expected the values of rows.column" in wrong.stderr, wrong
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
