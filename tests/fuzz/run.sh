#!/usr/bin/env bash
# Runs every fuzz target of a build folder (preset fuzz) for some minutes each, one after another, to
# the last one even when one fails. What they find stays in BUILD/fuzz_found/<target>/; a crash is
# printed with the file that repeats it.
#
#   tests/fuzz/run.sh BUILD MINUTES
set -euo pipefail
(($# == 2)) || { echo "usage: tests/fuzz/run.sh BUILD MINUTES" >&2; exit 2; }
cmake -DR1_FUZZ_SECONDS=$(($2 * 60)) "$1" >/dev/null
cmake --build "$1" --target run_fuzzers -j 1 -- -k 0
