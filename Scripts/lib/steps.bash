# Named steps with times, for the scripts that run many commands. Sourced, not run.
#
# `begin NAME` empties the list of steps. `step NAME COMMAND…` runs a command with its output in a
# log and shows the log's end when it fails; `stream NAME COMMAND…` shows the output as it comes.
# `finish` prints one summary line. A failed step ends the script.

steps_log_folder=${APUS_LOG_FOLDER:-.build/logs}
steps_name=
steps_count=0
steps_skipped=0
steps_start=$SECONDS

begin() {
  steps_name=$1
  steps_start=$SECONDS
  mkdir -p "$steps_log_folder"
}

# The log of a step: its name in lower case with dashes.
step_log() {
  local slug
  slug=$(printf '%s' "$steps_name $1" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' '-')
  printf '%s/%s.log' "$steps_log_folder" "${slug%-}"
}

step() {
  local name=$1 start=$SECONDS log status=0
  shift
  log=$(step_log "$name")
  printf '%s: %s …\n' "$steps_name" "$name"
  # Without stdin no command can wait for an answer.
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    # Failures of tests stand far above the end of a long log.
    grep -E '(✘|error:|ERROR: |FAILED)' "$log" | head -n 60 >&2 || true
    printf -- '--- end of %s\n' "$log" >&2
    tail -n 60 "$log" >&2
    printf '%s: FAILED at "%s" (status %s, %s s); log %s\n' \
      "$steps_name" "$name" "$status" $((SECONDS - start)) "$log" >&2
    exit 1
  fi
  steps_count=$((steps_count + 1))
  printf '%s: %s ok, %s s\n' "$steps_name" "$name" $((SECONDS - start))
}

stream() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '%s: %s …\n' "$steps_name" "$name"
  "$@" </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    printf '%s: FAILED at "%s" (status %s, %s s)\n' \
      "$steps_name" "$name" "$status" $((SECONDS - start)) >&2
    exit 1
  fi
  steps_count=$((steps_count + 1))
  printf '%s: %s ok, %s s\n' "$steps_name" "$name" $((SECONDS - start))
}

# A step that cannot run here, with the reason; it is never counted as passed.
skip() {
  steps_skipped=$((steps_skipped + 1))
  printf '%s: SKIP %s: %s\n' "$steps_name" "$1" "$2"
}

finish() {
  printf '%s: %s steps passed, %s skipped, 0 failed, %s s\n' \
    "$steps_name" "$steps_count" "$steps_skipped" $((SECONDS - steps_start))
}
