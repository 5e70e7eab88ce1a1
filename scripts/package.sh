#!/usr/bin/env bash
# Makes a tarball of the installed library that works from any folder it is unpacked in:
#   scripts/package.sh [DIR]     (default: target/package) writes DIR/libfqgan-VERSION-MACHINE.tar.gz and its SHA-256
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need_cargo
mkdir -p "${1:-target/package}"
to=$(cd "${1:-target/package}" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=libfqgan-$version-$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/install.sh --prefix "$work/$name" >/dev/null
mkdir -p "$work/$name/share/doc/fqgan"
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/embedding.md docs/formats.md "$work/$name/share/doc/fqgan/"
# The same bytes from the same commit: fixed order, owners and times.
time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$work" -cf - "$name" | gzip -9n >"$to/$name.tar.gz"
(cd "$to" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$to/$name.tar.gz"
