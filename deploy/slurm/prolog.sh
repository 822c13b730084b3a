#!/bin/sh
# For slurm.conf: Prolog=/etc/carbon/slurm/prolog.sh (docs/slurm.md). Runs as root on each node of a job before its first step.
#
# It notes when and for whom the job began, for the epilog and for the agent, which shows it as the job's user, account and partition.
# The job's energy needs no help: the agent finds jobs by their cgroups. A prolog that fails drains the node, so that this one never
# does, and it waits for nothing.
folder=${CARBON_SLURM_DIR:-/run/carbon-slurm}
case ${SLURM_JOB_ID:-} in '' | *[!0-9]*) exit 0 ;; esac
umask 077

# One line, with the name last, as it is the user's and may hold anything. Nobody reads it half written.
note() {
  {
    printf '%s|%s|%s|%s|%s\n' "$1" "${SLURM_JOB_USER:-${SLURM_JOB_UID:-}}" "${SLURM_JOB_ACCOUNT:-}" "${SLURM_JOB_PARTITION:-}" "$2" \
      >"$folder/.$SLURM_JOB_ID.$$" && mv -f "$folder/.$SLURM_JOB_ID.$$" "$folder/$SLURM_JOB_ID"
  } 2>/dev/null
}

if [ "${1:-}" = --name ]; then
  # In its own session by now, as slurmd ends what is left of the prolog's.
  echo begun >&3
  exec 3>&-
  name=$(timeout 10 "${CARBON_SLURM_SQUEUE:-squeue}" --noheader --jobs "$SLURM_JOB_ID" --format %j) || exit 0
  # A job of seconds may be gone by now, and its note with it.
  [ -n "$name" ] && [ -e "$folder/$SLURM_JOB_ID" ] && note "$2" "$name"
else
  begun=$(date +%s)
  mkdir -p "$folder" 2>/dev/null && note "$begun" "${SLURM_JOB_NAME:-}"
  # slurmd tells its prolog no name (22.05 to 23.11): the controller is asked where that is wanted, once for each job and node.
  if [ -z "${SLURM_JOB_NAME:-}" ] && [ "${CARBON_SLURM_NAMES:-}" = squeue ]; then
    { setsid "$0" --name "$begun" 3>&1 </dev/null >/dev/null 2>&1 & } | read -r _
  fi
fi
exit 0
