#!/usr/bin/env python3
"""The plugins of docs/add_a_reward.md are what the page shows, and score as it says."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

EXAMPLES = pathlib.Path("tests/rewards/examples")
ROWS = [
    {"id": "short", "response": "<think>a</think><answer>1234</answer>", "score": 1},
    {"id": "long", "response": "<think>a</think> <answer>12345</answer>", "score": 0},
    {"id": "none", "response": "1234", "score": 0},
]


def check_page():
    page = pathlib.Path("docs/add_a_reward.md").read_text(encoding="utf-8")
    for example in sorted(EXAMPLES.iterdir()):
        text = example.read_text(encoding="utf-8")
        assert text in page, f"docs/add_a_reward.md does not show {example} as it is"


def check_route(r1, folder, place):
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    rows = [{key: row[key] for key in ("id", "response")} for row in ROWS]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = subprocess.run(
        [r1, "score", "--reward", "short", "--set", f"short.{place}", "--input", str(source),
         "--output", str(target), "--jobs", "4"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, (place, result)
    scores = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [s["score"] for s in scores] == [row["score"] for row in ROWS], (place, scores)
    print("ok", place)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--r1", "--library", "--service"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    check_page()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_route(arguments.r1, folder, f"python={EXAMPLES}/short_answer.py:score")
        check_route(arguments.r1, folder,
                    f'command=["python3", "{EXAMPLES}/short_answer_lines.py"]')
        check_route(arguments.r1, folder, f"library={arguments.library}")
        with subprocess.Popen([arguments.service, "127.0.0.1:0"], stdout=subprocess.PIPE,
                              text=True) as service:
            try:
                port = service.stdout.readline().strip()
                check_route(arguments.r1, folder, f"address=127.0.0.1:{port}")
            finally:
                service.kill()


if __name__ == "__main__":
    sys.exit(main())
