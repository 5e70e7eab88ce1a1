#!/usr/bin/env bash
# Runs a command that starts processes on machines of their own (tests/ranks/apart.rs, benches/cables.sh): three network
# namespaces with names and addresses of their own, joined by a bridge, between which only TCP goes. Wants Linux, and root.
#   scripts/ranks-apart.sh COMMAND ...      in an environment whose FQGAN_MPIRUN starts there
#   FQGAN_CABLE=100mbit scripts/ranks-apart.sh ...      no machine sends or gets more than that a second
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

need ip:iproute2 unshare:util-linux mpirun:openmpi-bin
machines=3
# Two runs at once are in each other's way neither by names nor by addresses.
tag=fq$(($$ % 10000))
net=10.$((64 + $$ / 256 % 64)).$(($$ % 256))
folder=$(mktemp -d)
# shellcheck disable=SC2329 # by the trap
finish() {
  for ((i = 1; i <= machines; i++)); do ip netns del "$tag-$i" 2>/dev/null || true; done
  ip link del "$tag" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

if ! said=$(ip netns add "$tag-1" 2>&1 && ip link add "$tag" type bridge 2>&1); then
  echo "ranks-apart.sh: NO network namespaces here (${said:-no reason given}): several machines are NOT tested" >&2
  # In CI that is no excuse.
  [ "${FQGAN_TOOLS:-}" != required ]
  exit
fi
ip addr add "$net.254/24" dev "$tag"
ip link set "$tag" up
for ((i = 1; i <= machines; i++)); do
  [ "$i" -eq 1 ] || ip netns add "$tag-$i"
  ip link add "$tag-$i" type veth peer name eth0 netns "$tag-$i"
  ip link set "$tag-$i" master "$tag" up
  ip -n "$tag-$i" addr add "$net.$i/24" dev eth0
  ip -n "$tag-$i" link set eth0 up
  ip -n "$tag-$i" link set lo up
  if [ -n "${FQGAN_CABLE:-}" ]; then
    # Both ways; what a burst may be is a few milliseconds' worth of any such cable.
    ip netns exec "$tag-$i" tc qdisc add dev eth0 root tbf rate "$FQGAN_CABLE" burst 256k latency 50ms
    tc qdisc add dev "$tag-$i" root tbf rate "$FQGAN_CABLE" burst 256k latency 50ms
  fi
done

# What stands for ssh: an address, then words for a shell there.
cat >"$folder/agent" <<END
#!/bin/sh
number=\${1##*.}
shift
exec ip netns exec "$tag-\$number" unshare --uts sh -c 'hostname "machine-\$0"; exec sh -c "\$1"' "\$number" "\$*"
END
chmod +x "$folder/agent"
hosts=$(for ((i = 1; i <= machines; i++)); do printf '%s:1,' "$net.$i"; done)
export FQGAN_MPIRUN="--mca plm rsh --mca plm_rsh_agent $folder/agent --host ${hosts%,} --map-by node \
  --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include $net.0/24 --mca oob_tcp_if_include $net.0/24"
# For the test that pulls a cable: the name of a machine's namespace ends with its number.
export FQGAN_MACHINES=$tag-
"$@"
