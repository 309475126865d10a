#!/usr/bin/env python3
"""r1 score on files: settings, order, bad rows, long lines, several threads; and the audit."""

import json
import shutil

import r1_process

LONG_LINE_BYTES = 11 << 20
FORM = "<think>a</think><answer>17</answer>"


def score(r1, folder, rewards, lines, *flags):
    """The exit code, the output rows and stderr."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_bytes(b"".join(line + b"\n" for line in lines))
    result = r1_process.call(r1, ["score", "--reward", rewards, "--input", str(source),
                                  "--output", str(target), *flags])
    rows = []
    if result.returncode != 2:
        rows = [json.loads(line) for line in target.read_text().splitlines()]
    return result.returncode, rows, result.stderr


def row(**fields):
    return json.dumps(fields).encode()


def check_settings(r1, folder):
    lines = [row(id=1, response="a b a b")]
    code, rows, _ = score(r1, folder, "repetition", lines)
    assert code == 0 and rows[0]["score"] == 0, rows
    code, rows, _ = score(r1, folder, "repetition", lines, "--set", "repetition.ngram_size=2",
                          "--set", "repetition.max_penalty=-3")
    assert code == 0 and abs(rows[0]["score"] + 1) < 1e-12, rows
    assert list(rows[0]) == ["id", "score", "reason", "parts", "extracted", "time_ms"], rows
    for setting, text in [("repetition.ngram_siz=2", 'did you mean "ngram_size"'),
                          ("repetitio.ngram_size=2", 'did you mean "repetition"'),
                          ("repetition.ngram_size=0", "from 1 to 64"),
                          ("repetition.format.partial_credit=true", "repetition"),
                          ("ngram_size=2", "expected NAME.KEY=VALUE")]:
        code, _, stderr = score(r1, folder, "repetition", lines, "--set", setting)
        assert code == 2 and text in stderr, (setting, code, stderr)


def check_rows(r1, folder):
    lines = [row(id="a", response=FORM, answer="17", n_tokens=5), b"{broken",
             row(id="b", response=FORM, answer="17"), b'{"id": "c", "response": "\xff"}', b"[]",
             row(id="d", response="x" * LONG_LINE_BYTES, n_tokens=1), b"",
             row(id="e", response=7, n_tokens=1), row(id="f", n_tokens=1),
             row(id="g", response=FORM, answer="17", n_tokens=20480, extra={"a": [1]})]
    code, rows, stderr = score(r1, folder, "exact_match,overlong", lines, "--jobs", "3")
    assert code == 3, code
    ids = [r.get("id") for r in rows]
    assert ids == ["a", None, "b", None, None, None, "e", "f", "g"], ids
    assert [r["line"] for r in rows if "error" in r] == [2, 3, 4, 5, 6, 8, 9], rows
    for index, text in [(1, "syntax error"), (2, "overlong: n_tokens"), (3, "UTF-8"),
                        (4, "expected an object"), (5, "longer than"), (6, "response: expected"),
                        (7, "response: expected")]:
        assert text in rows[index]["error"] and text in stderr, rows[index]
    assert rows[0]["score"] == 1 and rows[8]["score"] == 0, rows
    assert rows[8]["parts"] == {"exact_match": {"score": 1, "reason": "match"},
                                "overlong": {"score": -1, "reason": "near_limit"}}, rows
    assert rows[0]["extracted"] == "17", rows

    lines = [row(id=1, response="1"), row(prediction="", answer="1")]
    code, rows, _ = score(r1, folder, "math", lines)
    assert code == 0 and rows[0]["score"] is None and rows[0]["reason"] == "no_gold_answer", rows
    assert rows[1]["score"] == 0, rows


def check_order(r1, folder):
    lines = [row(id=i, prediction=str(i % 7), answer=str(i % 5)) for i in range(3000)]
    expected = None
    for jobs in ("1", "4"):
        code, rows, _ = score(r1, folder, "math", lines, "--jobs", jobs)
        assert code == 0 and [r["id"] for r in rows] == list(range(3000))
        scores = [r["score"] for r in rows]
        assert scores == [1 if i % 7 == i % 5 else 0 for i in range(3000)]
        assert expected in (None, scores)
        expected = scores


def check_audit(r1):
    result = r1_process.call(r1, ["score", "audit", "--reward", "math,format"])
    assert result.returncode == 0, result
    assert "math: an honest right output scores 1, an honest wrong one 0" in result.stdout, result
    assert "format: an honest right output scores 1, an honest wrong one 1" in result.stdout, result
    audit = json.loads(r1_process.call(
        r1, ["score", "audit", "--reward", "math,exact_match,multiple_choice", "--json"]).stdout)
    for reward in audit:
        assert reward["honest_right"] == 1 and reward["honest_wrong"] == 0, reward
        assert len(reward["cheats"]) >= 30
        paying = [cheat["name"] for cheat in reward["cheats"] if cheat["pays"]]
        # To mathematics, a sum that is not worked out is its value.
        known = ["sum that is not worked out", "equation that restates the problem"]
        assert paying == (known if reward["reward"] == "math" else []), (reward["reward"], paying)
    for arguments, text in [(["audi", "--reward", "math"], "expected audit"),
                            (["audit"], "--reward is missing")]:
        result = r1_process.call(r1, ["score", *arguments])
        assert result.returncode == 2 and text in result.stderr, result


def main():
    r1, folder = r1_process.parse_arguments(), r1_process.new_folder()
    check_settings(r1, folder)
    check_rows(r1, folder)
    check_order(r1, folder)
    check_audit(r1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
