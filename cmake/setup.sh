#!/usr/bin/env bash
# Installs what the build needs: Debian packages (apt-get, with sudo when not root) and LibTorch
# from PyPI wheels into .deps/ of this clone. Idempotent; does nothing, and needs no network, once
# everything is there. Environment: R1_NO_APT=1 skips the package step (it then only says what is
# missing).
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  g++ cmake ninja-build ccache pkg-config python3 python3-venv
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libopenmpi-dev openmpi-bin libgtest-dev libgmock-dev
  libtomlplusplus-dev nlohmann-json3-dev libcpp-httplib-dev libssl-dev libzstd-dev libxxhash-dev
  zlib1g-dev libflint-dev libgmp-dev libpcre2-dev libutf8proc-dev
)
# FLINT 2 has Arb as a package of its own; from FLINT 3 on it is inside.
if grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release; then
  packages+=(libflint-arb-dev)
fi
# See docs/decisions/0001-libtorch-from-the-wheel.md. The two CUDA wheels hold the small libraries
# that libtorch_cpu.so links even when there is no GPU.
readonly wheels=(torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
readonly deps=.deps

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done
if ((${#missing[@]})); then
  [[ -z ${R1_NO_APT:-} ]] || die "missing Debian packages: ${missing[*]}"
  command -v apt-get >/dev/null ||
    die "this is no Debian or Ubuntu; install by hand: ${missing[*]}"
  sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "not root and no sudo; run as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp="$deps/stamp-$(printf '%s\n' "${wheels[@]}" | sha256sum | cut -c1-16)"
if [[ ! -e $stamp ]]; then
  say "installing ${wheels[*]} into $deps/ (about 550 MB to download, 1.2 GB unpacked)"
  rm -rf "$deps"
  mkdir -p "$deps"
  /usr/bin/python3 -m venv "$deps/venv"
  "$deps/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-compile --target "$deps/site" "${wheels[@]}"
  # protobuf 3.13 headers inside the torch wheel would win over the system's and break generated
  # code.
  rm -rf "$deps/site/torch/include/google"
  [[ -e $deps/site/torch/lib/libtorch_cpu.so ]] || die "the torch wheel holds no lib/libtorch_cpu.so"
  touch "$stamp"
fi
say "ready: $(cmake --version | head -n1), $(g++ --version | head -n1), LibTorch in $deps/site"
