# shellcheck shell=bash
# Further hosts on this machine: bin/up --hosts N. Sourced by bin/lib.sh.
#
# Each is a network namespace with an address of its own on a bridge of ours, a supervisor of its own
# with a keeper and an agent, a state directory and a store of its own, and a cgroup with limits that
# its capacity in the record agrees with. The control plane, Redis and the edge stay where they are and
# answer at the bridge's address. No further host has a way out of the machine.
#
# What a host is made of stands in $STOA_VAR/hosts/NAME/settings, so that any of it can be entered,
# stopped and cleaned by itself: bin/stoa-env --host NAME …

lab_number() { # DOTTED: the address as one number
  local IFS=. parts
  read -ra parts <<<"$1"
  printf '%d' "$(((parts[0] << 24) + (parts[1] << 16) + (parts[2] << 8) + parts[3]))"
}

lab_dotted() { # NUMBER
  printf '%d.%d.%d.%d' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255))
}

lab_bridge() { printf 'sb-%s' "${STOA_ID:0:8}"; }
lab_link() { printf 'sl-%s-%s' "${STOA_ID:0:8}" "$1"; } # NUMBER: the bridge's end of a host's cable

lab_hosts() { # every further host that this Stoa has or had, one a line
  local file
  for file in "$STOA_VAR"/hosts/*/settings; do
    [[ ! -r $file ]] || basename "$(dirname "$file")"
  done
}

# lab_wanted: the hosts that STOA_HOSTS asks for, one a line: host2, host3, …
lab_wanted() {
  local number
  for ((number = 2; number <= STOA_HOSTS; number++)); do printf 'host%d\n' "$number"; done
}

# use_host NAME: from here on the environment is that host's.
use_host() {
  local file=$STOA_VAR/hosts/$1/settings line
  [[ -r $file ]] || fail "there is no further host '$1' here" "further hosts: $(lab_hosts | xargs)"
  while IFS= read -r line; do
    [[ $line != STOA_*=* ]] || export "${line?}"
  done <"$file"
}

host_setting() { # NAME VARIABLE
  sed -n "s/^$2=//p" "$STOA_VAR/hosts/$1/settings"
}

# --- what all further hosts stand on: before Redis starts, for Redis answers at the bridge --------

lab_network_up() {
  ((STOA_HOSTS > 1)) || return 0
  local bridge name number=2
  bridge=$(lab_bridge)
  if [[ ! -e /sys/class/net/$bridge ]]; then
    ip link add "$bridge" type bridge
    no_ipv6 "$bridge"
    ip address add "$STOA_POOL_ADDRESS/22" dev "$bridge"
    ip link set "$bridge" up
  fi
  for name in $(lab_wanted); do
    install -d -m 0755 "$STOA_VAR/hosts/$name/run"
    install -d -m 0750 "$STOA_VAR/hosts/$name/logs"
    installer host "$name" "$number"
    host_network_up "$name" "$bridge" "$number"
    number=$((number + 1))
  done
}

host_network_up() ( # NAME BRIDGE NUMBER, in a subshell: the host's settings end with it
  use_host "$1"
  local netns=${STOA_HOST_NETNS##*/}
  [[ -e $STOA_HOST_NETNS ]] || ip netns add "$netns"
  if [[ ! -e /sys/class/net/$STOA_HOST_LINK ]]; then
    ip link add "$STOA_HOST_LINK" type veth peer name eth0 netns "$netns"
    no_ipv6 "$STOA_HOST_LINK"
    ip link set "$STOA_HOST_LINK" master "$2" up
    # Never `ip netns exec`: it hides /sys/fs/cgroup.
    nsenter --net="$STOA_HOST_NETNS" sh -ec "
      ! test -e /proc/sys/net/ipv6/conf/all || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
      ip link set lo up
      ip address add $STOA_HOST_GATEWAY/22 dev eth0
      ip link set eth0 up"
  fi
  ip route replace "$STOA_HOST_ADDRESS/32" via "$STOA_HOST_GATEWAY" dev "$2"
)

no_ipv6() { # DEVICE
  local switch=/proc/sys/net/ipv6/conf/$1/disable_ipv6
  [[ ! -e $switch ]] || echo 1 >"$switch"
}

lab_host_down() { # NAME: its network goes, and it is none of the hosts any more; its data stay
  ! [[ -e /run/netns/$STOA_SCOPE-$1 ]] || ip netns delete "$STOA_SCOPE-$1"
  mv "$STOA_VAR/hosts/$1/settings" "$STOA_VAR/hosts/$1/settings.before"
  rm -f "$STOA_VAR/hosts/$1/run/made"
}

lab_network_down() {
  local name link
  for name in $(lab_hosts); do
    ! [[ -e /run/netns/$STOA_SCOPE-$name ]] || ip netns delete "$STOA_SCOPE-$name"
  done
  for link in /sys/class/net/"$(lab_link '')"* /sys/class/net/"$(lab_bridge)"; do
    [[ ! -e $link ]] || ip link delete "${link##*/}" 2>/dev/null || true # a cable's other end took it along
  done
}

# --- one host -------------------------------------------------------------------------------------

host_supervise() { # NAME VERB…
  "${SUPERVISE[@]}" "$STOA_SHORT/hosts/$1/run/supervisor.sock" "${@:2}"
}

host_runs() { supervisor_pid "$STOA_VAR/hosts/$1" >/dev/null; } # NAME

# What a host is given by its owner: processor and memory. The runtime makes the same directories.
host_slice() { # NAME
  local place=${STOA_SCOPE}_$1 root=/sys/fs/cgroup
  if [[ -e $root/cgroup.controllers ]]; then
    echo '+cpu +memory' >"$root/cgroup.subtree_control" 2>/dev/null || true
    mkdir -p "$root/$place"
    give "$root/$place/cpu.max" "$((STOA_LAB_CPU_MILLIS * 100)) 100000"
    give "$root/$place/memory.max" "$STOA_LAB_MEMORY_BYTES"
  else
    mkdir -p "$root/cpu/$place" "$root/memory/$place"
    give "$root/cpu/$place/cpu.cfs_period_us" 100000
    give "$root/cpu/$place/cpu.cfs_quota_us" "$((STOA_LAB_CPU_MILLIS * 100))"
    give "$root/memory/$place/memory.limit_in_bytes" "$STOA_LAB_MEMORY_BYTES"
  fi
}

give() { # FILE VALUE: where this machine lets us; the capacity in the record holds anyway
  if [[ -e $1 ]]; then echo "$2" >"$1" 2>/dev/null || true; fi
}

# Where the host's shops keep their data; calm when it is there.
host_store() { # NAME
  "$REPO/bin/stoa-env" --host "$1" --as plain python -m runtime store --json up "$STOA_LAB_STORE_BYTES" \
    >"$STOA_VAR/hosts/$1/run/store" 2>"$STOA_VAR/hosts/$1/logs/store.log" 9>&- ||
    fail "the store of $1 is not there" "$(tail -n 3 "$STOA_VAR/hosts/$1/logs/store.log")" \
      "a size that fits: STOA_LAB_STORE_BYTES=1G bin/up"
}

host_start() { # NAME: its supervisor starts everything else, as at a boot
  ! host_runs "$1" || return 0
  host_slice "$1"
  host_store "$1"
  installer start "$1" || fail "the supervisor of $1 did not start"
}

# Stops a host with its shops, which stay wanted; nothing of it is deleted.
host_stop() { # NAME
  local pid waited
  pid=$(supervisor_pid "$STOA_VAR/hosts/$1") || return 0
  host_supervise "$1" stop host-agent keeper || true
  host_supervise "$1" shutdown || kill -TERM "$pid" 2>/dev/null || true
  for ((waited = 0; waited < 100; waited++)); do
    [[ -n $(start_time "$pid") ]] || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# The runtime knows its own: containers, mounts, devices, nftables and cgroups; then the store's loop.
host_clean() { # NAME
  [[ -x $REPO/.venv/bin/python && -d $STOA_VAR/hosts/$1/state ]] || return 0
  local log=$STOA_VAR/logs/down.log
  {
    "$REPO/bin/stoa-env" --host "$1" --as plain python -m runtime purge &&
      { [[ ! -e $STOA_VAR/hosts/$1/state/store.img ]] ||
        "$REPO/bin/stoa-env" --host "$1" --as plain python -m runtime store down; }
  } >"$log" 2>&1 9>&- || fail "the runtime could not clean up $1" "$(tail -n 5 "$log")"
}

each_host() { # FUNCTION NAME…: for all of them at once; fails when one fails
  local name pids=() failed=0
  for name in "${@:2}"; do
    "$1" "$name" &
    pids+=($!)
  done
  for name in "${pids[@]}"; do wait "$name" || failed=1; done
  return "$failed"
}
