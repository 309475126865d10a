#!/usr/bin/env python3
"""The default run, R1-Zero in miniature and the controls for many seeds, one after the other, with
tables (about an hour).

  study_mini.py --r1 build/release/bin/r1 [--r1-seeds 1-10] [--zero-seeds 1-5] [--controls 1-3]
                [--out runs/study]

Every run's folder stays, so that the command resumes where it was stopped.
"""

import argparse
import json
import pathlib
import subprocess
import sys


def seeds(text):
    if not text:
        return []
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def run(r1, config, seed, folder):
    """Runs the config to its end; returns its report."""
    subprocess.run([r1, "run", f"configs/{config}.toml", "--set", f"run.seed={seed}",
                    "--set", f"run.dir={folder}"], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "report.json").read_text())


def stage(report, name):
    return next(s for s in report["stages"] if s["name"] == name)


def held_out(report, name):
    return stage(report, name)["eval"]["held_out"]


def row(report, before, after):
    start, end = held_out(report, before), held_out(report, after)
    textbook = stage(report, "base")["eval"]["textbook"]
    return {
        "base updates": stage(report, "base")["updates"],
        "textbook sampled": textbook["pass@1"],
        "start sampled": start["pass@1"],
        "start greedy": start["greedy"],
        "start format": start["format_frac"],
        "start length": start["length_mean"],
        "end sampled": end["pass@1"],
        "end greedy": end["greedy"],
        "end format": end["format_frac"],
        "end length": end["length_mean"],
        "seconds": report["seconds"],
    }


def print_table(title, rows, checks):
    print(f"\n## {title}\n")
    names = list(next(iter(rows.values())))
    print("| seed | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 1))
    for seed, values in rows.items():
        cells = (f"{values[n]:.3f}" if values[n] < 5 else f"{values[n]:.0f}" for n in names)
        print(f"| {seed} | " + " | ".join(cells) + " |")
    for text, passes in checks.items():
        print(f"- {text}: {sum(passes(v) for v in rows.values())} of {len(rows)}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--r1", required=True)
    parser.add_argument("--r1-seeds", default="1-10")
    parser.add_argument("--zero-seeds", default="1-5")
    parser.add_argument("--controls", default="1-3")
    parser.add_argument("--out", default="runs/study")
    options = parser.parse_args()
    out = pathlib.Path(options.out)

    rows = {}
    for seed in seeds(options.r1_seeds):
        rows[seed] = row(run(options.r1, "r1_mini", seed, out / f"r1_{seed}"), "cold_start", "rl")
        print_table("R1 in miniature (configs/r1_mini.toml)", rows, {
            "RL starts with sampled accuracy in .30-.70":
                lambda v: .30 <= v["start sampled"] <= .70,
            "ends with greedy >= .90 and sampled >= .85":
                lambda v: v["end greedy"] >= .90 and v["end sampled"] >= .85,
            "at most 10 minutes": lambda v: v["seconds"] <= 600})
    rows = {}
    for seed in seeds(options.zero_seeds):
        rows[seed] = row(run(options.r1, "r1_zero_mini", seed, out / f"zero_{seed}"), "base", "rl")
        print_table("R1-Zero in miniature (configs/r1_zero_mini.toml)", rows, {
            "format <= .4 -> >= .98": lambda v: v["start format"] <= .4 and v["end format"] >= .98,
            "sampled <= .2 -> >= .85":
                lambda v: v["start sampled"] <= .2 and v["end sampled"] >= .85,
            "length at least doubles": lambda v: v["end length"] >= 2 * v["start length"],
            "at most 10 minutes": lambda v: v["seconds"] <= 600})
    for config, last in (("control_coin_flip", "rl"), ("control_long_sft", "long_sft")):
        rows = {}
        for seed in seeds(options.controls):
            report = run(options.r1, config, seed, out / f"{config}_{seed}")
            rows[seed] = row(report, "cold_start", last)
            print_table(f"Control (configs/{config}.toml)", rows, {
                "sampled accuracy rises by more than .02":
                    lambda v: v["end sampled"] > v["start sampled"] + .02})
    return 0


if __name__ == "__main__":
    sys.exit(main())
