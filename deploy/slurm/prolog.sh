#!/bin/sh
# For slurm.conf: Prolog=/etc/carbon/slurm/prolog.sh (docs/slurm.md). Runs as root on each node of a job before its first step.
#
# It notes when and for whom the job began, for the epilog. The job's energy needs no help: the agent finds jobs by their
# cgroups. A prolog that fails drains the node, so that this one never does, and it waits for nothing.
folder=${CARBON_SLURM_DIR:-/run/carbon-slurm}
case ${SLURM_JOB_ID:-} in '' | *[!0-9]*) exit 0 ;; esac
{
  umask 077
  mkdir -p "$folder" &&
    printf '%s|%s|%s\n' "$(date +%s)" "${SLURM_JOB_USER:-${SLURM_JOB_UID:-}}" "${SLURM_JOB_ACCOUNT:-}" >"$folder/$SLURM_JOB_ID"
} 2>/dev/null
exit 0
