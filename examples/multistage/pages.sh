#!/bin/sh
# pages.sh DIRECTORY FILE…: writes an HTML page for each text.
set -eu
out=$1
shift
mkdir -p "$out"
for text in "$@"; do
	page=$out/$(basename "$text" .txt).html
	sed -e 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' \
	    -e '1s|.*|<!DOCTYPE html><title>&</title>\n<h1>&</h1>|' \
	    -e '3s|^|<p>|' -e '$s|$|</p>|' "$text" >"$page"
	echo "$page"
done
