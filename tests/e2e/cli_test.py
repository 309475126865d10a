#!/usr/bin/env python3
"""What a person at the terminal meets: help, errors and their exit codes, signals, resume, status."""

import json
import pathlib
import shutil
import signal
import struct
import sys
import time
import urllib.error
import urllib.request

import r1_process

COMMANDS = ["run", "learner", "worker", "generate", "eval", "score", "tokenize", "logits",
            "chat-template", "checkpoint", "status", "version"]
CHAOS = "tests/chaos/chaos.toml"


def check_help(r1):
    overview = r1_process.call(r1, ["--help"])
    assert overview.returncode == 0, overview
    for command in COMMANDS:
        assert f"  {command}" in overview.stdout, command
        page = r1_process.call(r1, [command, "--help"])
        assert page.returncode == 0 and page.stdout.startswith(f"Usage: r1 {command}"), page
    version = r1_process.call(r1, ["version"])
    assert version.returncode == 0 and "CUDA kernels" in version.stdout, version


def check_usage_errors(r1, folder):
    bad = folder / "bad.toml"
    bad.write_text('[run]\nsed = 1\n[[stage]]\nname = "a"\nkind = "grpoo"\n')
    cases = [
        (["rum"], 'did you mean "run"'),
        (["run"], "expected CONFIG"),
        (["run", "no.toml"], "no.toml"),
        (["run", str(bad)], f'{bad}:2:1: run.sed: expected a key of run'),
        (["run", str(bad)], f'{bad}:5:8: stage.a.kind'),
        (["run", CHAOS, "--set", "stage.rl.grpo.step=3"], 'did you mean "steps"'),
        (["run", CHAOS, "--set", "learner.address=0.0.0.0:1"], "learner.address"),
        # Its model is too small for the GPU's kernels, where there is a GPU.
        (["run", CHAOS, "--set", "worker.device=cuda"], "worker.device: engine"),
        (["run", CHAOS, "--set", "learner.device=gpu"], "learner.device: expected cpu, cuda"),
        (["learner", CHAOS, "--set", "learner.device=cuda:63", "--set", f"run.dir={folder}/gpu"],
         "learner.device: device cuda:63: expected"),
        (["eval"], "--model"),
        (["score", "--reward", "exact_mach", "--input", "in", "--output", "out"], "exact_match"),
        (["score", "--reward", "format"], "--input"),
        (["tokenize", "--input", "in"], "--tokenizer"),
        (["tokenize", "--tokenizer", str(folder), "--input", "in", "--output", "out"],
         "tokenizer.json"),
        (["logits", "--model", str(folder), "--input", "in", "--output", "out"], "config.json"),
        (["logits", "--model", "m", "--input", "in", "--output", "out", "--engine", "x"],
         "expected rollout or learner, found x"),
        (["logits", "--model", "m", "--input", "in", "--output", "out", "--grad-norms", "g"],
         "add --engine learner"),
        (["chat-template", "--input", "in", "--output", "out"], "one of --template and --model"),
        (["chat-template", "--template", "no.jinja", "--input", "in", "--output", "out"],
         "no.jinja"),
        (["checkpoint", "mend", str(folder)], "inspect, verify, diff or convert"),
        (["checkpoint", "inspect", str(folder)], "model.safetensors"),
        (["checkpoint", "convert", str(folder), "--output", "out", "--dtype", "I8"], "--dtype"),
        (["version", "--x"], "unknown flag"),
    ]
    for arguments, text in cases:
        result = r1_process.call(r1, arguments)
        assert result.returncode == 2, (arguments, result)
        assert text in result.stderr, (arguments, text, result.stderr)
        assert result.stdout == "", (arguments, result.stdout)


def check_dry_run(r1, folder):
    run_dir = folder / "dry"
    result = r1_process.call(r1, r1_process.arguments_of(CHAOS, run_dir, []) + ["--dry-run"])
    assert result.returncode == 0 and "parameters" in result.stdout, result
    assert not run_dir.exists(), "a dry run left files"


def check_score(r1, folder):
    rows = [{"id": "right", "response": "<think>1+1=2</think><answer>2</answer>", "answer": "2"},
            {"id": "wrong", "response": "<think>1+1=3</think><answer>3</answer>", "answer": "2"},
            {"id": "bare", "response": "2", "answer": "2"}]
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = r1_process.call(r1, ["score", "--reward", "exact_match", "--input", str(source),
                                  "--output", str(target)])
    assert result.returncode == 0, result
    scores = {r["id"]: r["score"] for r in map(json.loads, target.read_text().splitlines())}
    assert scores == {"right": 1, "wrong": 0, "bare": 0}, scores

    rows = [{"id": "output", "response": "so it is \\boxed{\\frac{1}{2}}", "answer": "0.5"},
            {"id": "pair", "prediction": "1/2", "answer": "0.5"},
            {"id": "neither", "answer": "0.5"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = r1_process.call(r1, ["score", "--reward", "math", "--input", str(source),
                                  "--output", str(target)])
    assert result.returncode == 3, result
    scores = {r["id"]: r.get("score") for r in map(json.loads, target.read_text().splitlines())}
    assert scores == {"output": 1, "pair": 1, "neither": None}, scores


def check_tokenize(r1, folder):
    golden = r1_process.ROOT / "tests" / "golden"
    model = folder / "llama3"
    model.mkdir()
    shutil.copyfile(golden / "bpe_llama3.json", model / "tokenizer.json")
    cases = [json.loads(line) for line in open(golden / "bpe_llama3.jsonl", encoding="ascii")]
    cases = [case for case in cases if "text" in case]
    source, target = folder / "texts.jsonl", folder / "ids.jsonl"
    rows = [json.dumps({"text": case["text"]}) for case in cases]
    rows += [json.dumps({"text": case["text"], "add_special_tokens": True}) for case in cases]
    arguments = ["tokenize", "--tokenizer", str(model), "--input", str(source),
                 "--output", str(target)]
    source.write_text("\n".join(rows) + "\n")
    result = r1_process.call(r1, arguments)
    assert result.returncode == 0, result
    found = [json.loads(line) for line in target.read_text().splitlines()]
    plain = [{"ids": c["ids"], "decoded": c.get("decoded", c["text"])} for c in cases]
    assert found[:len(cases)] == plain
    assert [row["ids"] for row in found[len(cases):]] == [c["with_special"] for c in cases]

    # Bad rows are answered in their places; the good ones are not lost.
    source.write_text('{"text": "a"}\n\n{"text": 3}\n{"text"\n{"text": "b"}\n')
    result = r1_process.call(r1, arguments)
    assert result.returncode == 3 and f"{source}:3: text: expected a string" in result.stderr, result
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row.get("decoded") for row in found] == ["a", None, None, "b"], found
    assert [row.get("line") for row in found] == [None, 3, 4, None], found
    assert "text: expected a string, found 3" in found[1]["error"], found


def read_tensors(path):
    """The fp32 tensors of a safetensors file, flat, with their shapes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
            tensors[name] = (entry["shape"], values)
    return tensors


def difference(a, b):
    return max(abs(x - y) for x, y in zip(a, b))


def check_logits(r1, folder):
    """Both engines on a golden checkpoint, which says what transformers computes."""
    model = r1_process.ROOT / "tests" / "golden" / "models" / "qwen3_moe_normed"
    golden = read_tensors(model / "expected.safetensors")
    raw = (model / "expected.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    begin, end = json.loads(raw[8:8 + length])["ids"]["data_offsets"]
    ids = list(struct.unpack(f"<{(end - begin) // 4}i", raw[8 + length + begin:8 + length + end]))
    source, target, norms = folder / "ids.jsonl", folder / "out.safetensors", folder / "norms.json"
    source.write_text(json.dumps({"ids": ids}) + "\n" + json.dumps({"ids": [3]}) + "\n")
    arguments = ["logits", "--model", str(model), "--input", str(source), "--output", str(target)]
    for more in ([], ["--engine", "learner", "--grad-norms", str(norms)]):
        result = r1_process.call(r1, arguments + more)
        assert result.returncode == 0, result
        tensors = read_tensors(target)
        assert tensors["logits.0"][0] == golden["logits"][0], tensors["logits.0"][0]
        assert tensors["logprobs.0"][0] == golden["logprobs"][0]
        scale = max(map(abs, golden["logits"][1]))
        assert difference(tensors["logits.0"][1], golden["logits"][1]) < 1e-4 * scale, more
        assert difference(tensors["logprobs.0"][1], golden["logprobs"][1]) < 1e-5, more
        assert tensors["logits.1"][0] == [1, 64] and tensors["logprobs.1"][0] == [0]
    found = json.loads(norms.read_text())
    expected = {name[len("grad_norm."):]: values[0] for name, (_, values) in golden.items()
                if name.startswith("grad_norm.")}
    assert found.keys() == expected.keys()
    for name, norm in found.items():
        assert abs(norm - expected[name]) <= 1e-4 * expected[name] + 1e-7, (name, norm)

    source.write_text('{"ids": [64]}\n{"ids": []}\n{"ids": [1, 2]}\n')
    result = r1_process.call(r1, arguments + ["--dtype", "bf16"])
    assert result.returncode == 3, result
    assert "ids[0]: expected a token id below 64" in result.stderr, result.stderr
    assert f"{source}:2: ids: expected a list of token ids" in result.stderr, result.stderr
    assert read_tensors(target).keys() == {"logits.2", "logprobs.2"}


def check_dense_presets(r1, folder):
    """Dense models go through pretrain, sft and grpo too."""
    for preset in ("qwen_tiny", "llama_tiny"):
        run_dir = folder / preset
        overrides = [f"model.preset={preset}", "stage.rl.grpo.steps=3",
                     "stage.rl.grpo.policy_lag_max=0"]
        result = r1_process.call(r1, r1_process.arguments_of(CHAOS, run_dir, overrides))
        assert result.returncode == 0, result
        gap = "mismatch/logprob_abs_mean"  # between engine and learner
        gaps = [row[gap] for row in r1_process.metrics_rows(run_dir) if gap in row]
        assert len(gaps) == 3 and max(gaps) < 1e-5, gaps


def check_chat_template(r1, folder):
    source, target = folder / "chats.jsonl", folder / "prompts.jsonl"
    template = r1_process.ROOT / "tests" / "fixtures" / "chat_templates" / "qwq.jinja"
    arguments = ["chat-template", "--template", str(template), "--input", str(source),
                 "--output", str(target)]
    turns = [{"role": "user", "content": "2+2?"},
             {"role": "assistant", "content": "<think>\nsum\n</think>\n\n4"},
             {"role": "user", "content": "und 3+3?"}]
    good = {"id": 7, "messages": turns, "add_generation_prompt": True,
            "tools": [{"z": 1.0, "a": 123456789012345678901234567890}]}
    source.write_text("\n".join(json.dumps(row) for row in [good, {"messages": 3}]) + "\n")
    result = r1_process.call(r1, arguments)
    assert result.returncode == 3 and f"{source}:2: messages: expected an array" in result.stderr
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert rows[0]["id"] == 7 and rows[1]["line"] == 2, rows
    text = rows[0]["text"]
    assert '{"z": 1.0, "a": 123456789012345678901234567890}' in text, text
    assert text.endswith("<|im_start|>assistant\n4<|im_end|>\n<|im_start|>user\nund 3+3?<|im_end|>\n"
                         "<|im_start|>assistant\n<think>\n"), text


def write_model(folder, values):
    """model.safetensors with one tensor "w" of fp32."""
    folder.mkdir(exist_ok=True)
    data = struct.pack(f"<{len(values)}f", *values)
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(values)],
                               "data_offsets": [0, len(data)]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)


def check_checkpoint(r1, folder):
    one, half, back = folder / "one", folder / "half", folder / "back"
    write_model(one, [1.0, -2.5, 3.14159274])
    inspected = r1_process.call(r1, ["checkpoint", "inspect", str(one), "--json"])
    report = json.loads(inspected.stdout)
    assert report["parameters"] == 3 and report["tensors"][0]["shape"] == [3], report
    for source, target, dtype in [(one, half, "bf16"), (half, back, "F32")]:
        result = r1_process.call(r1, ["checkpoint", "convert", str(source), "--output", str(target),
                                      "--dtype", dtype])
        assert result.returncode == 0, result
    same = r1_process.call(r1, ["checkpoint", "diff", str(half), str(back)])
    assert same.returncode == 0 and "0 of 1 tensors differ" in same.stdout, same
    other = r1_process.call(r1, ["checkpoint", "diff", str(one), str(back), "--json"])
    [tensor] = json.loads(other.stdout)["tensors_different"]
    assert other.returncode == 3 and tensor["elements_different"] == 1, other
    assert abs(tensor["difference_max"] - 0.00096774) < 1e-7, tensor
    assert r1_process.call(r1, ["checkpoint", "verify", str(one)]).returncode == 0
    write_model(one, [1.0, float("nan")])
    damaged = r1_process.call(r1, ["checkpoint", "verify", str(one)])
    assert damaged.returncode == 3, damaged
    assert 'model.safetensors: tensor "w": found NaN at element 1 of 2' in damaged.stdout, damaged


def wait_for_step(run_dir, stage, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        path = run_dir / "metrics.jsonl"
        if path.exists() and f'"stage":"{stage}"' in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no row of stage {stage}")


def wait_for_endpoint(run_dir, process, other_than=None):
    """The content of endpoint.json, once a learner has written it."""
    deadline = time.monotonic() + 60
    path = run_dir / "endpoint.json"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            text = path.read_text()
        except FileNotFoundError:
            text = other_than
        if text != other_than:
            return text
        time.sleep(0.02)
    raise AssertionError("no learner came up")


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status, answer.read().decode()


def check_status_while_running(r1, run_dir):
    endpoint = json.loads((run_dir / "endpoint.json").read_text())
    base = f"http://{endpoint['http_address']}"
    assert fetch(base + "/healthz")[0] == 200
    assert fetch(base + "/readyz")[0] == 200
    assert "<html" in fetch(base + "/")[1]
    assert "# TYPE" in fetch(base + "/metrics")[1]
    for name in ("status", "metrics", "samples", "events", "config"):
        code, body = fetch(f"{base}/api/v1/{name}")
        assert code == 200 and isinstance(json.loads(body), dict), name
    try:
        fetch(base + "/nothing")
        raise AssertionError("an unknown page was found")
    except urllib.error.HTTPError as error:
        assert error.code == 404
    shown = r1_process.call(r1, ["status", str(run_dir), "--json"])
    assert shown.returncode == 0, shown
    status = json.loads(shown.stdout)
    assert status["stage"] in ("base", "cold_start", "rl"), status


def check_signals_and_resume(r1, folder):
    run_dir = folder / "run"
    arguments = r1_process.arguments_of(CHAOS, run_dir, ["stage.rl.grpo.steps=400"])
    with open(folder / "log", "w") as log:
        process = r1_process.start(r1, arguments, log)
        wait_for_step(run_dir, "rl", process)
        check_status_while_running(r1, run_dir)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=30)
        seconds = time.monotonic() - began
    assert code == 4, (code, (folder / "log").read_text()[-2000:])
    assert seconds <= 5, f"Ctrl-C took {seconds:.1f} s"
    assert not (run_dir / "endpoint.json").exists()
    gone = r1_process.call(r1, ["status", str(run_dir)])
    assert gone.returncode != 0 and "r1 status" in gone.stderr, gone

    # Two signals: the second ends everything at once.
    with open(folder / "log", "a") as log:
        process = r1_process.start(r1, arguments, log)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        code = process.wait(timeout=30)
        assert code in (4, 130), code
        assert time.monotonic() - began <= 5

    # Killed itself, `r1 run` leaves a learner that saves its checkpoint; the next start awaits it.
    with open(folder / "log", "a") as log:
        process = r1_process.start(r1, arguments, log)
        first = wait_for_endpoint(run_dir, process)
        process.kill()
        process.wait()
        process = r1_process.start(r1, arguments, log)
        wait_for_endpoint(run_dir, process, other_than=first)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 4, (folder / "log").read_text()[-2000:]

    # Another seed is another run; this one goes on where it was.
    changed = r1_process.call(r1, arguments + ["--set", "run.seed=77"])
    assert changed.returncode == 2 and "run.seed" in changed.stderr, changed
    arguments = r1_process.arguments_of(CHAOS, run_dir, ["stage.rl.grpo.steps=400",
                                                         "rollout.workers=1"])
    resumed = r1_process.call(r1, arguments + ["--json"], 300)
    assert resumed.returncode == 0, resumed.stderr[-1500:]
    steps = [r["step"] for r in r1_process.metrics_rows(run_dir)
             if r["stage"] == "rl" and "reward/mean" in r]
    assert steps == list(range(1, 401)), steps[:20]
    finished = r1_process.call(r1, arguments)
    assert finished.returncode == 0 and "is finished" in finished.stdout, finished


def check_second_start(r1, folder):
    """While a run goes on, another start of it is refused."""
    run_dir = folder / "held"
    arguments = r1_process.arguments_of(CHAOS, run_dir, ["stage.rl.grpo.steps=100000"])
    with open(folder / "log", "w") as log:
        process = r1_process.start(r1, arguments, log)
        wait_for_step(run_dir, "rl", process)
        second = r1_process.call(r1, arguments)
        assert second.returncode == 2, second
        assert "another learner holds this run" in second.stderr, second
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 4


def check_damaged_checkpoint(r1, folder):
    """A flipped bit is reported by name on the terminal, and the checkpoint before is used."""
    run_dir = folder / "damaged"
    arguments = r1_process.arguments_of(CHAOS, run_dir, ["stage.rl.grpo.steps=40"])
    with open(folder / "log", "w") as log:
        process = r1_process.start(r1, arguments, log)
        wait_for_step(run_dir, "rl", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 4
    newest = sorted((run_dir / "checkpoints").iterdir())[-1]
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    resumed = r1_process.call(r1, arguments, 120)
    assert resumed.returncode == 0, resumed.stderr[-1500:]
    assert f"damaged checkpoint {newest.name}: model.safetensors" in resumed.stderr, resumed.stderr


def main():
    r1 = r1_process.parse_arguments()
    folder = r1_process.new_folder()
    check_help(r1)
    check_usage_errors(r1, folder)
    check_dry_run(r1, folder)
    check_score(r1, folder)
    check_tokenize(r1, folder)
    check_logits(r1, folder)
    check_dense_presets(r1, folder)
    check_chat_template(r1, folder)
    check_checkpoint(r1, folder)
    check_signals_and_resume(r1, folder)
    check_second_start(r1, folder)
    check_damaged_checkpoint(r1, folder)
    shutil.rmtree(folder)
    print("all as a person would expect")


if __name__ == "__main__":
    sys.exit(main())
