#!/usr/bin/env bash
# Installs what the tests of label `peer` compare with or look through: Chromium (apt-get) and
# Python packages, into a virtual environment of this clone. Idempotent; needs no network once
# everything is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'peer setup: %s\n' "$*"; }
die() { printf 'peer setup: error: %s\n' "$*" >&2; exit 1; }

readonly environment=.deps/peer
readonly requirements=tests/peer/requirements.txt

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

stamp="$environment/stamp-$(sha256sum "$requirements" | cut -c1-16)"
if [[ ! -e $stamp ]]; then
  say "installing $(grep -v "^#" "$requirements" | tr "\n" " ")into $environment (about 4 GB)"
  rm -rf "$environment"
  /usr/bin/python3 -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  touch "$stamp"
fi
say "ready"
