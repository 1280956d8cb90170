# Compares what two versions of this tree make of the shipped kernels. Sourced by ptx-diff and
# sass-diff, which set `diff_name` and define `write_kernels APUS FOLDER`.

# Builds `apus` of a revision in a copy of its files below $1 and prints its path. Fails with a reason
# when the revision has no such command. The repository itself stays untouched.
build_revision() {
  local work=$1 revision=$2
  mkdir -p "$work/tree"
  git archive "$revision" | tar -x -C "$work/tree"
  if ! [ -d "$work/tree/Sources/ApusCLI/Kernels" ]; then
    echo "$diff_name: the revision must have \`apus kernels\`; found none in $revision." >&2
    return 1
  fi
  (cd "$work/tree" && swift build -c release --product apus --scratch-path "$work/build" >&2)
  echo "$(cd "$work/tree" && swift build -c release --scratch-path "$work/build" --show-bin-path)/apus"
}

# diff_kernels REVISION APUS OLD_APUS CONTEXT: writes both sides and prints what differs.
diff_kernels() {
  local revision=$1 apus=$2 old=$3 context=$4 work status=0 file name same=0 changed=0 new=0 gone=0
  work=$(mktemp -d)
  # Expanded now: the variable is gone when the script ends.
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  if [ -z "$old" ]; then old=$(build_revision "$work" "$revision"); fi
  if [ -z "$apus" ]; then
    swift build -c release --product apus >&2
    apus=$(swift build -c release --show-bin-path)/apus
  fi
  mkdir -p "$work/old" "$work/new"
  write_kernels "$old" "$work/old"
  write_kernels "$apus" "$work/new"
  for file in "$work"/new/*; do
    [ -f "$file" ] || continue
    name=$(basename "$file")
    if ! [ -f "$work/old/$name" ]; then
      new=$((new + 1))
      echo "new: $name"
    elif cmp -s "$work/old/$name" "$file"; then
      same=$((same + 1))
    else
      changed=$((changed + 1))
      status=1
      diff -U "$context" --label "$revision/$name" --label "tree/$name" "$work/old/$name" "$file" || true
    fi
  done
  for file in "$work"/old/*; do
    [ -f "$file" ] || continue
    name=$(basename "$file")
    if ! [ -f "$work/new/$name" ]; then
      gone=$((gone + 1))
      status=1
      echo "gone: $name"
    fi
  done
  echo "$diff_name: $same equal, $changed changed, $new new, $gone gone"
  return $status
}

# Reads the options that both scripts have.
parse_diff_options() {
  revision=
  apus=
  old=
  context=3
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage; exit 0 ;;
      --apus | --old | --context)
        [ $# -ge 2 ] || { echo "$diff_name: $1 must be followed by a value; found nothing." >&2; exit 2; }
        case $1 in --apus) apus=$2 ;; --old) old=$2 ;; --context) context=$2 ;; esac
        shift
        ;;
      -*) echo "$diff_name: options are --apus, --old, --context and --help; found $1." >&2; exit 2 ;;
      *)
        if [ -n "$revision" ]; then echo "$diff_name: one revision must be given; found $revision and $1." >&2; exit 2; fi
        revision=$1
        ;;
    esac
    shift
  done
  if [ -z "$revision" ] && [ -z "$old" ]; then
    echo "$diff_name: a revision must be given; found none." >&2
    exit 2
  fi
  revision=${revision:-old}
  if [ -z "$old" ] && ! git rev-parse --verify --quiet "$revision^{commit}" >/dev/null; then
    echo "$diff_name: the revision must be a commit; found $revision." >&2
    exit 2
  fi
}
