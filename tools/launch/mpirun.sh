#!/usr/bin/env bash
# A training on hosts without a batch system, over ssh: Open MPI's mpirun starts one rank for each slot of a host file. No
# MPI library is used, mpirun only starts the processes.
#
#   tools/launch/mpirun.sh HOSTFILE CONFIG RUN_FOLDER [more arguments of `seer-train train`]
#
# HOSTFILE has lines as "node1 slots=8". RUN_FOLDER (output.dir) is one folder for all hosts; where there is none, set
# SEER_SECRET (openssl rand -hex 32) and MASTER_ADDR (the first host), and this script passes them on. To stop and save,
# send USR1 to mpirun: at TERM and INT it kills the ranks after a moment. Then call this again: a run is resumed.
set -euo pipefail

usage="usage: mpirun.sh HOSTFILE CONFIG RUN_FOLDER [arguments]"
hosts=${1:?$usage}
config=${2:?$usage}
run=${3:?$usage}
shift 3
resume=()
[[ ! -e "$run/config.json" ]] || resume=(--resume)
passed=()
for name in SEER_SECRET MASTER_ADDR MASTER_PORT NCCL_SOCKET_IFNAME; do
  [[ -z "${!name:-}" ]] || passed+=(-x "$name")
done
exec mpirun --hostfile "$hosts" --bind-to none --tag-output "${passed[@]}" \
  ${MPIRUN_FLAGS:-} "${SEER_TRAIN:-seer-train}" train "$config" --set output.dir="$run" "${resume[@]}" "$@"
