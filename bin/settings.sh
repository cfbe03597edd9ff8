# shellcheck shell=bash
# What bin/up looks at before it installs or changes anything: whether the settings fit this
# machine, and what they were. Sourced by bin/up; whether they are right by themselves load_settings has seen.

# As the programs themselves read them; where Python and secrets are not there yet, bin/up asks again later.
check_as_programs() {
  local python=$REPO/.venv/bin/python said
  [[ -x $python && -s $STOA_SECRETS_DIR/fernet-key && -s $STOA_SECRETS_DIR/django-secret-key ]] || return 0
  said=$(cd "$REPO" && DATABASE_URL=postgres:///none STOA_BROKER_URL=redis://127.0.0.1/0 STOA_PROGRAM=manage \
    "$python" -m deploy.check_settings 2>&1) || fail "a setting is not as it must be" "$(tail -n 3 <<<"$said")"
}

need_smtp_password() {
  [[ $STOA_SMTP_URL != *@* || -s $STOA_SECRETS_DIR/smtp-password ]] ||
    fail "STOA_SMTP_URL names a user, and $STOA_SECRETS_DIR/smtp-password is not there" \
      "write the password into it: install -m 0600 /dev/stdin $STOA_SECRETS_DIR/smtp-password"
}

# --- networks -------------------------------------------------------------------------------------

network_first() { printf '%d' $(($(lab_number "${1%/*}") & ~((1 << (32 - ${1#*/})) - 1))); }
network_last() { printf '%d' $(($(network_first "$1") + (1 << (32 - ${1#*/})) - 1)); }

overlap() { # CIDR CIDR
  (($(network_first "$1") <= $(network_last "$2") && $(network_first "$2") <= $(network_last "$1")))
}

# The machine's own networks and routes, our own apart: shops' addresses would hide them.
check_machine_networks() {
  command -v ip >/dev/null || return 0 # it is not installed yet, so nothing of this kind was set up by hand
  local cidr device wanted=("STOA_SUBNET $STOA_SUBNET") pair
  ((STOA_HOSTS == 1)) || wanted+=("STOA_LAB_SUBNET $STOA_LAB_SUBNET")
  while read -r cidr device; do
    [[ $device != lo && $device != sb-* && $device != sl-* && ! $device =~ ^(v[0-9a-f]{4}-|stoa) ]] || continue
    for pair in "${wanted[@]}"; do
      if overlap "${pair#* }" "$cidr"; then
        fail "${pair% *} is ${pair#* }, and this machine has the network $cidr at its interface $device" \
          "give another network, for example ${pair% *}=$([[ $pair == STOA_SUBNET* ]] && echo 100.97.0.0/16 || echo 198.18.32.0/19)"
      fi
    done
  done < <(ip -4 route show table main 2>/dev/null | awk '$1 ~ /\/[0-9]+$/ {for (i = 2; i < NF; i++) if ($i == "dev") print $1, $(i + 1)}')
}

# --- disk -----------------------------------------------------------------------------------------

in_mib() { # NUMBER UNIT
  case $2 in
    T) echo $(($1 * 1024 * 1024)) ;;
    G) echo $(($1 * 1024)) ;;
    M) echo "$1" ;;
    K) echo $(($1 / 1024)) ;;
    *) echo $(($1 / 1024 / 1024)) ;;
  esac
}

# What will be written: PostgreSQL, images, logs, Python packages, and stores that are not there yet.
need_disk() {
  local needed=1500 free stores=0 place=$STOA_VAR number
  [[ ! -d $STOA_VAR/postgres/data ]] || needed=200
  while [[ ! -d $place ]]; do place=$(dirname "$place"); done
  if [[ $STOA_STORE_BYTES =~ ^([0-9]+)([KMGT]?)$ && ! -e $STOA_VAR/host/store.img ]]; then
    stores=$(in_mib "$((10#${BASH_REMATCH[1]}))" "${BASH_REMATCH[2]}")
  fi
  for ((number = 2; number <= STOA_HOSTS; number++)); do
    if [[ $STOA_LAB_STORE_BYTES =~ ^([0-9]+)([KMGT]?)$ && ! -e $STOA_VAR/hosts/host$number/state/store.img ]]; then
      stores=$((stores + $(in_mib "$((10#${BASH_REMATCH[1]}))" "${BASH_REMATCH[2]}")))
    fi
  done
  free=$(($(df --output=avail -k "$place" | tail -n 1) / 1024))
  ((free >= needed)) || fail "$STOA_VAR has $free MB free; bin/up needs $needed MB" \
    "free some, or set STOA_VAR to a directory on a larger disk"
  ((free >= needed + stores)) ||
    fail "$STOA_VAR has $free MB free; the stores for shops' data want $stores MB and bin/up $needed MB more" \
      "smaller: STOA_STORE_BYTES=$((free > needed + 600 ? (free - needed) / 2 : 256))M bin/up; none: STOA_STORE_BYTES=0 bin/up" \
      "or set STOA_VAR to a directory on a larger disk"
}

# --- what cannot be taken over --------------------------------------------------------------------

was() { printf '%s' "${STOA_SAVED[$1]-}"; }

is_changed() { [[ -n ${STOA_SAVED[$1]+set} && $(was "$1") != "${!1}" ]]; }

refuse_fixed() {
  local pair name
  for pair in "${FIXED_FOR_LIFE[@]}"; do
    name=${pair%%|*}
    if [[ -e $STOA_VAR/postgres/ready ]] && is_changed "$name"; then
      fail "$name is '${!name}', and this Stoa was made with '$(was "$name")'; it keeps it for life, because ${pair#*|}" \
        "go on with $name=$(was "$name"), or make another Stoa: STOA_VAR=DIR $name=${!name} bin/up"
    fi
  done
  supervisor_pid >/dev/null || return 0
  for pair in "${FIXED_WHILE_RUNNING[@]}"; do
    name=${pair%%|*}
    if is_changed "$name"; then
      fail "$name is '${!name}', and this Stoa runs with '$(was "$name")'; it cannot change while it runs, because ${pair#*|}" \
        "go on with $name=$(was "$name"), or stop it first, with its shops: $name=$(was "$name") bin/down, then $name=${!name} bin/up"
    fi
  done
  for name in STOA_HTTP_PORT STOA_EDGE_PROXY_PORT; do
    if [[ -n ${!name} ]] && is_changed "$name"; then need_port "${!name}" "$name" "$((${!name} + 1))"; fi
  done
}

ask_record() { psql -h "$STOA_PG_SOCKET" -U stoa -d stoa -Atqc "$1" 2>/dev/null || true; }

# What the record knows: shops that are bound to what would change. Needs PostgreSQL.
refuse_by_record() {
  [[ -n $(ask_record "SELECT to_regclass('tenants_placement')") ]] || return 0
  local shops pair name
  shops=$(ask_record "SELECT count(*) FROM tenants_tenant WHERE state <> 'removed'")
  for pair in "${FIXED_WITH_SHOPS[@]}"; do
    name=${pair%%|*}
    if ((shops)) && is_changed "$name"; then
      refuse_record "$name is '${!name}', and was '$(was "$name")'; it cannot change while there are shops ($shops), because ${pair#*|}" \
        "go on with $name=$(was "$name"), or remove the shops first, or make another Stoa: STOA_VAR=DIR $name=${!name} bin/up"
    fi
  done
  refuse_lost_hosts
  refuse_ports
}

refuse_record() {
  # A Stoa that did not run was started only to be asked: it goes back to how it was found.
  if [[ ${asked_only:-no} == yes ]]; then
    mv "$STOA_VAR/settings.before" "$STOA_VAR/settings"
    env -u STOA_SUBNET -u STOA_PORTS -u STOA_DOMAIN -u STOA_HOSTS -u STOA_LAB_SUBNET "$REPO/bin/down" --quiet 9>&- || true
  fi
  fail "$@"
}

refuse_lost_hosts() {
  local host shops
  while IFS='|' read -r host shops; do
    [[ $host =~ ^host([2-9])$ && -r $STOA_VAR/hosts/$host/settings ]] || continue
    if ((BASH_REMATCH[1] > STOA_HOSTS)); then
      refuse_record "STOA_HOSTS is $STOA_HOSTS, and was '$(was STOA_HOSTS)'; the host $host would end, and it holds $shops shops" \
        "empty it first, with the Stoa as it is: bin/stoa host drain $host, then bin/up --hosts $STOA_HOSTS"
    elif is_changed STOA_LAB_SUBNET; then
      refuse_record "STOA_LAB_SUBNET is '$STOA_LAB_SUBNET', and was '$(was STOA_LAB_SUBNET)'; the host $host holds $shops shops at addresses there" \
        "go on with STOA_LAB_SUBNET=$(was STOA_LAB_SUBNET), or empty it first: bin/stoa host drain $host"
    fi
  done < <(ask_record "SELECT h.name, count(*) FROM tenants_placement p JOIN tenants_host h ON h.id = p.host_id
    WHERE p.until IS NULL GROUP BY h.name ORDER BY h.name")
}

# A container's address counts from the first port of its host: shops keep theirs only where that stays.
refuse_ports() {
  is_changed STOA_PORTS || return 0
  local first=${STOA_PORTS%-*} last=${STOA_PORTS#*-} host shops used_first used_last from
  while IFS='|' read -r host shops used_first used_last from; do
    if ((from == first && used_last <= last)); then continue; fi
    # A host of another machine has a range of its own, and edges must reach all of it.
    if [[ $host != "$STOA_HOST_NAME" && ! -r $STOA_VAR/hosts/$host/settings ]] && ((used_first >= first && used_last <= last)); then continue; fi
    refuse_record "STOA_PORTS is '$STOA_PORTS', and was '$(was STOA_PORTS)'; the host $host holds $shops shops at ports $used_first to $used_last, and their addresses count from $from" \
      "keep the first port and those that are taken: STOA_PORTS=$from-$((last > used_last ? last : used_last)); or empty the host first: bin/stoa host drain $host"
  done < <(ask_record "SELECT h.name, count(*), min(p.port), max(p.port), h.first_port FROM tenants_placement p
    JOIN tenants_host h ON h.id = p.host_id WHERE p.until IS NULL GROUP BY h.name, h.first_port ORDER BY h.name")
}
