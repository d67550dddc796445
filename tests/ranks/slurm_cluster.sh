#!/usr/bin/env bash
# A Slurm of its own for one test: a controller and two nodes, all on this machine, without munge, in a folder that is
# removed afterwards. It runs the given commands (each one argument, by bash) with SLURM_CONF set and says what failed.
#   slurm_cluster.sh COMMAND...
# Prints "SKIPPED: <why>" and ends well where that cannot be done.
set -uo pipefail

skip() { echo "SKIPPED: $*"; exit 0; }
[[ $EUID -eq 0 ]] || skip "Slurm's daemons have to be started by root here"
for program in slurmctld slurmd srun sbatch scontrol sinfo; do
  command -v "$program" >/dev/null || skip "$program is not installed (tools/setup.sh --tests)"
done

home=$(mktemp -d /tmp/seer-slurm.XXXXXX)
pids=()
cleanup() {
  scancel --quiet --state=RUNNING --state=PENDING 2>/dev/null
  # slurmstepd processes end with their steps; the daemons are ours.
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  rm -rf "$home"
}
trap cleanup EXIT

# Ports that nothing listens on now.
read -r ctld n1 n2 < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
)
host=$(hostname -s)
mkdir -p "$home/state" "$home/spool.n1" "$home/spool.n2"
cat > "$home/slurm.conf" <<CONF
ClusterName=seer
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$ctld
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool.%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.%n.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.%n.log
MpiDefault=none
SwitchType=switch/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
MinJobAge=60
JobRequeue=1
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$n1 CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$n2 CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
export SLURM_CONF=$home/slurm.conf

slurmctld -D -c > "$home/slurmctld.out" 2>&1 & pids+=($!)
slurmd -D -N n1 > "$home/slurmd.n1.out" 2>&1 & pids+=($!)
slurmd -D -N n2 > "$home/slurmd.n2.out" 2>&1 & pids+=($!)
idle=0
for _ in $(seq 100); do
  idle=$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)
  [[ $idle == 2 ]] && break
  sleep 0.1
done
if [[ $idle != 2 ]]; then
  echo "Slurm did not come up: $(tail -n 5 "$home"/*.log "$home"/*.out 2>/dev/null)"
  exit 1
fi
echo "Slurm of two nodes is up after $SECONDS s"

failed=0
for command in "$@"; do
  started=$SECONDS
  if SEER_TEST_HOME=$home timeout 60 bash -c "set -euo pipefail; $command"; then
    echo "$command: good ($((SECONDS - started)) s)"
  else
    echo "$command: FAILED"
    failed=1
  fi
done
[[ $failed == 0 ]] || tail -n 20 "$home"/*.log
exit $failed
