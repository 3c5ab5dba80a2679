#!/bin/sh
# demo.sh BUILDER: builds an image from nothing, builds it again from the cache
# and runs it. Everything it makes is in a temporary directory.
set -eu
builder=$1
cd "$(dirname "$0")"

state=$(mktemp -d)
# A plain user's store has files of the user's subordinate IDs.
clean() { rm -rf "$state" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$state"; }
trap clean EXIT
trap 'exit 130' INT TERM
export BUILDER_ROOT="$state"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
	printf '$ builder %s\n' "$*"
	"$builder" "$@"
}

say "1. A base image out of one static program"
run build -t toolbox:1.0 toolbox

say "2. A multi-stage image on top of it"
run build -t tides multistage

say "3. The same again: every step is cached"
run build --progress=plain -t tides multistage 2>"$state/log" || { cat "$state/log" >&2; exit 1; }
cat "$state/log"
grep -q ' CACHED$' "$state/log"

say "4. The image runs"
run run --rm tides
