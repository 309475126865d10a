#!/usr/bin/env python3
"""Runs fuzz targets for some processor minutes each, and reports what of their parsers they reach.

  run.py --build build/fuzz --minutes 30 [--coverage build/coverage] [--only NAME …] [--json FILE]

Every target runs to the end, even when another one fails. What libFuzzer finds stays in
BUILD/fuzz_found/<target>/, where the next run starts from; a crash is printed with the file that
repeats it. With --coverage (a build of the preset of that name) the found inputs and the corpus then
run once more, and the lines are counted of the sources that the target COVERS (cmake/R1Fuzz.cmake).
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CHUNK_SECONDS = 120
TIMEOUT_SECONDS = 60  # of one input, by the clock: on a busy machine the tests' 10 are too few
ROOT = pathlib.Path(__file__).resolve().parents[2]


def llvm(tool):
    """The unversioned program, or the one of clang's own version."""
    version = subprocess.run(["clang", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    for name in (tool, f"{tool}-{version.split('.')[0]}"):
        if subprocess.run(["which", name], capture_output=True).returncode == 0:
            return name
    sys.exit(f"run.py: {tool} is missing; it comes with the package llvm")


def fuzz(target, found, minutes):
    """Chunks until the processor time is used up. Returns (executions, processor seconds, failure)."""
    executions, seconds = 0, 0.0
    while seconds < minutes * 60:
        chunk = min(CHUNK_SECONDS, minutes * 60 - seconds + 1)
        command = [target["program"], *target["options"], f"-max_total_time={int(chunk) + 1}",
                   f"-timeout={TIMEOUT_SECONDS}", f"-artifact_prefix={found}_", str(found), target["corpus"]]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace")
        log = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds += usage.ru_utime + usage.ru_stime
        count = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
        executions += int(count[1]) if count else 0
        if process.returncode != 0:
            return executions, seconds, "\n".join(log.splitlines()[-40:])
    return executions, seconds, None


def line_coverage(name, coverage_build, found, corpus, sources):
    """{source: (lines that ran, lines)} over all inputs."""
    program = coverage_build / "bin" / name
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder) / "profile"
        inputs = [str(path) for path in (found, corpus) if any(pathlib.Path(path).iterdir())]
        subprocess.run([program, "-runs=0", "-max_len=65536", *inputs], check=True, cwd=ROOT,
                       capture_output=True, env={**os.environ, "LLVM_PROFILE_FILE": str(profile)})
        merged = f"{profile}.merged"
        subprocess.run([llvm("llvm-profdata"), "merge", "-sparse", profile, "-o", merged], check=True)
        report = subprocess.run(
            [llvm("llvm-cov"), "export", "-summary-only", f"-instr-profile={merged}", program],
            check=True, capture_output=True, text=True)
    by_file = {}
    for file in json.loads(report.stdout)["data"][0]["files"]:
        path = pathlib.Path(file["filename"])  # relative to the build, or absolute
        path = pathlib.Path(os.path.normpath(coverage_build / ".." / ".." / path if path.parts[0] == "build"
                                             else coverage_build / path))
        source = os.path.relpath(path, ROOT)
        if source in sources:
            lines = file["summary"]["lines"]
            by_file[source] = (lines["covered"], lines["count"])
    assert sorted(by_file) == sorted(sources), f"{name}: no lines of {set(sources) - set(by_file)}"
    return by_file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a build of the preset fuzz")
    parser.add_argument("--minutes", type=float, default=1, help="processor minutes a target (1)")
    parser.add_argument("--coverage", type=pathlib.Path, help="a build of the preset coverage")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these targets (all)")
    parser.add_argument("--json", type=pathlib.Path, help="adds a line a target to this file")
    options = parser.parse_args()
    files = sorted((options.build / "fuzz_targets").glob("*.json"))
    known = [file.stem for file in files]
    if unknown := set(options.only) - set(known):
        parser.error(f"no target {', '.join(sorted(unknown))}; known are {', '.join(known)}")

    failures = 0
    for name in options.only or known:
        target = json.loads((options.build / "fuzz_targets" / f"{name}.json").read_text())
        found = options.build.resolve() / "fuzz_found" / name
        executions, seconds, failure = fuzz(target, found, options.minutes)
        row = {"target": name, "executions": executions, "cpu_minutes": round(seconds / 60, 1),
               "failed": failure is not None}
        line = f"{name:22} {executions:>12,} executions in {seconds / 60:6.1f} processor minutes"
        if options.coverage:
            by_file = line_coverage(name, options.coverage.resolve(), found, target["corpus"], target["covers"])
            ran, lines = (sum(column) for column in zip(*by_file.values()))
            row["line_coverage"] = round(ran / lines, 4)
            row["files"] = {file: round(ran / max(lines, 1), 3) for file, (ran, lines) in by_file.items()}
            line += f", {100 * ran / lines:5.1f} % of {lines} lines"
        print(line, flush=True)
        if failure:
            failures += 1
            print(f"{name} FAILED:\n{failure}", flush=True)
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
