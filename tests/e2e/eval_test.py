#!/usr/bin/env python3
"""r1 eval --suite on a model whose pass rates are known: figures, resuming after a kill at any
instant, bad input, and every suite of configs/eval."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import markov_model
import r1_process

SUITE = """
name = "digits"
metrics = ["pass@8", "cons@16", "maj@3", "greedy"]
[data]
file = "{data}"
prompt_column = "question"
answer_column = "answer"
[prompt]
style = "r1_zero"
[sampling]
samples = 16
tokens_max = 64
[[reward]]
name = "math"
[[reward]]
name = "language_consistency"
"""


def evaluate(r1, *arguments, code=0):
    result = r1_process.call(r1, ["eval", *map(str, arguments)])
    assert result.returncode == code, result
    return result


def make_suite(folder, problems):
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"question": f"Which digit? {i}", "answer": answer}) + "\n"
                            for i, answer in enumerate(problems)))
    suite = folder / "suite.toml"
    suite.write_text(SUITE.format(data=data))
    return suite


def check_figures(r1, folder, model, suite):
    out = folder / "figures"
    printed = evaluate(r1, "--model", model, "--suite", suite, "--output", out, "--json").stdout
    report = json.loads(printed)
    assert printed == (out / "report.json").read_text()
    metrics = {name.removeprefix("eval/digits/"): value
               for name, value in report["metrics"].items()}
    # 40 problems with an answer that is given in a third of the samples, 20 with one that never is.
    assert abs(metrics["pass@1"] - 2 / 9) < 0.05, metrics
    assert abs(metrics["pass@8"] - 2 / 3) < 0.05, metrics
    assert metrics["pass@1_low"] < metrics["pass@1"] < metrics["pass@1_high"], metrics
    assert 0 < metrics["greedy"] < 1 and 0 < metrics["cons@16"] < 1, metrics
    assert metrics["length_mean"] == 11 and metrics["truncated_frac"] == 0, metrics
    assert metrics["samples"] == 60 * 16 and metrics["language_consistency"] == 1, metrics
    assert report["counts"]["missing"] == 0, report["counts"]
    assert report["example_prompt"].endswith("Assistant:<think>\n"), report["example_prompt"]
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 60 * 17 and {row["text"] for row in rows} <= {
        f"</think>\\boxed{{{digit}}}" for digit in markov_model.ANSWERS}, rows[0]
    table = evaluate(r1, "--model", model, "--suite", suite, "--output", out).stdout
    assert "pass@1" in table and "95 %" in table, table
    return (out / "report.json").read_bytes(), (out / "samples.jsonl").read_bytes()


def check_kills(r1, folder, model, suite, expected):
    """Killed at random instants and torn at a random byte, it ends in the same bytes."""
    for seed in range(4):
        rng = random.Random(seed)
        out = folder / f"kill{seed}"
        arguments = [r1, "eval", "--model", str(model), "--suite", str(suite), "--output", str(out),
                     "--set", "sampling.samples=16", "--jobs", str(1 + seed % 3)]
        for _ in range(4):
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, cwd=r1_process.ROOT)
            time.sleep(rng.uniform(0.02, 0.5))
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
            # SIGTERM before its handler is there ends the process as well.
            assert process.wait(timeout=30) in (0, 4, -signal.SIGKILL, -signal.SIGTERM)
        samples = out / "samples.jsonl"
        if samples.exists() and samples.stat().st_size > 100:
            os.truncate(samples, samples.stat().st_size - rng.randrange(100))
        evaluate(r1, *arguments[2:])
        found = ((out / "report.json").read_bytes(), samples.read_bytes())
        assert found == expected, f"seed {seed}"


def check_resuming(r1, folder, model, suite):
    out = folder / "resume"
    first = ("--model", model, "--suite", suite, "--output", out, "--set", "metrics=[]")
    evaluate(r1, *first, "--set", "sampling.samples=1", "--limit", "5")
    before = (out / "samples.jsonl").read_text().splitlines()
    again = evaluate(r1, *first, "--set", "sampling.samples=2", "--limit", "10")
    assert "15 samples to draw" in again.stderr, again.stderr
    assert set(before) < set((out / "samples.jsonl").read_text().splitlines())
    for change, word in ((("--seed", "2"), "seed"),
                         (("--set", "sampling.temperature=1"), "sampling.temperature"),
                         (("--data", "tests/fixtures/gsm8k_sample.jsonl"), "data_sha256")):
        refused = evaluate(r1, *first, *change, code=2)
        assert word in refused.stderr and "fresh --output" in refused.stderr, refused
    # A row whose scoring failed is scored again, without drawing it again.
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    rows[0].update(error="math: a planted failure", scores=[], text="</think>\\boxed{9}")
    (out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate(r1, *first, "--set", "sampling.samples=2", "--limit", "10")
    mended = json.loads((out / "samples.jsonl").read_text().splitlines()[0])
    assert "error" not in mended and mended["extracted"] == "9", mended


def check_bad_input(r1, folder, model, suite):
    out = ("--output", folder / "bad")
    bad = folder / "bad.toml"
    bad.write_text('name = "x"\n[sampling]\nsample = 3\n[[reward]]\nname = "math"\n')
    unknown = folder / "unknown.toml"
    unknown.write_text('name = "x"\ndata.file = "tests/fixtures/gsm8k_sample.jsonl"\n'
                       'data.prompt_column = "question"\n[[reward]]\nname = "mth"\n')
    empty = folder / "empty.jsonl"
    empty.write_text("")
    common = ("--model", model, "--suite", suite, *out)
    cases = [
        (("--suite", suite), "--model"),
        (("--model", model, "--suite", bad), f'{bad}:3:1: sampling.sample'),
        (("--model", model, "--suite", bad), 'did you mean "samples"'),
        (("--model", model, "--suite", folder / "none.toml"), "none.toml"),
        (("--model", folder, "--suite", suite, *out), "config.json"),
        ((*common, "--data", folder / "none.jsonl"), "none.jsonl"),
        ((*common, "--data", empty), "no problems"),
        ((*common, "--data", "tests/fixtures/math500_answers.jsonl"), ":1: question"),
        ((*common, "--set", "metrics=[\"cons@17\"]"), "at most the 16 samples"),
        ((*common, "--set", "prompt.style=chat"), "prompt.style=r1_zero"),
        ((*common, "--samples", "3"), "sampling.samples"),
        ((*common, "--limit", "0"), "--limit"),
        ((*common, "--attempts", "2"), "--attempts without --endpoint"),
        ((*common, "--device", "tpu"), "tpu"),
        (("--model", model, "--suite", unknown, "--set", "prompt.style=plain", *out),
         f'{unknown}:4:1'),
        (("--model", model, "--suite", "configs/eval/math500.toml"), "; give --data FILE"),
        (("--model", model, "--task", "chain", "--limit", "3"), "--limit without --suite"),
    ]
    for arguments, message in cases:
        result = evaluate(r1, *arguments, code=2)
        assert message in result.stderr, (arguments, result.stderr)
        assert not result.stdout, result.stdout
    samples = folder / "figures" / "samples.jsonl"
    kept = samples.read_text()
    samples.write_text("no json\n" + kept)
    broken = evaluate(r1, "--model", model, "--suite", suite, "--output", folder / "figures",
                      code=3)
    assert "samples.jsonl:1" in broken.stderr, broken.stderr
    samples.write_text(kept)


def check_long_prompts(r1, folder, suite):
    short = markov_model.make_model(folder / "short", positions=560)
    data = folder / "long.jsonl"
    data.write_text(json.dumps({"question": "x" * 600, "answer": "3"}) + "\n" +
                    json.dumps({"question": "y", "answer": "3"}) + "\n")
    report = json.loads(evaluate(r1, "--model", short, "--suite", suite, "--data", data, "--output",
                                 folder / "long", "--json").stdout)
    reasons = report["counts"]["finish_reasons"]
    assert reasons == {"prompt_too_long": 16, "stop": 16}, reasons
    assert report["problems"][0]["correct"] == 0 < report["problems"][1]["correct"], report


def check_suites(r1, folder, model):
    """Every suite of the repository from its first row to a report."""
    rows = {
        "aime2024": {"problem": "p", "answer": "3"},
        "math500": {"problem": "p", "answer": "3"},
        "gsm8k": {"question": "p", "answer": "1 + 2\n#### 3"},
        "gpqa": {"Question": "q", "Correct Answer": "a", "Incorrect Answer 1": "b",
                 "Incorrect Answer 2": "c", "Incorrect Answer 3": "d"},
        "humaneval": {"task_id": "t/0", "prompt": "def f():\n", "entry_point": "f",
                      "test": "def check(candidate):\n    assert candidate() == 1\n"},
        "mbpp": {"task_id": 1, "text": "t", "test_list": ["assert f() == 1"]},
        "livecodebench": {"question_id": "q", "question_content": "c", "starter_code": "",
                          "contest_date": "2024-09-01T00:00:00", "metadata": "{}",
                          "public_test_cases": json.dumps(
                              [{"input": "1", "output": "1", "testtype": "stdin"}]),
                          "private_test_cases": "[]"},
        "codeforces": {"id": "1/A", "description": "d", "rating": 800,
                       "official_tests": [{"input": "1", "output": "1"}]},
    }
    suites = sorted(path.stem for path in (r1_process.ROOT / "configs/eval").iterdir())
    assert suites == sorted(rows), suites
    for name, row in rows.items():
        data = folder / f"{name}.jsonl"
        data.write_text(json.dumps(row) + "\n")
        report = json.loads(evaluate(
            r1, "--model", model, "--suite", f"configs/eval/{name}.toml", "--data", data, "--set",
            "prompt.style=r1_zero", "--set", "sampling.tokens_max=64", "--output",
            folder / f"suite_{name}", "--json").stdout)
        assert report["counts"]["missing"] == 0 and report["counts"]["failed"] == 0, report
        value = report["metrics"][f"eval/{name}/pass@1"]
        assert (0 < value < 1) == (name in ("aime2024", "math500", "gsm8k")), (name, value)


def check_decontamination(r1, folder):
    test = folder / "test.jsonl"
    question = "If 3 ducks lay 16 eggs a day, how many eggs do they lay in a week?"
    test.write_text(json.dumps({"question": question, "answer": "112"}) + "\n" +
                    json.dumps({"question": "Too short to find.", "answer": "112"}) + "\n")
    clean = [{"prompt": "How many eggs do they lay?", "answer": "112"},
             {"prompt": "Too short to find.", "answer": "112"},
             {"prompt": "If 3 ducks lay 17 eggs a day, how many eggs will it be in May?"}]
    planted = [{"prompt": "Solve: IF 3 DUCKS  lay 16\u00a0eggs a day,\nhow many?"},
               {"messages": [{"role": "user", "content": "\uff13 ducks lay 16 e\u00adggs a day - "
                                                         "how many eggs, do they lay?"}]},
               {"prompt": "x", "solution": "They ask how many: 16 eggs a day, how many eggs do "
                                           "they lay in a week"}]
    rows = [clean[0], planted[0], clean[1], planted[1], planted[2], clean[2]]
    train, kept, report = folder / "train.jsonl", folder / "kept.jsonl", folder / "report.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ("decontaminate", "--train", train, "--against", test)
    summary = json.loads(evaluate(r1, *common, "--output", kept, "--report", report,
                                  "--json").stdout)
    assert summary["rows"] == 6 and summary["contaminated"] == 3, summary
    assert summary["against"][0] | {"file": ""} == {
        "file": "", "rows": 2, "found_in_training": 1, "too_short_to_find": 1}, summary
    lines = train.read_text().splitlines(keepends=True)
    assert kept.read_text() == lines[0] + lines[2] + lines[5]
    found = [json.loads(line) for line in report.read_text().splitlines()]
    assert [row["line"] for row in found] == [2, 4, 5], found
    assert found[0]["ngram"] == "if 3 ducks lay 16 eggs a day how many", found
    assert found[0]["against_line"] == 1 and found[0]["against"] == str(test), found
    only = evaluate(r1, *common, "--train-columns", "prompt", code=2)
    assert "train.jsonl:4: expected a column prompt" in only.stderr, only
    same = evaluate(r1, "decontaminate", "--train", "tests/fixtures/gsm8k_sample.jsonl",
                    "--against", "tests/fixtures/gsm8k_sample.jsonl").stdout
    assert "48 of 48 rows share 10 words" in same, same
    for arguments, message in (
            (("decontaminate", "--train", train), "--against"),
            (("decontaminate", "--train", train, "--against", folder / "none"), "none"),
            ((*common, "--ngram", "0"), "--ngram"),
            (("decontaminte",), "expected decontaminate"),
            ((*common, "--limit", "3"), "--limit with decontaminate"),
            (("--model", "m", "--train", train), "without decontaminate")):
        result = evaluate(r1, *arguments, code=2)
        assert message in result.stderr, result


def main():
    r1 = r1_process.parse_arguments()
    folder = pathlib.Path(r1_process.new_folder())
    model = markov_model.make_model(folder / "model")
    suite = make_suite(folder, ["3"] * 20 + ["\\frac{8}{2}"] * 20 + ["9"] * 20)
    expected = check_figures(r1, folder, model, suite)
    check_kills(r1, folder, model, suite, expected)
    check_resuming(r1, folder, model, suite)
    check_bad_input(r1, folder, model, suite)
    check_long_prompts(r1, folder, suite)
    check_suites(r1, folder, model)
    check_decontamination(r1, folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
