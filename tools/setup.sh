#!/usr/bin/env bash
# Installs what building and testing seer-train needs on Debian 12 or Ubuntu 24.04 (apt, as root or with sudo).
# Says what it does; a second run does nothing. `tools/setup.sh --tests` adds what only the tests need.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config git ca-certificates
  libeigen3-dev libcli11-dev nlohmann-json3-dev libfmt-dev libspdlog-dev
  libpcre2-dev libutf8proc-dev libzip-dev zlib1g-dev libzstd-dev libprotozero-dev
  libgtest-dev libgmock-dev
)
if [[ "${1:-}" == "--tests" ]]; then
  # clang: fuzzers and linters. python3-torch reads the .pth files we write; the venv is for TensorBoard.
  packages+=(clang clang-format clang-tidy libclang-rt-14-dev ccache libssl-dev python3-numpy python3-torch python3-venv zstd)
  if ! apt-cache show libclang-rt-14-dev >/dev/null 2>&1; then
    packages=("${packages[@]/libclang-rt-14-dev/libclang-rt-dev}")
  fi
elif [[ $# -gt 0 ]]; then
  echo "usage: tools/setup.sh [--tests]" >&2
  exit 2
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == "installed" ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "setup: everything is installed"
else
  sudo=()
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo; missing: ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  echo "setup: done"
fi
