#!/bin/sh
# Called by `meson install`: put the sample configuration in place, but never over one that is there.
set -eu
to=${DESTDIR-}$1
mkdir -p "$to/conf.d"
for file in wspipe.conf conf.d/example.conf; do
	[ -e "$to/$file" ] || install -m 0644 "$(dirname "$0")/$file" "$to/$file"
done
