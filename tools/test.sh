#!/usr/bin/env bash
# Every test, as CI runs them: set-up, a release build with warnings as errors, all of ctest, a minute of fuzzing under
# ASan and UBSan, format, and lint of what changed.
#   tools/test.sh          everything
#   tools/test.sh --quick  the release tests alone
set -euo pipefail
cd "$(dirname "$0")/.."
quick=0
case "${1:-}" in
  "") ;;
  --quick) quick=1 ;;
  *) echo "usage: tools/test.sh [--quick]" >&2; exit 2 ;;
esac
started=$SECONDS
step() { echo; echo "== $* ($((SECONDS - started)) s)"; }

step "set-up"
tools/setup.sh --tests
jobs=$(nproc)
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

# TensorBoard comes from PyPI; pinned to what its test was written against.
venv=${SEER_TENSORBOARD_VENV:-$HOME/.cache/seer-train/tensorboard}
if [[ ! -x "$venv/bin/tensorboard" ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check tensorboard==2.21.0 protobuf==7.36.2 numpy==2.4.6 setuptools==65.5.0
fi
export SEER_TENSORBOARD_PYTHON="$venv/bin/python"
export SEER_REQUIRE_TORCH=1

step "release build, warnings are errors"
cmake --preset release -DSEER_WERROR=ON "${launcher[@]}" >/dev/null
cmake --build --preset release -j "$jobs"
step "tests"
ctest --preset release -j "$jobs" --output-on-failure 2>&1 | tee build/ctest.log | tail -n 40
# Why what could not run here was skipped: ctest does not say it.
grep -ohE "(SKIPPED: |no network namespaces here).*" build/release/Testing/Temporary/LastTest.log | sort | uniq -c || true
tests=$(sed -n 's/.*tests failed out of \([0-9]*\).*/\1/p' build/ctest.log)
[[ "$quick" == 1 ]] && { echo "$tests passed, 0 failed"; exit 0; }

step "fuzzers with ASan and UBSan (clang), 60 s in all"
tools/fuzz.sh 60

step "format and lint"
tools/lint.sh

tools/gpu_check.sh --status
step "done"
echo "$tests passed, 0 failed"
