# shellcheck shell=bash
# What bin/up looks at before it installs or changes anything: whether the settings fit each other, this
# machine, and what they were. Sourced by bin/up; whether each is well formed looks check_settings (lib.sh).

# Settings that a Stoa keeps while it runs, with what is bound to them. bin/down first, and it has another.
FIXED_WHILE_RUNNING=(
  'STOA_SCOPE|its containers, cgroups and firewall table are called by it'
  'STOA_PORT_BASE|its programs talk to each other at these ports'
  'STOA_PROBE_PORT|edges know its hosts by this port'
)
# Settings that a Stoa keeps for life.
FIXED_FOR_LIFE=(
  'STOA_HOST_NAME|the record, its secrets and its data on disk go by it'
  'STOA_EDGE_NAME|the record and its secrets go by it'
)
# Settings that a Stoa keeps as long as it has shops.
FIXED_WITH_SHOPS=(
  'STOA_SUBNET|its shops have their addresses there'
  'STOA_DOMAIN|its shops are known by names below it'
)

check_fit() { # needs no Python: on a bare machine there is none yet
  check_ports
  check_networks
  check_store
  check_alarms
}

# Each port has one use. Those above STOA_PORT_BASE are on loopback and may lie inside STOA_PORTS: shops are
# published at the host's own address among its containers.
check_ports() {
  local ports_first=${STOA_PORTS%-*} ports_last=${STOA_PORTS#*-} offset name port another
  local -A used=()
  ((ports_first >= 1024 && ports_first <= ports_last && ports_last <= 65535)) ||
    fail "STOA_PORTS is '$STOA_PORTS'; it must be two ports from 1024 to 65535, the smaller first, such as 10000-32767"
  # The keeper answers probes at the address that shops are published at; the other ports are elsewhere.
  ((STOA_PROBE_PORT < ports_first || STOA_PROBE_PORT > ports_last)) ||
    fail "STOA_PROBE_PORT is $STOA_PROBE_PORT, which lies inside STOA_PORTS ($STOA_PORTS), where shops are published" \
      "choose a port outside: STOA_PROBE_PORT=$((ports_first > 9797 ? 9797 : ports_first - 1))"
  for offset in 1 2 3 4 5 6; do
    used[$((10#$STOA_PORT_BASE + offset))]="one of the six ports above STOA_PORT_BASE ($STOA_PORT_BASE)"
  done
  for name in STOA_HTTP_PORT STOA_EDGE_PROXY_PORT STOA_PROBE_PORT; do
    [[ -n ${!name} ]] || continue
    port=$((10#${!name}))
    if [[ -n ${used[$port]-} ]]; then
      another=$port
      while [[ -n ${used[$another]-} ]] || { [[ $name == STOA_PROBE_PORT ]] && ((another >= ports_first && another <= ports_last)); }; do
        another=$((another < 65535 ? another + 1 : 1024))
      done
      fail "$name is ${!name}, ${used[$port]}" "choose another: $name=$another"
    fi
    used[$port]="which is the port of $name too"
  done
}

# As the programs themselves read them; where Python and secrets are not there yet, bin/up asks again later.
check_as_programs() {
  local python=$REPO/.venv/bin/python said
  [[ -x $python && -s $STOA_SECRETS_DIR/fernet-key && -s $STOA_SECRETS_DIR/django-secret-key ]] || return 0
  said=$(cd "$REPO" && DATABASE_URL=postgres:///none STOA_BROKER_URL=redis://127.0.0.1/0 STOA_PROGRAM=manage \
    "$python" -m deploy.check_settings 2>&1) || fail "a setting is not as it must be" "$(tail -n 3 <<<"$said")"
}

check_alarms() {
  local name mail='[^@[:space:],]+@[^@[:space:],]+'
  [[ $STOA_ALARM_MAIL =~ ^($mail(,$mail)*)?$ ]] ||
    fail "STOA_ALARM_MAIL is '$STOA_ALARM_MAIL'; it must be mail addresses with commas between, or nothing"
  [[ $STOA_ALARM_MAIL_FROM =~ ^($mail)?$ ]] ||
    fail "STOA_ALARM_MAIL_FROM is '$STOA_ALARM_MAIL_FROM'; it must be one mail address, or nothing"
  [[ $STOA_SMTP_URL =~ ^((smtp|smtps|smtp[+]tls)://([^@:/[:space:]]+@)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?$ ]] ||
    fail "STOA_SMTP_URL is not smtp://, smtp+tls:// or smtps:// with [user@]host[:port]" \
      "the password belongs into $STOA_SECRETS_DIR/smtp-password"
  [[ $STOA_ALARM_WEBHOOK =~ ^(https?://[^@[:space:]/]+(/[^[:space:]]*)?)?$ ]] ||
    fail "STOA_ALARM_WEBHOOK is not https://host[:port]/path (or http://), without user and password" \
      "what is sent there is signed with $STOA_SECRETS_DIR/alarm-webhook-key"
  [[ $STOA_SMTP_URL != *@* || -s $STOA_SECRETS_DIR/smtp-password ]] ||
    fail "STOA_SMTP_URL names a user, and $STOA_SECRETS_DIR/smtp-password is not there" \
      "write the password into it: install -m 0600 /dev/stdin $STOA_SECRETS_DIR/smtp-password"
}

# --- networks -------------------------------------------------------------------------------------

check_networks() {
  local size=${STOA_SUBNET#*/} most first=${STOA_PORTS%-*} last=${STOA_PORTS#*-}
  is_network "$STOA_SUBNET" ||
    fail "STOA_SUBNET is '$STOA_SUBNET'; it must be an IPv4 network that begins at its first address, such as 100.96.0.0/16"
  most=$(((1 << (32 - size)) - 256 - 1))
  ((most >= last - first + 1)) ||
    fail "STOA_SUBNET is '$STOA_SUBNET' and STOA_PORTS '$STOA_PORTS': $((last - first + 1)) ports need as many addresses and 256 more" \
      "give a network of size /16, or fewer ports: STOA_PORTS=$first-$((most > 0 ? first + most - 1 : first))"
  local name bits
  for name in STOA_EDGE_SOURCES STOA_EDGE_NETWORKS; do
    local one ones
    IFS=, read -ra ones <<<"${!name}"
    for one in "${ones[@]}"; do
      bits=${one#*/}
      [[ $one == */* ]] || bits=32
      is_network "${one%/*}/$bits" ||
        fail "$name holds '$one', which is no IPv4 network that begins at its first address" "give for example ${STOA_SUBNET}"
    done
  done
  if ((STOA_HOSTS > 1)) && overlap "$STOA_SUBNET" "$STOA_LAB_SUBNET"; then
    fail "STOA_SUBNET ($STOA_SUBNET) and STOA_LAB_SUBNET ($STOA_LAB_SUBNET) have addresses in common" \
      "give the further hosts another network, for example STOA_LAB_SUBNET=198.18.0.0/19"
  fi
  if [[ -n $STOA_POOL_ADDRESS ]] && overlap "$STOA_SUBNET" "$STOA_POOL_ADDRESS/32"; then
    fail "STOA_POOL_ADDRESS ($STOA_POOL_ADDRESS) lies inside STOA_SUBNET ($STOA_SUBNET), where containers are"
  fi
}

is_network() { # CIDR
  [[ $1 =~ ^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})/([0-9]{1,2})$ ]] || return 1
  local part
  for part in "${BASH_REMATCH[@]:1:4}"; do ((10#$part <= 255)) || return 1; done
  ((10#${BASH_REMATCH[5]} <= 32)) || return 1
  (($(network_first "$1") == $(lab_number "${1%/*}")))
}

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
    is_network "$cidr" || continue
    for pair in "${wanted[@]}"; do
      if overlap "${pair#* }" "$cidr"; then
        fail "${pair% *} is ${pair#* }, and this machine has the network $cidr at its interface $device" \
          "give another network, for example ${pair% *}=$([[ $pair == STOA_SUBNET* ]] && echo 100.97.0.0/16 || echo 198.18.32.0/19)"
      fi
    done
  done < <(ip -4 route show table main 2>/dev/null | awk '$1 ~ /\/[0-9]+$/ {for (i = 2; i < NF; i++) if ($i == "dev") print $1, $(i + 1)}')
}

# --- disk -----------------------------------------------------------------------------------------

check_store() {
  local name digits unit
  for name in STOA_STORE_BYTES STOA_LAB_STORE_BYTES; do
    [[ ${!name} =~ ^([0-9]+)([KMGT]?)$ ]] || {
      [[ -z ${!name} ]] && continue
      fail "$name is '${!name}'; it must be a size such as 20G or 512M, or 0 for no store"
    }
    digits=$((10#${BASH_REMATCH[1]})) unit=${BASH_REMATCH[2]}
    ((digits == 0)) || (($(in_mib "$digits" "$unit") >= 256)) ||
      fail "$name is '${!name}'; a store has 256M at least, and 0 means none"
  done
}

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
