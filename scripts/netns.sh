#!/usr/bin/env bash
# Runs a command in a private network of two hosts, as a phone and a server see each other in a village:
#
#     this side (the command)            the far side
#     lo, 10.77.0.1/30, fd00:77::1/64  ── veth pair ──  10.77.0.2/30, fd00:77::2/64, lo
#
#     scripts/netns.sh COMMAND [ARGUMENT]...    sets both up, runs COMMAND on this side, ends with its status
#     scripts/netns.sh far COMMAND [ARGUMENT]...    within such a command: runs COMMAND on the far side
#
# With NETNS_LINK=none the two are not joined, and have no addresses: hewei-netsim joins them by a bad line.
#
# Within, $NETNS_NEAR and $NETNS_FAR hold the two addresses, $NETNS_NEAR6 and $NETNS_FAR6 those of IPv6. Both networks are namespaces of their own: the machine's
# interfaces and routes stay as they are, two runs at once do not meet, and nothing is left behind, since the kernel
# takes a namespace away with its last process. Needs root, or a kernel that lets users make namespaces.
set -euo pipefail

export NETNS_NEAR=10.77.0.1
export NETNS_FAR=10.77.0.2
export NETNS_NEAR6=fd00:77::1
export NETNS_FAR6=fd00:77::2

main() {
  case "${1:-}" in
    '') fail 'usage: scripts/netns.sh [far] COMMAND [ARGUMENT]...' ;;
    far)
      shift
      [[ -n "${NETNS_FAR_PID:-}" ]] || fail 'far: only within a command that scripts/netns.sh runs'
      exec nsenter --net="/proc/$NETNS_FAR_PID/ns/net" -- "$@"
      ;;
    within)
      shift
      run_within "$@"
      ;;
    *)
      local user=()
      ((EUID == 0)) || user=(--map-root-user)
      exec unshare "${user[@]}" --net -- "$0" within "$@"
      ;;
  esac
}

run_within() {
  # The far side lives as long as somebody on this side holds the other end of this pipe.
  local hold
  # shellcheck disable=SC2034 # held open, never written to
  exec {hold}> >(exec unshare --net -- cat)
  export NETNS_FAR_PID=$!
  while [[ "$(network_of "$NETNS_FAR_PID")" == "$(network_of self)" ]]; do
    sleep 0.01
  done
  if [[ "${NETNS_LINK:-veth}" == veth ]]; then
    join_by_veth
  fi
  exec "$@"
}

join_by_veth() {
  ip link set lo up
  ip link add near type veth peer name far netns "$NETNS_FAR_PID"
  ip address add "$NETNS_NEAR/30" dev near
  ip address add "$NETNS_NEAR6/64" dev near nodad
  ip link set near up
  "$0" far ip link set lo up
  "$0" far ip address add "$NETNS_FAR/30" dev far
  "$0" far ip address add "$NETNS_FAR6/64" dev far nodad
  "$0" far ip link set far up
}

network_of() {
  readlink "/proc/$1/ns/net"
}

fail() {
  echo "netns: $*" >&2
  exit 1
}

main "$@"
