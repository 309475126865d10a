#!/usr/bin/env python3
"""Kills real processes at random instants and compares the final weights' bytes with those of an
undisturbed run; of the data sets that a run made, too.

A schedule is drawn from its number: how many workers (1 to 3), and which faults when: a worker
killed (-9), a worker stopped (SIGSTOP) for good or for a while, the learner killed (-9) and the run
started again, the run asked to stop (SIGTERM) and started again. In strict mode every schedule must
end in the same bytes.

  chaos_test.py --r1 build/release/bin/r1 --schedules 20 [--first 1] [--config stages.toml]
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUN_SECONDS_MAX = 120
STOP_SECONDS_MAX = 5


def final_digest(run_dir):
    """sha256 of the weights that each stage of a finished run ended with, and of its data sets."""
    report = run_dir / "report.json"
    assert report.exists(), f"{run_dir} is not finished"
    last_of_stage = {}
    for path in sorted((run_dir / "checkpoints").iterdir()):
        if ".tmp-" not in path.name:
            last_of_stage[path.name.split("_step_")[0]] = path / "model.safetensors"
    files = [last_of_stage[stage] for stage in sorted(last_of_stage)]
    files += sorted((run_dir / "datasets").glob("*"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def child_pids(parent, word):
    """Processes of this run whose command line has `word` as their subcommand."""
    pids = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
        if int(status[1]) == parent and len(command) > 1 and command[1] == word.encode():
            pids.append(int(entry.name))
    return sorted(pids)


class Run:
    """One `r1 run` command and its children."""

    config = HERE / "chaos.toml"

    def __init__(self, r1, run_dir, workers):
        arguments = [r1, "run", str(self.config), "--set", f"run.dir={run_dir}",
                     "--set", f"rollout.workers={workers}"]
        self.log = open(f"{run_dir}.log", "ab")
        self.log_start = os.fstat(self.log.fileno()).st_size
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log,
                                        cwd=ROOT)

    def ended(self):
        return self.process.poll() is not None

    def kill_worker(self, rng):
        pids = child_pids(self.process.pid, "worker")
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)

    def stop_worker(self, rng):
        pids = child_pids(self.process.pid, "worker")
        if not pids:
            return
        pid = rng.choice(pids)
        os.kill(pid, signal.SIGSTOP)
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0.2, 2.5))
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def kill_learner(self):
        for pid in child_pids(self.process.pid, "learner"):
            os.kill(pid, signal.SIGKILL)
        self.wait()

    def terminate(self):
        """SIGTERM; the run must end in the promised time, with a checkpoint (4) or finished (0).
        Before the program's first line the system's own end by the signal is right as well."""
        began = os.fstat(self.log.fileno()).st_size > self.log_start
        started = time.monotonic()
        self.process.terminate()
        code = self.wait()
        seconds = time.monotonic() - started
        expected = (0, 4) if began else (0, 4, -signal.SIGTERM)
        assert code in expected, f"exit code {code} after SIGTERM, expected 4 (or 0: finished)"
        assert seconds <= STOP_SECONDS_MAX, \
            f"stopping took {seconds:.1f} s, expected at most {STOP_SECONDS_MAX} s"

    def wait(self):
        code = self.process.wait(timeout=RUN_SECONDS_MAX)
        self.log.close()
        return code


def undisturbed(r1, folder, name, workers):
    run = Run(r1, folder / name, workers)
    code = run.wait()
    assert code == 0, f"undisturbed run {name} ended with {code}, see {folder / name}.log"
    return final_digest(folder / name)


def has_stepped_in_rl(run_dir):
    metrics = run_dir / "metrics.jsonl"
    return metrics.exists() and b'"stage":"rl"' in metrics.read_bytes()


def only_worker_stopped_for_good(r1, folder, name, is_due):
    """The run must replace a worker that lives but never answers again."""
    run = Run(r1, folder / name, 1)
    while not ((pids := child_pids(run.process.pid, "worker")) and is_due(folder / name)):
        assert not run.ended(), f"{name} ended before its fault, see {folder / name}.log"
        time.sleep(0.001)
    os.kill(pids[0], signal.SIGSTOP)
    code = run.wait()
    assert code == 0, f"{name} ended with {code}, see {folder / name}.log"
    assert b"killing it" in pathlib.Path(f"{folder / name}.log").read_bytes(), \
        "the worker was stopped too late to matter: a test of nothing"
    return final_digest(folder / name)


def run_schedule(r1, folder, number, typical_seconds):
    """Returns (digest, the faults that came before the run's end)."""
    rng = random.Random(number)
    run_dir = folder / f"schedule_{number}"
    deadline = time.monotonic() + RUN_SECONDS_MAX
    kinds = ["kill_worker", "stop_worker", "kill_learner", "terminate"]
    faults = [rng.choice(kinds) for _ in range(rng.randint(1, 4))]
    pause = typical_seconds / len(faults)
    done = []
    while True:
        assert time.monotonic() < deadline, f"schedule {number} did not finish: {done}"
        run = Run(r1, run_dir, rng.randint(1, 3))
        while faults and not run.ended():
            wait_until = time.monotonic() + rng.random() * pause
            while time.monotonic() < wait_until and not run.ended():
                time.sleep(0.01)
            if run.ended():
                break
            done.append(faults.pop(0))
            if done[-1] == "kill_worker":
                run.kill_worker(rng)
            elif done[-1] == "stop_worker":
                run.stop_worker(rng)
            elif done[-1] == "kill_learner":
                run.kill_learner()
            else:
                run.terminate()
        code = run.wait()
        if code == 0:
            return final_digest(run_dir), done
        assert done and done[-1] in ("kill_learner", "terminate"), f"ended with {code} after {done}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--r1", required=True)
    parser.add_argument("--schedules", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folders of good schedules")
    parser.add_argument("--config", default="chaos.toml", help="file beside this program")
    options = parser.parse_args()
    Run.config = HERE / options.config
    r1 = os.path.abspath(options.r1)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="r1_chaos_"))

    started = time.monotonic()
    reference = undisturbed(r1, folder, "reference", 2)
    print(f"reference {reference[:16]}", flush=True)
    typical_seconds = RUN_SECONDS_MAX
    for name, workers in (("again", 2), ("one_worker", 1), ("three_workers", 3)):
        began = time.monotonic()
        digest = undisturbed(r1, folder, name, workers)
        typical_seconds = min(typical_seconds, time.monotonic() - began)
        assert digest == reference, f"{name}: {digest[:16]} differs, see {folder}"
        print(f"{name}: same bytes", flush=True)
    for name, is_due in (("stopped_at_work", has_stepped_in_rl),
                         ("stopped_at_birth", lambda run_dir: True)):
        digest = only_worker_stopped_for_good(r1, folder, name, is_due)
        assert digest == reference, f"{name}: {digest[:16]} differs, see {folder}"
        print(f"{name}: same bytes", flush=True)

    failures = 0
    faults = collections.Counter()
    for number in range(options.first, options.first + options.schedules):
        try:
            digest, done = run_schedule(r1, folder, number, typical_seconds)
            faults.update(done)
            same, description = digest == reference, ", ".join(done) or "ended before its fault"
        except (AssertionError, subprocess.TimeoutExpired) as error:
            same, description = False, str(error)
        result = "same bytes" if same else "FAILED"
        print(f"schedule {number}: {result} ({description})", flush=True)
        failures += not same
        if same and not options.keep:
            shutil.rmtree(folder / f"schedule_{number}")
    print(json.dumps({"schedules": options.schedules, "failures": failures, "faults": dict(faults),
                      "seconds": round(time.monotonic() - started, 1)}))
    assert faults.total() >= options.schedules, "too few faults came in time: a test of nothing"
    if failures:
        print(f"run folders and logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
