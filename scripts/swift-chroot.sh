#!/usr/bin/env bash
# Runs a command in a Debian 13 that has Swift, for machines whose own Debian has none; makes it at the first use,
# from the mirror that this machine's apt uses (about 530 MB to fetch, 2.2 GB on disk):
#   scripts/swift-chroot.sh COMMAND [ARGUMENT ...]
# The repository is at /fqgan there, cargo's target folder at /target. FQGAN_CHROOT says where the system lives;
# the default is target/debian13. Nothing stays mounted: the mounts belong to the command alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
system=${FQGAN_CHROOT:-$target/debian13}
mkdir -p "$target"

# Runs a command in the system, with /proc, /dev and the two folders, which vanish with the command.
inside() {
  "${root[@]}" unshare --mount --propagation private sh -ec '
    system=$1 repository=$2 target=$3
    shift 3
    mkdir -p "$system/fqgan" "$system/target"
    mount -t proc proc "$system/proc" 2>/dev/null || mount --rbind /proc "$system/proc"
    mount --rbind /dev "$system/dev"
    mount --bind "$repository" "$system/fqgan"
    mount --bind "$target" "$system/target"
    exec chroot "$system" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' \
    sh "$system" "$PWD" "$target" "$@"
}

make() {
  need debootstrap:debootstrap unshare:util-linux
  # The first http mirror of a Debian suite, in either form of apt's lists, without the security archive.
  local mirror log=$target/debian13.log
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -nE 's/^(deb +(\[[^]]*\] +)?|URIs: *)(https?:\/\/[^ ]+).*/\3/p' | grep -E '/debian/?$' | head -n 1 || true)
  if [ -z "$mirror" ]; then
    echo "swift-chroot.sh: no Debian mirror in the lists of apt, which a Debian 13 could be made from" >&2
    return 1
  fi
  echo "making a Debian 13 with Swift in $system, from $mirror"
  "${root[@]}" rm -rf "$system.part"
  if ! {
    "${root[@]}" debootstrap --variant=minbase trixie "$system.part" "$mirror" &&
      system=$system.part inside sh -ec '
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends swiftlang pkg-config libc6-dev libstdc++-14-dev
        apt-get clean'
  } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    return 1
  fi
  "${root[@]}" touch "$system.part/.swift-is-there"
  "${root[@]}" rm -rf "$system"
  "${root[@]}" mv "$system.part" "$system"
}

[ -e "$system/.swift-is-there" ] || make
inside "$@"
