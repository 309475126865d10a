#!/usr/bin/env bash
# Installs what the tests of label `peer` compare with or look through: Chromium (apt-get) and
# Python packages, into a virtual environment of this clone; or, with the argument `llama_cpp`, what
# llama_cpp_bench.py needs (llama.cpp is compiled for this processor, some ten minutes). Idempotent;
# needs no network once everything is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'peer setup: %s\n' "$*"; }
die() { printf 'peer setup: error: %s\n' "$*" >&2; exit 1; }

# install ENVIRONMENT REQUIREMENTS SIZE: a virtual environment with just these packages.
install() {
  local stamp
  stamp="$1/stamp-$(sha256sum "$2" | cut -c1-16)"
  [[ -e $stamp ]] && return
  say "installing $(grep -v "^#" "$2" | tr "\n" " ")into $1 ($3)"
  rm -rf "$1"
  /usr/bin/python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
  touch "$stamp"
}

if [[ ${1:-} == llama_cpp ]]; then
  CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" install .deps/llama_cpp tests/peer/requirements_llama_cpp.txt "200 MB"
  say "ready"
  exit
fi

if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then
  command -v apt-get >/dev/null || die "install Chromium by hand"
  sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "no sudo; run as root: apt-get install chromium"
    sudo=(sudo)
  fi
  say "installing chromium"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium fonts-dejavu-core >/dev/null
fi

install .deps/peer tests/peer/requirements.txt "about 4 GB"
say "ready"
