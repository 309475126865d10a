"""What the end-to-end tests share: running r1, and reading what a run leaves behind."""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse_arguments():
    """--r1 PROGRAM, as CTest gives it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--r1", required=True)
    return os.path.abspath(parser.parse_args().r1)


def arguments_of(config, run_dir, settings):
    arguments = ["run", str(ROOT / config), "--set", f"run.dir={run_dir}"]
    for setting in settings:
        arguments += ["--set", setting]
    return arguments


def call(r1, arguments, seconds=60):
    """Runs to the end; returns the completed process with text output."""
    return subprocess.run([r1] + arguments, capture_output=True, text=True, timeout=seconds,
                          cwd=ROOT, check=False)


def start(r1, arguments, log):
    """Starts in the background with all output in `log`."""
    return subprocess.Popen([r1] + arguments, stdout=log, stderr=log, cwd=ROOT)


def metrics_rows(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def last_evaluation(run_dir, stage, name):
    """The newest row of the stage that has this evaluation value."""
    rows = [r for r in metrics_rows(run_dir) if r["stage"] == stage and name in r]
    return rows[-1][name]


def new_folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="r1_e2e_"))
