#!/bin/sh
# tides: says who runs it, which pages there are and which words are frequent.
set -eu
echo "$(whoami) in $(pwd), edition $TIDES_EDITION"
grep -h '<h1>' pages/*.html | sed 's|<[^>]*>||g; s/^/- /'
echo "most frequent words:"
head -n "${1:-3}" words.tsv
