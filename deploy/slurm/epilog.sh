#!/bin/sh
# For slurm.conf: Epilog=/etc/carbon/slurm/epilog.sh (docs/slurm.md). Runs as root on each node of a job after its last step.
#
# A line of JSON for the job on this node goes to a log, once the agent has written the job's last minute to its ledger: so it
# is written by a process of its own, and the node is free at once. With one ledger for all nodes the line is of the whole job.
folder=${CARBON_SLURM_DIR:-/run/carbon-slurm}
case ${SLURM_JOB_ID:-} in '' | *[!0-9]*) exit 0 ;; esac

write() {
  # What else is noted is for the agent.
  IFS='|' read -r begun user account _ <"$folder/$SLURM_JOB_ID" || exit 0
  ended=$(date +%s)
  sleep "${CARBON_SLURM_WAIT_S:-75}"
  moment() { date --utc --date "@$1" +%Y-%m-%dT%H:%M; }
  "${CARBON:-carbon}" report --by job --format csv --equivalents none \
    --from "$(moment "$begun")" --to "$(moment $((ended + 60)))" |
    awk -F, -v id="$SLURM_JOB_ID" -v begun="$begun" -v ended="$ended" -v user="$user" -v account="$account" -v node="$(uname -n)" '
      function text(word) { gsub(/[^A-Za-z0-9._@-]/, "?", word); return "\"" word "\"" }
      NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
      $column["key"] == id {
        printf "{\"job\":%s,\"node\":%s,\"user\":%s,\"account\":%s,\"start_s\":%d,\"end_s\":%d,", id, text(node), text(user), text(account), begun, ended
        printf "\"dynamic_uj\":%s,\"static_uj\":%s,\"grams\":%s,\"quality\":%s}\n", $column["dynamic_uj"], $column["static_uj"], $column["grams"] == "" ? "null" : $column["grams"], text($column["quality"])
      }' >>"${CARBON_SLURM_LOG:-/var/log/carbon-jobs.jsonl}"
  rm -f "$folder/$SLURM_JOB_ID"
}

if [ "${1:-}" = --write ]; then
  # In its own session by now.
  echo begun >&3
  exec 3>&-
  write
else
  # Neither Slurm's time-out for epilogs nor its end of the job's processes reaches a session of its own. slurmd ends what is left
  # of this one at once, so that it is waited for until the other has begun; where it cannot, the pipe is closed.
  { setsid "$0" --write 3>&1 </dev/null >/dev/null 2>&1 & } | read -r _
fi
exit 0
