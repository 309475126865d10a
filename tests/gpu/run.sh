#!/usr/bin/env bash
# Tests and benchmarks of the CUDA kernels on a GPU machine that need not be able to build them.
#
#   tests/gpu/run.sh pack BUILD [FOLDER]      gathers the programs of a build folder, and this script, in
#                                             FOLDER (default .gpu); copy it to the GPU machine
#   FOLDER/run.sh test                        every test; fails when there is no Hopper GPU
#   FOLDER/run.sh bench [JSON]                every kernel benchmark: a table, and all rows in JSON
#   FOLDER/run.sh generate [JSON]             the engine's: tokens a second of M16, Q1.5 and Q7, then
#                                             time by operator
#   FOLDER/run.sh sanitize                    the small tests under compute-sanitizer: memcheck, racecheck
#   FOLDER/run.sh all [JSON]                  the three of them
#
# The programs need the NVIDIA driver and libstdc++; other libraries come along in FOLDER/lib.
# GTEST_FILTER works as always.
set -euo pipefail

die() { printf 'run.sh: error: %s\n' "$*" >&2; exit 1; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_root=$here/../..
[[ -d $here/lib ]] && export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

pack() {
  local build=${1:?pack needs the build folder} folder=${2:-.gpu}
  shopt -s nullglob
  local programs=("$build"/bin/*_gpu_test "$build"/bin/*_cuda_bench "$build"/bin/r1_bench_generate)
  ((${#programs[@]})) || die "no GPU programs in $build/bin: was it configured with a CUDA toolkit?"
  rm -rf "$folder"
  mkdir -p "$folder/lib"
  cp "${programs[@]}" "$source_root"/kernels/bench/shapes/*.json "${BASH_SOURCE[0]}" "$folder"
  # What a machine without a compiler may lack: neither the C library nor the compiler's own.
  ldd "${programs[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    { grep -Ev '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so' || true; } |
    xargs -r cp -t "$folder/lib"
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

generate() {
  local json=${1:-} rows
  rows=$(mktemp)
  local points=1x1,1x16,4x16,16x16,32x16
  local model
  for model in m16 q1_5 q7; do
    local bench=("$here/r1_bench_generate" --config "$here/$model.json" --points "$points")
    "${bench[@]}" --json "$rows"
    "${bench[@]}" --json "$rows" --fast
    "${bench[@]}" --response-tokens 40 --profile
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
  generate) generate "${2:-}" ;;
  sanitize) sanitize ;;
  all) run_tests && bench "${2:-}" && sanitize ;;
  *) sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
