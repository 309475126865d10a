#!/usr/bin/env python3
"""r1 generate on the golden checkpoints: transformers' greedy tokens, and what its flags promise."""

import json
import shutil
import struct

import r1_process

MODELS = r1_process.ROOT / "tests/golden/models"
TOKENIZER = r1_process.ROOT / "tests/golden/tokenizer_chars.json"
PROMPT_TOKENS = 8
TEMPLATE = ("{% for m in messages %}{{ m['content'] }}{% endfor %}"
            "{% if add_generation_prompt %}={% endif %}")


def expectation(case, name):
    """An int32 tensor of a golden case."""
    data = (MODELS / case / "expected.safetensors").read_bytes()
    size, = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + size])[name]
    assert entry["dtype"] == "I32", entry
    begin, end = entry["data_offsets"]
    return list(struct.unpack(f"<{(end - begin) // 4}i", data[8 + size + begin:8 + size + end]))


def generate(r1, folder, model, rows, *flags, code=0):
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = r1_process.call(r1, ["generate", "--model", str(model), "--input", str(source),
                                  "--output", str(target), *flags])
    assert result.returncode == code, result
    return [json.loads(line) for line in target.read_text().splitlines()]


def check_greedy(r1, folder):
    for case in sorted(path.name for path in MODELS.iterdir()):
        ids, greedy = expectation(case, "ids"), expectation(case, "greedy")
        rows = [{"id": "a", "ids": ids[:PROMPT_TOKENS]}, {"ids": ids[:3]},
                {"ids": (ids[:PROMPT_TOKENS] + greedy)[:-1]}]
        out = generate(r1, folder, MODELS / case, rows, "--greedy", "--max-tokens",
                       str(len(greedy)), "--ignore-eos")
        assert out[0]["id"] == "a" and out[0]["ids"] == greedy, (case, out[0], greedy)
        assert out[0]["finish_reason"] == "length" and out[0]["text"] is None, out[0]
        assert len(out[0]["logprobs"]) == len(greedy) and max(out[0]["logprobs"]) <= 0, out[0]
        assert out[2]["ids"][0] == greedy[-1], (case, out[2])  # by prefill instead of step by step


def make_model(folder):
    """A golden checkpoint with a tokenizer, a template and an end of text of its own."""
    model = folder / "model"
    shutil.copytree(MODELS / "qwen2_tied", model)
    shutil.copy(TOKENIZER, model / "tokenizer.json")
    (model / "chat_template.jinja").write_text(TEMPLATE)
    (model / "generation_config.json").unlink()
    return model


def check_bf16(r1, folder):
    """Of a checkpoint that is bf16 already, matrices in bf16 are the same model: but for latent
    attention, which is not multiplied out then, the same bits."""
    model = folder / "bf16"
    made = r1_process.call(r1, ["checkpoint", "convert", str(MODELS / "qwen2_tied"), "--output", str(model),
                                "--dtype", "BF16"])
    assert made.returncode == 0, made
    rows = [{"ids": [1, 2, 3]}, {"ids": [5, 4]}]
    # Instructions on pairs of bf16, where there are any, would round the other side, too.
    flags = ("--max-tokens", "12", "--ignore-eos", "--temperature", "1", "--isa", "reference")
    assert generate(r1, folder, model, rows, *flags) == generate(
        r1, folder, model, rows, *flags, "--dtype", "bf16")


def check_text(r1, folder, model):
    common = ("--temperature", "2", "--max-tokens", "60", "--ignore-eos")
    row, = generate(r1, folder, model, [{"prompt": "1+2="}], *common)
    text = row["text"]
    assert len(row["ids"]) == 60 and len(text) > 10, row
    shown = r1_process.call(r1, ["generate", "--model", str(model), "--prompt", "1+2=", *common])
    assert shown.returncode == 0 and shown.stdout == text + "\n", (shown, text)
    assert "60 tokens" in shown.stderr, shown
    stop = text[6:8]
    cut, = generate(r1, folder, model, [{"prompt": "1+2="}], *common, "--stop", stop)
    assert cut["text"] == text[:text.index(stop)], (cut, text)
    assert cut["finish_reason"] == "stop", cut
    assert cut["ids"] == row["ids"][:len(cut["ids"])] and len(cut["ids"]) < 60, (cut, row)

    first, second = generate(r1, folder, model, [{"prompt": "1+2="}, {"prompt": "1+2="}],
                             "--n", "3", *common)
    assert len(first["samples"]) == 3 and first["samples"][0] == row, first
    assert first["samples"][1]["ids"] != row["ids"] and second != first
    other, = generate(r1, folder, model, [{"prompt": "1+2="}], *common, "--seed", "9")
    assert other["ids"] != row["ids"]
    raw, = generate(r1, folder, model, [{"prompt": "1+2="}], *common, "--top-k", "2",
                    "--raw-logprobs")
    assert all(a > b for a, b in zip(raw["logprobs"], raw["raw_logprobs"])), raw


def check_messages(r1, folder, model):
    plain, asked, chat, bare = generate(
        r1, folder, model,
        [{"prompt": "1+2="}, {"messages": [{"role": "user", "content": "1+2"}]},
         {"messages": [{"role": "user", "content": "1+2="}], "add_generation_prompt": False},
         {"messages": [{"role": "user", "content": "1+2"}], "add_generation_prompt": False}],
        "--greedy", "--max-tokens", "8", "--ignore-eos")
    assert plain["ids"] == asked["ids"] == chat["ids"], (plain, asked, chat)
    assert bare["ids"] != plain["ids"] or bare["logprobs"] != plain["logprobs"]
    shown = r1_process.call(r1, ["generate", "--model", str(model), "--prompt", "1+2", "--chat",
                                 "--greedy", "--max-tokens", "8", "--ignore-eos", "--json"])
    assert json.loads(shown.stdout)["ids"] == plain["ids"], shown


def check_end_of_text(r1, folder, model):
    rows = [{"prompt": "1+2="}]
    free, = generate(r1, folder, model, rows, "--greedy", "--max-tokens", "20", "--ignore-eos")
    config = model / "generation_config.json"
    config.write_text(json.dumps({"eos_token_id": [free["ids"][4], 10**6], "top_p": 0.5,
                                  "repetition_penalty": 1.0}))
    ended, = generate(r1, folder, model, rows, "--greedy", "--max-tokens", "20")
    length = free["ids"].index(free["ids"][4]) + 1
    assert ended["ids"] == free["ids"][:length] and ended["finish_reason"] == "stop", ended
    shown = r1_process.call(r1, ["generate", "--model", str(model), "--prompt", "1", "--json"])
    assert "top_p 0.5" in shown.stderr, shown
    config.write_text(json.dumps({"top_p": 2}))
    bad = r1_process.call(r1, ["generate", "--model", str(model), "--prompt", "1"])
    assert bad.returncode == 2 and f"{config}: top_p" in bad.stderr, bad
    config.unlink()


def check_errors(r1, folder, model):
    rows = [{"prompt": "1"}, {"prompt": "1", "ids": [1]}, {"text": "1"}, {"ids": []},
            {"ids": [1, "x"]}, {"ids": [1, 64]}, {"ids": [1] * 500}, {"prompt": "Ü"},
            {"messages": 5}]
    out = generate(r1, folder, model, rows, "--max-tokens", "4", code=3)
    assert "ids" in out[0] and len(out) == len(rows), out
    for i, row in enumerate(out[1:], 1):
        assert row["line"] == i + 1 and "error" in row, (i, row)
        assert f"in.jsonl:{i + 1}" in row["error"], row
    assert "one of" in out[1]["error"] and "found 64" in out[5]["error"], out
    no_tokenizer = MODELS / "qwen2_tied"
    row, = generate(r1, folder, no_tokenizer, [{"prompt": "1"}], code=3)
    assert "tokenizer.json" in row["error"], row
    model_flags = ["generate", "--model", str(model)]
    for arguments, text in [
            (["generate", "--prompt", "1"], "--model"),
            (model_flags, "one of --prompt and --input"),
            (model_flags + ["--input", "x"], "--output"),
            (model_flags + ["--prompt", "1", "--top-p", "0"], "--top-p"),
            (model_flags + ["--prompt", "1", "--top-k", "1.5"], "--top-k"),
            (model_flags + ["--prompt", "1", "--temperature", "nan"], "--temperature"),
            (model_flags + ["--prompt", "1", "--greedy", "--temperature", "1"], "not both"),
            (model_flags + ["--prompt", "1", "--dtype", "fp16"], "expected fp32 or bf16, found fp16"),
            (model_flags + ["--prompt", "1", "--stop", ""], "--stop"),
            (["generate", "--model", str(no_tokenizer), "--prompt", "1", "--stop", "a"],
             "tokenizer"),
            (["generate", "--model", "no", "--prompt", "1"], "config.json")]:
        result = r1_process.call(r1, arguments)
        assert result.returncode == 2 and text in result.stderr, (arguments, result)


def main():
    r1, folder = r1_process.parse_arguments(), r1_process.new_folder()
    check_greedy(r1, folder)
    check_bf16(r1, folder)
    model = make_model(folder)
    check_text(r1, folder, model)
    check_messages(r1, folder, model)
    check_end_of_text(r1, folder, model)
    check_errors(r1, folder, model)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
