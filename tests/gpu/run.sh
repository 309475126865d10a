#!/usr/bin/env bash
# Tests and benchmarks of the CUDA kernels on a GPU machine that need not be able to build them.
#
#   tests/gpu/run.sh pack BUILD [FOLDER]      gathers the programs of a build folder, and this script, in
#                                             FOLDER (default .gpu); copy it to the GPU machine
#   FOLDER/run.sh test                        every test; fails when there is no Hopper GPU
#   FOLDER/run.sh bench [JSON]                every benchmark: a table, and all rows in JSON
#   FOLDER/run.sh sanitize                    the small tests under compute-sanitizer: memcheck, racecheck
#   FOLDER/run.sh all [JSON]                  the three of them
#
# The programs need the NVIDIA driver and libstdc++, nothing else. GTEST_FILTER works as always.
set -euo pipefail

die() { printf 'run.sh: error: %s\n' "$*" >&2; exit 1; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

pack() {
  local build=${1:?pack needs the build folder} folder=${2:-.gpu}
  shopt -s nullglob
  local programs=("$build"/bin/*_gpu_test "$build"/bin/*_cuda_bench)
  ((${#programs[@]})) || die "no GPU programs in $build/bin: was it configured with a CUDA toolkit?"
  mkdir -p "$folder"
  rm -f "$folder"/*_gpu_test "$folder"/*_cuda_bench
  cp "${programs[@]}" "${BASH_SOURCE[0]}" "$folder"
  du -sh "$folder"
}

run_tests() {
  local failed=() program
  export R1_REQUIRE_GPU=1
  for program in "$here"/*_gpu_test; do
    timeout 300 "$program" || failed+=("$(basename "$program")")
  done
  ((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
}

bench() {
  local json=${1:-} rows program
  rows=$(mktemp)
  for program in "$here"/*_cuda_bench; do
    timeout 300 "$program" --json "$rows" || die "failed: $(basename "$program")"
  done
  if [[ -n $json ]]; then
    {
      printf '{"date": "%s", "gpu": "%s", "rows": [\n' "$(date -u +%F)" \
        "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n1)"
      sed '$!s/$/,/' "$rows"
      printf ']}\n'
    } >"$json"
  fi
  rm -f "$rows"
}

sanitize() {
  command -v compute-sanitizer >/dev/null || die "compute-sanitizer is not installed"
  local program tool
  export R1_REQUIRE_GPU=1
  for program in "$here"/*_gpu_test; do
    for tool in memcheck racecheck; do
      printf '%s of %s\n' "$tool" "$(basename "$program")"
      timeout 600 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$program" --gtest_brief=1 --gtest_filter='*.Small*' || die "$tool: $(basename "$program")"
    done
  done
}

case ${1:-} in
  pack) pack "${@:2}" ;;
  test) run_tests ;;
  bench) bench "${2:-}" ;;
  sanitize) sanitize ;;
  all) run_tests && bench "${2:-}" && sanitize ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
