#!/usr/bin/env python3
"""The claims of the R1 papers in miniature: runs tests/study/study.toml for some seeds, and writes
docs/study.md with its plots from what the runs measured.

  study.py --r1 build/release/bin/r1 [--seeds 1-3] [--runs runs/study] [--report docs/study.md]
           [--repeat SEED] [--set KEY=VALUE …]

A run that was stopped is resumed, a finished one is read again. --repeat runs one seed a second time
from nothing and fails unless every stage ends in the same bytes.
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import subprocess
import sys

import line_chart

CONFIG = "tests/study/study.toml"
# Parameters that a token passes: those of moe_mini, qwen_tiny and llama_tiny (`r1 plan`). Compute is
# counted as 2 FLOPs a parameter and sampled token, and 6 for a trained one.
ACTIVE_PARAMETERS = {"qwen": 76_352, "llama": 78_144, "moe": 252_672}
LAST_STEPS = 10  # of a stage, over which its training samples are averaged


def parameters_of(stage):
    return ACTIVE_PARAMETERS.get(stage.split("_")[0], ACTIVE_PARAMETERS["moe"])


class Run:
    """What one seed measured."""

    def __init__(self, folder):
        self.folder = folder
        self.report = json.loads((folder / "report.json").read_text())
        self.rows = {}
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            self.rows.setdefault(row["stage"], []).append(row)

    def end(self, stage, metric, evaluation="held_out"):
        """A number of the evaluation at the end of a stage."""
        return next(s for s in self.report["stages"] if s["name"] == stage)["eval"][evaluation][metric]

    def steps(self, stage, metric):
        """[(step, value)] of the training samples. A reason that no sample got is not in a row."""
        return [(row["step"], row.get(metric, 0)) for row in self.rows[stage] if "reward/mean" in row]

    def first(self, stage, metric):
        """Of the samples that the stage drew before its first update."""
        return self.steps(stage, metric)[0][1]

    def last(self, stage, metric):
        values = [value for _, value in self.steps(stage, metric)][-LAST_STEPS:]
        return sum(values) / len(values)

    def compute(self, stage):
        """TFLOPs of a whole stage."""
        return sum(self._tflops(row, stage) for row in self.rows[stage])

    def curve(self, stage, metric, start=None, compute=False):
        """[(step or TFLOPs, value)] of the evaluations on held-out prompts; at 0 that of `start`."""
        points = [(0, self.end(start, metric))] if start else []
        tflops = 0
        for row in self.rows[stage]:
            tflops += self._tflops(row, stage)
            if f"eval/held_out/{metric}" in row:
                points.append((tflops if compute else row["step"], row[f"eval/held_out/{metric}"]))
        return points

    @staticmethod
    def _tflops(row, stage):
        tokens = 2 * row.get("tokens/sampled", 0) + 6 * row.get("tokens/trained", 0)
        return tokens * parameters_of(stage) / 1e12

    def ends(self):
        """{stage: SHA-256 of the weights, or of the data set, that it ended with}."""
        files = {}  # the last checkpoint of a stage is its end
        for path in sorted(self.folder.glob("checkpoints/*/model.safetensors")):
            files[path.parent.name.split("_step_")[0].split("_", 1)[1]] = path
        for name in files:
            data_set = self.folder / "datasets" / f"{name}.jsonl"
            files[name] = data_set if data_set.exists() else files[name]
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def run(r1, seed, folder, settings):
    overrides = [f"run.seed={seed}", f"run.dir={folder}", *settings]
    subprocess.run([r1, "run", CONFIG, *(word for item in overrides for word in ("--set", item))],
                   check=True, stdout=subprocess.DEVNULL)
    return Run(folder)


def first_at(curve, x):
    """The first point with at least this x, else the last."""
    return next((point for point in curve if point[0] >= x), curve[-1])


class Report:
    def __init__(self, runs):
        self.runs = runs
        self.lines = []
        self.claims = []

    def text(self, words):
        self.lines += [words, ""]

    def table(self, columns, rows):
        """rows: {name: [function of a run, or None, a column]}. Cells are the seeds' values."""
        self.lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, cells in rows.items():
            texts = ["–" if cell is None else "<br>".join(self.number(cell(run)) for run in self.runs.values())
                     for cell in cells]
            self.lines.append(f"| {name} | " + " | ".join(texts) + " |")
        self.lines.append("")

    @staticmethod
    def number(value):
        if isinstance(value, str):
            return value
        return f"{value:.3f}" if abs(value) < 5 else f"{value:.1f}"

    def claim(self, words, holds):
        count = sum(bool(holds(run)) for run in self.runs.values())
        self.claims.append(f"| {count} of {len(self.runs)} | {words} |")

    def end_section(self, words=""):
        """The section's claims as a table, and what to think of them."""
        self.lines += ["| holds for | |", "|---|---|", *self.claims, ""]
        self.claims = []
        if words:
            self.text(words)

    def each(self, function):
        return [function(run) for run in self.runs.values()]


def interval(stage, metric="pass@1"):
    low, high = (("pass@1_low", "pass@1_high") if metric == "pass@1" else ("greedy_low", "greedy_high"))
    return lambda run: (f"{run.end(stage, metric):.3f} [{run.end(stage, low):.3f}, "
                        f"{run.end(stage, high):.3f}]")


def write_zero(report, plots):
    report.text("## 1. R1-Zero: RL alone")
    report.text("![accuracy](study/zero_accuracy.svg) ![length](study/zero_length.svg)")
    report.table(["sampled", "greedy", "format", "length"], {
        "base": [interval("base"), interval("base", "greedy"), lambda r: r.end("base", "format_frac"),
                 lambda r: r.end("base", "length_mean")],
        "after RL": [interval("zero"), interval("zero", "greedy"), lambda r: r.end("zero", "format_frac"),
                     lambda r: r.end("zero", "length_mean")],
        "the base's textbook skill": [lambda r: r.end("base", "pass@1", "textbook"),
                                      lambda r: r.end("base", "greedy", "textbook"), None, None]})
    report.claim("Accuracy rises by RL alone: sampled from at most .2 to at least .7.",
                 lambda r: r.end("base", "pass@1") <= .2 and r.end("zero", "pass@1") >= .7)
    report.claim("The response length at least doubles.",
                 lambda r: r.end("zero", "length_mean") >= 2 * r.end("base", "length_mean"))
    report.claim("RL ends above the skill that the base holds in the form of its textbooks (sampled).",
                 lambda r: r.end("zero", "pass@1") > r.end("base", "pass@1", "textbook"))
    report.end_section(
        "The line to compare with is the base's own skill in the form of its textbooks: up to it, RL brings out "
        "what is there. Length grows because the base has read direct, terse and full answers, and full ones "
        "are right more often: a choice between styles, not an invention.")
    textbook = sum(report.each(lambda r: r.end("base", "pass@1", "textbook"))) / len(report.runs)
    line_chart.write(plots / "zero_accuracy.svg", "R1-Zero: held-out accuracy", "RL steps", "share", {
        "sampled": report.each(lambda r: r.curve("zero", "pass@1", "base")),
        "greedy": report.each(lambda r: r.curve("zero", "greedy", "base")),
        "well-formed": report.each(lambda r: r.curve("zero", "format_frac", "base"))},
        [("the base's textbook skill, sampled", textbook)], (0, 1.02))
    line_chart.write(plots / "zero_length.svg", "R1-Zero: response length", "RL steps", "tokens", {
        "held-out samples": report.each(lambda r: r.curve("zero", "length_mean", "base"))})


def write_cold_start(report, plots):
    report.text("## 2. R1: what the cold start cures")
    report.text("Of the training samples: the base's and the cold start's before the first update, else "
                f"the last {LAST_STEPS} steps'. One script = all numerals of the working in digits; a "
                "working without numerals is in none.")
    report.text("![script](study/script.svg) ![accuracy](study/r1_accuracy.svg)")
    consistent = "reward/numeral_consistency/mean"
    mixed = "reward/numeral_consistency/reason/mixed_frac"
    form = "reward/format/mean"
    repeated = "reward/repetition/mean"

    def row(stage, at, held_out):
        return [*((lambda r, m=m: at(r, stage, m)) for m in (form, consistent, mixed)),
                lambda r: abs(at(r, stage, repeated)), interval(held_out)]
    report.table(["format", "numerals in digits", "workings that mix", "repeated lines", "sampled, held-out"], {
        "base": row("zero", Run.first, "base"),
        "R1-Zero": row("zero", Run.last, "zero"),
        "cold start": row("first_rl", Run.first, "cold_start"),
        "RL without language reward": row("rl_any_script", Run.last, "rl_any_script"),
        "RL with it": row("first_rl", Run.last, "first_rl")})
    report.claim("R1-Zero mixes: more than a tenth of its workings are in two scripts at the end.",
                 lambda r: r.last("zero", mixed) > .1)
    report.claim("R1-Zero settles on the script that nobody asked for: most of its numerals are letters.",
                 lambda r: r.last("zero", consistent) < .5)
    report.claim("The cold start writes better formed responses than the base, and mixes less.",
                 lambda r: r.first("first_rl", form) > r.first("zero", form)
                 and r.first("first_rl", mixed) < r.first("zero", mixed))
    report.claim("R1 ends with fewer than .02 mixed workings, and fewer than R1-Zero.",
                 lambda r: r.last("first_rl", mixed) < min(.02, r.last("zero", mixed)))
    report.claim("The language reward leaves fewer workings mixed than the same RL without it.",
                 lambda r: r.last("first_rl", mixed) < r.last("rl_any_script", mixed))
    report.claim("The language reward costs accuracy (sampled), as the paper found.",
                 lambda r: r.end("first_rl", "pass@1") < r.end("rl_any_script", "pass@1"))
    report.claim("R1-Zero repeats itself: more than .01 of its lines.", lambda r: -r.last("zero", repeated) > .01)
    report.end_section(
        "Nothing but the answer is rewarded in R1-Zero, so which script its working ends up in is chance. "
        "Repetition does not occur at this scale, so there is none to cure.")
    line_chart.write(plots / "script.svg", "Workings in two scripts", "RL steps", "share", {
        "R1-Zero": report.each(lambda r: r.steps("zero", mixed)),
        "after a cold start, no language reward": report.each(lambda r: r.steps("rl_any_script", mixed)),
        "after a cold start, with it": report.each(lambda r: r.steps("first_rl", mixed))})

    report.text("Controls, from the same cold start:")
    report.table(["sampled", "greedy", "TFLOPs"], {
        name: [interval(stage), interval(stage, "greedy"), lambda r, s=stage: r.compute(s)]
        for name, stage in (("cold start", "cold_start"), ("RL", "first_rl"),
                            ("longer SFT on the same demonstrations", "longer_sft"),
                            ("coin-flip reward", "coin_flip"))})
    line_chart.write(plots / "r1_accuracy.svg", "After the cold start: sampled accuracy", "TFLOPs", "share", {
        "RL": report.each(lambda r: r.curve("first_rl", "pass@1", "cold_start", compute=True)),
        "longer SFT": report.each(lambda r: r.curve("longer_sft", "pass@1", "cold_start", compute=True)),
        "coin-flip reward": report.each(lambda r: r.curve("coin_flip", "pass@1", "cold_start", compute=True))},
        (), (0, 1.02))


def write_second_round(report, plots):
    report.text("## 3. Rejection sampling, SFT and a second RL")
    report.text("![accuracy](study/second_round.svg)")
    spent = ("collect", "second_sft", "second_rl")
    report.table(["sampled", "greedy", "TFLOPs"], {
        "first RL": [interval("first_rl"), interval("first_rl", "greedy"),
                     lambda r: r.compute('first_rl')],
        "base, SFT on what the first RL got right": [
            interval("second_sft"), interval("second_sft", "greedy"),
            lambda r: r.compute('collect') + r.compute('second_sft')],
        "and second RL": [interval("second_rl"), interval("second_rl", "greedy"),
                          lambda r: sum(r.compute(s) for s in spent)],
        "first RL, continued": [interval("longer_rl"), interval("longer_rl", "greedy"),
                                lambda r: r.compute('longer_rl')]})
    report.claim("The second round ends above the first RL (sampled).",
                 lambda r: r.end("second_rl", "pass@1") > r.end("first_rl", "pass@1"))
    report.claim("It ends above the first RL, continued for the compute of the second round.",
                 lambda r: r.end("second_rl", "pass@1") > first_at(
                     r.curve("longer_rl", "pass@1", compute=True), sum(r.compute(s) for s in spent))[1])

    report.end_section()

    def after(run, stages, start):
        """The curves of stages done in order, one behind the other."""
        points, spent_before = [(0, run.end(start, "pass@1"))], 0
        for stage in stages:
            if stage != "collect":
                points += [(spent_before + x, y) for x, y in run.curve(stage, "pass@1", compute=True)]
            spent_before += run.compute(stage)
        return points
    line_chart.write(plots / "second_round.svg", "Behind the first RL: sampled accuracy", "TFLOPs", "share", {
        "collect, SFT of the base, second RL": report.each(lambda r: after(r, spent, "first_rl")),
        "first RL continued": report.each(lambda r: after(r, ["longer_rl"], "first_rl"))}, (), (0.7, 1))


def write_distillation(report, plots):
    report.text("## 4. Distillation, or RL of the small model")
    report.text("A student of 76 to 78 thousand parameters (the teacher passes a token through 253 thousand) is "
                "fine-tuned on the teacher's right answers, or trained by RL itself; both from the same "
                "base. Compute is the student's own; in brackets with the teacher's sampling. \"At that compute\" is "
                "the first evaluation of the RL run that has used at least as much.")
    report.text("![Qwen-shaped](study/qwen.svg) ![Llama-shaped](study/llama.svg)")
    for name, shape in (("qwen", "Qwen2.5"), ("llama", "Llama")):
        def taught(run, name=name):
            return run.compute(f"{name}_distilled")

        def equal(run, name=name):
            return first_at(run.curve(f"{name}_rl", "pass@1", compute=True), taught(run))
        report.table(["sampled", "greedy", "TFLOPs"], {
            f"{shape}-shaped base": [interval(f"{name}_base"), interval(f"{name}_base", "greedy"), None],
            "distilled": [interval(f"{name}_distilled"), interval(f"{name}_distilled", "greedy"),
                          lambda r: f"{taught(r):.3f} ({taught(r) + r.compute('teach'):.3f})"],
            "RL, at that compute": [lambda r: equal(r)[1], None, lambda r: equal(r)[0]],
            "RL, to its end": [interval(f"{name}_rl"), interval(f"{name}_rl", "greedy"),
                               lambda r, name=name: r.compute(f'{name}_rl')]})
        report.claim(f"The distilled {shape}-shaped student beats RL on the same student at equal compute (sampled).",
                     lambda r, name=name: r.end(f"{name}_distilled", "pass@1") > equal(r)[1])
        report.claim(f"The distilled {shape}-shaped student beats that RL to its end.",
                     lambda r, name=name: r.end(f"{name}_distilled", "pass@1") > r.end(f"{name}_rl", "pass@1"))
        report.end_section()
        teacher = sum(report.each(lambda r: r.end("second_rl", "pass@1"))) / len(report.runs)
        line_chart.write(plots / f"{name}.svg", f"{shape}-shaped student: sampled accuracy", "TFLOPs", "share", {
            metric: report.each(lambda r, s=stage, name=name: r.curve(
                f"{name}_{s}", "pass@1", f"{name}_base", compute=True))
            for metric, stage in (("distilled", "distilled"), ("RL", "rl"))},
            [("the teacher", teacher)], (0, 1.02))


def write(runs, path, repeated):
    plots = path.parent / "study"
    plots.mkdir(exist_ok=True)
    report = Report(runs)
    seeds = ", ".join(map(str, runs))
    minutes = " / ".join(f"{one.report['seconds'] / 60:.0f}" for one in runs.values())
    report.text("# The study in miniature")
    report.text("<!-- Written by tests/study/study.py (make study); do not edit by hand. -->")
    report.text(
        f"`make study` of {datetime.date.today():%d %B %Y}: `{CONFIG}` for seeds {seeds}, "
        f"{minutes} "
        "minutes on 2 CPU cores. Cells hold the seeds in this order; brackets are 95 % intervals over 512 "
        "held-out prompts. \"Sampled\" is one sample at temperature 1, which is what RL improves. Models have "
        "76 to 419 thousand parameters and one arithmetic task, so this shows the mechanisms, not their size.")
    write_zero(report, plots)
    write_cold_start(report, plots)
    write_second_round(report, plots)
    write_distillation(report, plots)
    report.text("## Reproduction")
    report.text("SHA-256 of what each seed ended with, here in the first 16 digits; `study.py --repeat SEED` "
                "runs a seed again and compares what every stage ended with."
                + (f" Done for seed {repeated}: all equal." if repeated else ""))
    report.table([f"seed {seed}" for seed in runs], {})
    report.lines.pop()  # rows follow
    ends = {seed: one.ends() for seed, one in runs.items()}
    for stage in next(iter(ends.values())):
        report.lines.append(f"| {stage} | " + " | ".join(one[stage][:16] for one in ends.values()) + " |")
    path.write_text("\n".join(report.lines).rstrip() + "\n")


def numbers(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r1", required=True)
    parser.add_argument("--seeds", default="1-3", type=numbers)
    parser.add_argument("--runs", default="runs/study", type=pathlib.Path)
    parser.add_argument("--report", default="docs/study.md", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, metavar="SEED")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="as of r1 run")
    options = parser.parse_args()
    runs = {}
    for seed in options.seeds:
        print(f"study: seed {seed} in {options.runs / f'seed_{seed}'}", flush=True)
        runs[seed] = run(options.r1, seed, options.runs / f"seed_{seed}", options.set)
    if options.repeat is not None:
        again = run(options.r1, options.repeat, options.runs / f"seed_{options.repeat}_again", options.set)
        if again.ends() != runs[options.repeat].ends():
            sys.exit(f"study: seed {options.repeat} ended in other bytes: {again.ends()} and "
                     f"{runs[options.repeat].ends()}")
    write(runs, options.report, options.repeat)
    print(f"study: wrote {options.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
