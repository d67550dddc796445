#!/usr/bin/env bash
# Installs what building and testing seer-train needs on Debian 12 or Ubuntu 24.04 (apt, as root or with sudo).
# Says what it does; a second run does nothing. `tools/setup.sh --tests` adds what only the tests need, `--gpu` the
# headers with which `seer-train bench attention` measures cuDNN (the CUDA toolkit and cuDNN themselves are NVIDIA's to install).
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config git ca-certificates
  libeigen3-dev libcli11-dev nlohmann-json3-dev libfmt-dev libspdlog-dev
  libpcre2-dev libutf8proc-dev libzip-dev zlib1g-dev libzstd-dev libprotozero-dev
  libgloo-dev libssl-dev
  libgtest-dev libgmock-dev
)
tests=0
gpu=0
for option in "$@"; do
  case "$option" in
    --tests) tests=1 ;;
    --gpu) gpu=1 ;;
    *) echo "usage: tools/setup.sh [--tests] [--gpu]" >&2; exit 2 ;;
  esac
done
if [[ $tests == 1 ]]; then
  # clang: fuzzers and linters. python3-torch reads the .pth files we write; the venv is for TensorBoard.
  packages+=(clang clang-format clang-tidy libclang-rt-14-dev ccache python3-numpy python3-torch python3-venv zstd)
  # A Slurm of two fake nodes, mpirun and network namespaces: how clusters start ranks.
  packages+=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins openmpi-bin iproute2)
  # The report's page is looked at in a browser. Ubuntu has it as a snap alone: the test is skipped there.
  if apt-cache show chromium >/dev/null 2>&1; then packages+=(chromium); fi
  if ! apt-cache show libclang-rt-14-dev >/dev/null 2>&1; then
    packages=("${packages[@]/libclang-rt-14-dev/libclang-rt-dev}")
  fi
fi
[[ $gpu == 0 ]] || packages+=(python3-pip unzip)

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

# cmake/cudnn_frontend.cmake looks for it there. NVIDIA publishes the header-only library as a Python wheel; pinned to what
# cuda/bench was compiled with.
frontend=1.32.0
frontend_home=$HOME/.cache/seer-train/cudnn-frontend
if [[ $gpu == 1 ]]; then
  if [[ "$(cat "$frontend_home/version" 2>/dev/null || true)" == "$frontend" ]]; then
    echo "setup: cudnn-frontend $frontend is in $frontend_home"
  else
    echo "setup: downloading cudnn-frontend $frontend to $frontend_home"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$download" "nvidia-cudnn-frontend==$frontend"
    unzip -q "$download"/nvidia_cudnn_frontend-*.whl 'include/*' -d "$download"
    rm -rf "$frontend_home"
    mkdir -p "$frontend_home"
    mv "$download/include" "$frontend_home/include"
    echo "$frontend" > "$frontend_home/version"
    echo "setup: done; configure again to have it in the build"
  fi
fi
