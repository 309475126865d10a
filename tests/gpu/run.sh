#!/usr/bin/env bash
# Tests and benchmarks of the CUDA kernels on a GPU machine that need not be able to build them.
#
#   tests/gpu/run.sh pack BUILD [FOLDER [SET]]
#                                             gathers the programs of a build folder, and this script, in
#                                             FOLDER (default .gpu); copy it to the GPU machine. SET: kernels
#                                             (test, bench, generate, trace, sanitize), train, or all (default)
#   FOLDER/run.sh test                        every test; fails when there is no Hopper GPU
#   FOLDER/run.sh bench [JSON]                every kernel benchmark: a table, and all rows in JSON
#   FOLDER/run.sh generate [JSON]             the engine's: tokens a second of M16, Q1.5 and Q7, then
#                                             time by operator
#   FOLDER/run.sh trace MODEL POINT …         what each kernel adds to the engine's steps, graphs and
#                                             overlap as they are; such as: trace m16 1x1 16x16
#   FOLDER/run.sh policy                      the learner's passes on the GPU against the CPU's
#   FOLDER/run.sh train [OUT]                 configs/grpo_h200.toml, learner and worker on one GPU, in OUT
#                                             (default a new folder), then its rows in steps of ten;
#                                             R1_SETTINGS="key=value …" overrides keys
#   FOLDER/run.sh sanitize                    the small tests under compute-sanitizer: memcheck, racecheck
#   FOLDER/run.sh all [JSON]                  the three of them
#
# The programs need the NVIDIA driver and libstdc++; other libraries come along in FOLDER/lib, but for
# LibTorch, which `policy` and `train` need: that of the Python package torch, in the version of cmake/setup.sh.
# GTEST_FILTER works as always.
set -euo pipefail

die() { printf 'run.sh: error: %s\n' "$*" >&2; exit 1; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_root=$here/../..
[[ -d $here/lib ]] && export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

pack() {
  local build=${1:?pack needs the build folder} folder=${2:-.gpu} set=${3:-all} programs=() files=()
  [[ $set == all || $set == kernels || $set == train ]] || die "pack: no set $set"
  shopt -s nullglob
  if [[ $set != train ]]; then
    programs+=("$build"/bin/*_gpu_test "$build"/bin/r1_bench_{kernels,generate})
    files+=("$source_root"/kernels/bench/shapes/*.json "$source_root"/tests/gpu/kernel_times.py)
    files+=("$build"/bin/libr1_kernel_trace*.so)  # none without CUPTI
    ((${#programs[@]})) || die "no GPU programs in $build/bin: was it configured with a CUDA toolkit?"
  fi
  if [[ $set != kernels ]]; then
    programs+=("$build"/bin/r1 "$build"/bin/r1_reward_host "$build"/bin/policy_torch_test)
    files+=("$build"/bin/r1_sandbox_helper "$source_root"/configs/grpo_h200.toml)
  fi
  rm -rf "$folder"
  mkdir -p "$folder/lib"
  cp "${programs[@]}" "${files[@]}" "${BASH_SOURCE[0]}" "$folder"
  # What a machine without a compiler may lack: neither the C library nor the compiler's own, nor
  # LibTorch with what its package brings.
  ldd "${programs[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    { grep -Ev '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so' || true; } |
    { grep -Ev '/(libtorch_cpu|libc10|libcudart|libcupti|libgomp)\.so' || true; } |
    xargs -r cp -t "$folder/lib"
  find "$folder" -type f \( -name '*.so*' -o ! -name '*.*' \) -exec strip --strip-unneeded {} +
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
  local json=${1:-} rows
  rows=$(mktemp)
  timeout 600 "$here/r1_bench_kernels" --device cuda --json "$rows" || die "failed: r1_bench_kernels"
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
    if [[ $model == m16 ]]; then "${bench[@]}" --json "$rows" --expert-weights fp8; fi
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

trace() {
  local model=${1:?trace needs a model} point rows
  rows=$(mktemp)
  find_torch  # brings CUPTI
  for point in "${@:2}"; do
    printf '%s %s\n' "$model" "$point"
    CUDA_INJECTION64_PATH=$here/libr1_kernel_trace.so R1_KERNEL_TRACE=$rows \
      "$here/r1_bench_generate" --config "$here/$model.json" --points "$point" --response-tokens 40
    python3 "$here/kernel_times.py" "$rows"
  done
  rm -f "$rows"
}

# Puts the LibTorch of the Python package on the library path.
find_torch() {
  local torch
  torch=$(python3 -c 'from importlib.util import find_spec
print(find_spec("torch").submodule_search_locations[0])') ||
    die "this needs the Python package torch, in the version of cmake/setup.sh"
  local folders=("$torch"/lib "$torch"/../nvidia/*/lib) joined
  joined=$(IFS=:; printf '%s' "${folders[*]}")
  export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$joined
}

policy() {
  find_torch
  R1_REQUIRE_GPU=1 timeout 300 "$here/policy_torch_test"
}

train() {
  local out=${1:-} setting settings=()
  [[ -n $out ]] || out=$(mktemp -d)
  for setting in ${R1_SETTINGS:-}; do settings+=(--set "$setting"); done
  find_torch
  "$here/r1" run "$here/grpo_h200.toml" --set "run.dir=$out/run" "${settings[@]}" || {
    tail -n 20 "$out"/run/logs/attempt_*/*.log >&2
    die "the run failed; its logs are in $out/run/logs"
  }
  python3 - "$out/run/metrics.jsonl" <<'PYTHON'
import json, sys
columns = [("loss/mean", "loss"), ("reward/mean", "reward"), ("length/mean", "length"),
           ("mismatch/logprob_abs_mean", "mismatch"), ("time/step", "seconds"),
           ("time/train", "train"), ("time/generate", "generate")]
print("stage      step " + " ".join(f"{name:>10}" for _, name in columns))
for line in open(sys.argv[1]):
    row = json.loads(line)
    if "loss/mean" not in row or row["step"] % (10 if "reward/mean" in row else 50): continue
    values = (row.get(key) for key, _ in columns)
    cells = (f"{v:10.4g}" if isinstance(v, (int, float)) else " " * 10 for v in values)
    print(f"{row['stage']:<10} {row['step']:4} " + " ".join(cells))
PYTHON
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
  trace) trace "${@:2}" ;;
  policy) policy ;;
  train) train "${2:-}" ;;
  sanitize) sanitize ;;
  all) run_tests && bench "${2:-}" && sanitize ;;
  *) sed -n '2,25s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
