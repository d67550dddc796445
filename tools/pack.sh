#!/usr/bin/env bash
# Packs seer-train and the GPU tests of a build for a machine without compiler and libraries: built here, run there.
#   tools/pack.sh [BUILD] ARCHIVE.tar.xz     BUILD: default build/release
# There, in a copy of this repository: tar xf ARCHIVE.tar.xz -C FOLDER, then tools/gpu_check.sh FOLDER; or
# LD_LIBRARY_PATH=FOLDER/lib FOLDER/seer-train. C's own library, the driver, the CUDA libraries and NCCL are that machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
case $# in
  1) build=build/release archive=$1 ;;
  2) build=$1 archive=$2 ;;
  *) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
mapfile -t programs < <(find "$build/gpu_tests" "$build/seer-train" -type f -perm -u+x | LC_ALL=C sort)
[[ -x "$build/seer-train" ]] || { echo "pack: $build/seer-train is not there: build it first" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lib" "$folder/gpu_tests"
for program in "${programs[@]}"; do
  strip -o "$folder/${program#"$build"/}" "$program"
done
theirs='/(libc|libm|libdl|librt|libpthread|ld-linux-x86-64|libcuda|libcudart|libcublas|libcublasLt|libcudnn[a-z_]*|libnccl)\.so'
ldd "${programs[@]}" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | { grep -Ev "$theirs" || true; } |
  xargs -r cp -L -t "$folder/lib"
for library in "$folder"/lib/*; do strip --strip-unneeded "$library"; done
mkdir -p "$(dirname "$archive")"
# The tests hold the same kernels: one window over all of them makes 14 MB of 66.
tar -C "$folder" --sort=name -c . | xz -T1 --lzma2=preset=1,dict=64MiB > "$archive.part"
mv "$archive.part" "$archive"
echo "pack: ${#programs[@]} programs, $(find "$folder/lib" -type f | wc -l) libraries, $(du -h "$archive" | cut -f1) in $archive"
