#!/usr/bin/env python3
"""Every kind of stage in one run: what each leaves, samples drawn again from their provenance,
stages begun again by name, fine-tuning on conversations, and an interruption in each stage."""

import hashlib
import json
import os
import shutil
import signal
import sys
import time

import r1_process

CONFIG = "tests/chaos/stages.toml"
STAGES = ["base", "collect", "student", "taught", "rl"]
CHAT_TEMPLATE = """{%- for m in messages -%}[{{ m.role }}]{{ m.content }}
{%- if m.role == 'assistant' %}<eos>{% endif %}{%- endfor -%}
{%- if add_generation_prompt %}[assistant]{% endif -%}"""


def digests(run_dir):
    """sha256 of the weights that each stage ended with, and of the data sets, by name."""
    found = {}
    for path in sorted((run_dir / "checkpoints").iterdir()):
        if ".tmp-" not in path.name:
            name = path.name.split("_step_")[0]
            found[name] = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    for path in sorted((run_dir / "datasets").glob("*")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def end_of_stage(run_dir, name):
    return sorted((run_dir / "checkpoints").glob(f"*_{name}_step_*"))[-1]


def run(r1, run_dir, settings=(), flags=(), config=CONFIG):
    return r1_process.call(r1, r1_process.arguments_of(config, run_dir, settings) + list(flags),
                           120)


def check_data_set(run_dir):
    rows = rows_of(run_dir / "datasets/collect.jsonl")
    prompts = rows_of(run_dir / "datasets/collect.prompts.jsonl")
    report = json.loads((run_dir / "datasets/collect.report.json").read_text())
    sampled = [r for r in rows if r["provenance"]["source"] == "sampled"]
    assert len(prompts) == 60 and all(0 <= p["pass_rate"] <= 1 for p in prompts), prompts[:3]
    assert len(rows) == report["total"]["kept"] == len(sampled) + round(len(sampled) / 4), report
    counts = {r["source"]: r for r in report["rows"]}
    assert counts["sampled"]["samples"] == 240 and counts["sampled"]["kept"] == len(sampled), report
    assert counts["written"]["category"] == "by hand", report
    of_prompt = {}
    for row in sampled:
        part = row["provenance"]["parts"][0]
        assert part["name"] == "coin_flip" and part["value"] == 1, row
        of_prompt.setdefault(row["prompt"], []).append(row["completion"])
    for completions in of_prompt.values():
        assert len(set(completions)) == len(completions) <= 2, completions
    return len(sampled)


def check_replay(r1, run_dir, sampled):
    data_set = run_dir / "datasets/collect.jsonl"
    model = end_of_stage(run_dir, "collect")
    done = r1_process.call(r1, ["replay", str(data_set), "--model", str(model), "--json"])
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == {"rows": sampled, "equal": sampled}, done.stdout

    forged = run_dir / "forged.jsonl"
    rows = rows_of(data_set)
    rows[1]["completion"] += "1"
    rows[2]["provenance"]["sample_index"] += 100
    forged.write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = r1_process.call(r1, ["replay", str(forged), "--model", str(model)])
    assert done.returncode == 3 and "forged.jsonl:2" in done.stderr, done
    assert "forged.jsonl:3" in done.stderr and f"{sampled - 2} of {sampled}" in done.stdout, done
    other = r1_process.call(r1, ["replay", str(data_set), "--model",
                                 str(end_of_stage(run_dir, "rl"))])
    assert other.returncode == 2 and "expected a model with weights" in other.stderr, other


def check_schedules(run_dir):
    """The length limit and the mix of rewards change at their updates (one update a step)."""
    rows = [r for r in r1_process.metrics_rows(run_dir) if r["stage"] == "rl" and "loss/mean" in r
            or r["stage"] == "rl" and "reward/mean" in r]
    assert [r["step"] for r in rows] == list(range(1, 13)), [r["step"] for r in rows]
    for row in rows:
        assert ("reward/format/mean" in row) == (row["update"] > 5), row
        assert row["length/max"] <= (12 if row["update"] <= 6 else 24), row
    assert max(r["length/max"] for r in rows) > 12, "the longer limit was never used"


def check_begun_again(r1, run_dir, reference):
    only = run(r1, run_dir, flags=["--only-stage", "taught"])
    assert only.returncode == 0 and "stage taught is done" in only.stdout, only
    assert not (run_dir / "report.json").exists()
    assert "04_rl" not in digests(run_dir), digests(run_dir)
    done = run(r1, run_dir)
    assert done.returncode == 0 and digests(run_dir) == reference, done

    changed = ["stage.collect.rejection_sampling.keep_per_prompt=1"]
    refused = run(r1, run_dir, changed, ["--from-stage", "student"])
    assert refused.returncode == 2, refused
    assert "stage.collect.rejection_sampling.keep_per_prompt" in refused.stderr, refused
    done = run(r1, run_dir, changed, ["--from-stage", "collect"])
    assert done.returncode == 0, done
    now = digests(run_dir)
    assert now["00_base"] == reference["00_base"], now
    for name in ("collect.jsonl", "02_student"):
        assert now[name] != reference[name], name
    wrong = run(r1, run_dir, changed, ["--from-stage", "studnt"])
    assert wrong.returncode == 2 and 'did you mean "student"' in wrong.stderr, wrong
    fresh = run(r1, run_dir.parent / "fresh", flags=["--from-stage", "rl"])
    assert fresh.returncode == 2 and "found none" in fresh.stderr, fresh


def check_conversations(r1, folder):
    """sft on messages with a chat template, and once more from the checkpoint by its folder."""
    (folder / "chat.jinja").write_text(CHAT_TEMPLATE)
    with open(folder / "chat.jsonl", "w", encoding="utf-8") as file:
        for i in range(40):
            turns = [{"role": "user", "content": f"{i}+1?"},
                     {"role": "assistant", "content": f"<think>{i}+1={i + 1}</think>{i + 1}"},
                     {"role": "user", "content": "sure?"},
                     {"role": "assistant", "content": "yes"}]
            file.write(json.dumps({"messages": turns}) + "\n")
    config = folder / "chat.toml"
    config.write_text(f"""
[model]
preset = "qwen_tiny"
tokenizer = "bytes"
[rollout]
workers = 1
[data]
train_files = ["{folder / "chat.jsonl"}"]
[[stage]]
name = "chat"
kind = "sft"
sft = {{ epochs = 3, sequences_per_update = 16, chat_template = "{folder / "chat.jinja"}" }}
optimizer = {{ lr = 3e-3, decay = "cosine" }}
""")
    run_dir = folder / "chat"
    done = run(r1, run_dir, config=config)
    assert done.returncode == 0, done
    rows = [r for r in r1_process.metrics_rows(run_dir) if "loss/mean" in r]
    assert len(rows) == 8, "3 epochs of 40 rows, 16 an update"  # 7.5
    assert rows[-1]["loss/mean"] < rows[0]["loss/mean"], rows
    assert rows[-1]["optim/lr"] < 0.2 * rows[0]["optim/lr"], rows
    again = run(r1, folder / "again", [f"stage.chat.init={end_of_stage(run_dir, 'chat')}"],
                config=config)
    assert again.returncode == 0, again
    first = [r for r in r1_process.metrics_rows(folder / "again") if "loss/mean" in r][0]
    assert first["loss/mean"] < rows[0]["loss/mean"], "it did not start from the folder"


def check_ranks(r1, run_dir):
    """Two learner ranks: rank 0 collects all samples, every rank trains on the kept ones."""
    done = run(r1, run_dir, ["learner.ranks=2"])
    assert done.returncode == 0, done
    replayed = r1_process.call(r1, ["replay", str(run_dir / "datasets/collect.jsonl"), "--model",
                                    str(end_of_stage(run_dir, "collect"))])
    assert replayed.returncode == 0, replayed


def interrupt_in(r1, run_dir, stage, how):
    """Stops the run when its log of metrics shows a few steps of the stage."""
    log = open(f"{run_dir}.log", "ab")
    process = r1_process.start(r1, r1_process.arguments_of(CONFIG, run_dir, []), log)
    metrics = run_dir / "metrics.jsonl"
    while process.poll() is None:
        text = metrics.read_bytes() if metrics.exists() else b""
        if text.count(f'"stage":"{stage}"'.encode()) >= 4:
            break
        time.sleep(0.005)
    assert process.poll() is None, f"the run ended before its {stage} was interrupted"
    if how == signal.SIGTERM:
        process.terminate()
        assert process.wait(20) == 4, f"see {run_dir}.log"
    else:
        learner = json.loads((run_dir / "endpoint.json").read_text())["pid"]
        os.kill(learner, signal.SIGKILL)
        assert process.wait(20) == 3, f"see {run_dir}.log"


def main():
    r1 = r1_process.parse_arguments()
    folder = r1_process.new_folder()
    run_dir = folder / "run"
    done = run(r1, run_dir)
    assert done.returncode == 0, done
    assert [s["name"] for s in json.loads((run_dir / "report.json").read_text())["stages"]] == STAGES
    reference = digests(run_dir)
    assert set(reference) >= {f"0{i}_{name}" for i, name in enumerate(STAGES)}, reference
    sampled = check_data_set(run_dir)
    check_replay(r1, run_dir, sampled)
    check_schedules(run_dir)
    print(f"one run: {sampled} samples drawn again")

    for how in (signal.SIGTERM, signal.SIGKILL):
        stopped = folder / f"stopped_{how.name}"
        for stage in STAGES:
            interrupt_in(r1, stopped, stage, how)
        done = run(r1, stopped)
        assert done.returncode == 0 and digests(stopped) == reference, (how, done)
        print(f"{how.name} in each of {len(STAGES)} stages: same bytes")

    check_begun_again(r1, run_dir, reference)
    check_conversations(r1, folder)
    check_ranks(r1, folder / "ranks")
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
