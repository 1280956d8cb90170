# Compares what the C library exports with what apus.h declares. Sourced by abi and wheel.

# check_exports LIBRARY: prints how many functions there are; fails with the differences.
# Lower-case kinds of symbols are local.
check_exports() {
  local declared exported
  declared=$(grep -oE '\bapus_[a-z_0-9]+\(' Sources/CApus/include/apus.h | tr -d '(' | sort -u)
  exported=$(nm -D --defined-only "$1" | awk '$2 ~ /^[A-Z]$/ { print $3 }' | sort -u)
  if [ "$declared" != "$exported" ]; then
    echo 'the library must export what apus.h declares; found differences:' >&2
    diff <(echo "$declared") <(echo "$exported") >&2 || true
    return 1
  fi
  wc -l <<<"$exported"
}
