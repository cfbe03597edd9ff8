# shellcheck shell=bash
# What bin/up, bin/down, bin/test and bin/stoa-env share: the settings of one Stoa, and how to speak.
# Sourced, never run. Every setting is a STOA_* variable; what bin/up was given is kept in
# $STOA_VAR/settings, so that later commands need not be told again.

set -Eeuo pipefail
trap 'printf "%s: line %s failed: %s\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR # never end silently
export LC_ALL=C.UTF-8

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export REPO

# The settings people may give, with what they are otherwise.
SETTINGS=(
  STOA_SCOPE=stoa
  STOA_HTTP_PORT=8080
  STOA_PORT_BASE=18800
  STOA_DOMAIN=localhost
  STOA_CONSOLE_HOST=localhost
  STOA_PUBLIC_SCHEME=http
  STOA_PUBLIC_PORT=
  STOA_SUBNET=100.96.0.0/16
  STOA_PORTS=10000-32767
  STOA_PROBE_PORT=9797
  STOA_HOST_NAME=local
  STOA_EDGE_NAME=local
  STOA_STORE_BYTES=
  STOA_DISK_LOW_PERCENT=85
  STOA_DISK_FULL_PERCENT=95
  STOA_EDGE_ADDRESSES=
  STOA_EDGE_SOURCES=
  STOA_EDGE_NETWORKS=
  STOA_RESOLVER=
  STOA_POOL_ADDRESS=
  STOA_POOL_NAMES=
  STOA_REGISTRY_AUTH_FILE=
  STOA_REGISTRY_CA_DIR=
  STOA_SNAPSHOTS=
  STOA_S3_ENDPOINT=
  STOA_S3_REGION=us-east-1
  STOA_SNAPSHOTS_AT_ONCE=4
  STOA_SNAPSHOTS_PER_HOST=2
  STOA_LOGINS_PER_QUARTER=10
  STOA_SIGNUPS_PER_HOUR=40
  STOA_SIGNUPS_IN_ALL_PER_HOUR=1000
  STOA_SHOPS_PER_LOGIN=5
  STOA_MOVES_AT_ONCE=8
  STOA_MOVES_PER_HOST=4
  STOA_EDGE_HELD_PER_TENANT=200
  STOA_EDGE_MAXCONN=
  STOA_EDGE_SOURCE_CONNECTIONS=
  STOA_EDGE_SOURCE_REQUESTS=5000
  STOA_EDGE_PROXIES=
  STOA_EDGE_PROXY_PORT=
  STOA_EDGE_PAGE_SECONDS=60
  STOA_EDGE_SILENT_SECONDS=3600
  STOA_LOG_LEVEL=INFO
  STOA_ALARM_MAIL=
  STOA_ALARM_MAIL_FROM=
  STOA_SMTP_URL=
  STOA_ALARM_WEBHOOK=
  STOA_HOSTS=1
  STOA_LAB_SUBNET=198.18.0.0/19
  STOA_LAB_CPU_MILLIS=
  STOA_LAB_MEMORY_BYTES=4294967296
  STOA_LAB_STORE_BYTES=2G
)

# Settings that are kept where they are given; where they are not, each program has its own default.
OPTIONAL_SETTINGS=(
  STOA_EDGE_TENANT_CONNECTIONS
  STOA_LEASE_SECONDS
  STOA_OPERATION_DEADLINE_SECONDS
)

# Programs under the supervisor, in the order they are started.
# shellcheck disable=SC2034 # for those who source this
PROGRAMS=(postgres redis keeper host-agent edge-agent haproxy web depot events control sweep beat)

say() { printf '%s\n' "$*"; }
step() { printf '[%4.1f s] %s\n' "$(seconds)" "$*"; }
fail() {
  printf '\n%s: %s\n' "${0##*/}" "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 1
}

STARTED_AT=$EPOCHREALTIME
seconds() {
  local now=$EPOCHREALTIME
  printf '%d.%d' $(((${now/./} - ${STARTED_AT/./}) / 1000000)) \
    $((((${now/./} - ${STARTED_AT/./}) / 100000) % 10))
}

# shellcheck source=bin/lab.sh
source "$REPO/bin/lab.sh"

# load_settings: the environment first, then what the last bin/up was given, then the defaults.
load_settings() {
  export STOA_VAR=${STOA_VAR:-$REPO/var}
  [[ $STOA_VAR == /* ]] || STOA_VAR=$PWD/$STOA_VAR
  STOA_VAR=$(realpath -m -- "$STOA_VAR")
  # supervisord splits commands at spaces and reads %; refuse early what would break there.
  [[ $REPO$STOA_VAR =~ ^[A-Za-z0-9_/.,+@=-]+$ ]] ||
    fail "the path '$STOA_VAR' or '$REPO' holds characters other than letters, digits and _/.,+@=-" \
      "move the checkout, or set STOA_VAR to a directory with a plain name"
  local pair name line
  # STOA_SAVED: what the last bin/up was given; STOA_GIVEN: what this one was, without what follows from it.
  declare -gA STOA_SAVED=() STOA_GIVEN=()
  if [[ -r $STOA_VAR/settings ]]; then
    while IFS= read -r line; do
      [[ $line == STOA_*=* ]] && STOA_SAVED[${line%%=*}]=${line#*=}
    done <"$STOA_VAR/settings"
  fi
  for pair in "${SETTINGS[@]}"; do
    name=${pair%%=*}
    export "$name=${!name:-${STOA_SAVED[$name]:-${pair#*=}}}"
    STOA_GIVEN[$name]=${!name}
  done
  for name in "${OPTIONAL_SETTINGS[@]}"; do
    line=${!name:-${STOA_SAVED[$name]:-}}
    unset "$name"
    [[ -z $line ]] || export "$name=$line"
  done
  export STOA_PUBLIC_PORT=${STOA_PUBLIC_PORT:-$STOA_HTTP_PORT}
  export STOA_CACHE=${STOA_CACHE:-$REPO/var/cache}
  export STOA_LAB_CPU_MILLIS=${STOA_LAB_CPU_MILLIS:-$(($(nproc) * 1000))}
  export STOA_RUN_AS=${STOA_SAVED[STOA_RUN_AS]:-root}
  check_settings
  derive_settings
}

check_settings() {
  whole_number STOA_HTTP_PORT 1 65535
  whole_number STOA_PUBLIC_PORT 1 65535
  whole_number STOA_PORT_BASE 1024 65500
  whole_number STOA_PROBE_PORT 1024 65535
  whole_number STOA_DISK_LOW_PERCENT 1 100
  whole_number STOA_DISK_FULL_PERCENT "$STOA_DISK_LOW_PERCENT" 100
  [[ $STOA_SCOPE =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
    fail "STOA_SCOPE is '$STOA_SCOPE'; it must be 1 to 32 of a-z, 0-9 and -, starting with a letter"
  [[ $STOA_PUBLIC_SCHEME == http || $STOA_PUBLIC_SCHEME == https ]] ||
    fail "STOA_PUBLIC_SCHEME is '$STOA_PUBLIC_SCHEME'; it must be http or https"
  [[ $STOA_SUBNET =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$ ]] ||
    fail "STOA_SUBNET is '$STOA_SUBNET'; it must be an IPv4 network such as 100.96.0.0/16"
  [[ -z $STOA_STORE_BYTES || $STOA_STORE_BYTES =~ ^[0-9]+[KMGT]?$ ]] ||
    fail "STOA_STORE_BYTES is '$STOA_STORE_BYTES'; it must be a size such as 20G or 512M, or 0 for no store"
  [[ $STOA_PORTS =~ ^[0-9]+-[0-9]+$ ]] ||
    fail "STOA_PORTS is '$STOA_PORTS'; it must be two ports such as 10000-32767"
  whole_number STOA_SNAPSHOTS_AT_ONCE 1 64
  whole_number STOA_SNAPSHOTS_PER_HOST 1 16
  whole_number STOA_LOGINS_PER_QUARTER 0 100000
  whole_number STOA_SIGNUPS_PER_HOUR 0 1000000
  whole_number STOA_SIGNUPS_IN_ALL_PER_HOUR 0 1000000
  whole_number STOA_SHOPS_PER_LOGIN 0 100000
  whole_number STOA_MOVES_AT_ONCE 1 64
  whole_number STOA_MOVES_PER_HOST 1 64
  whole_number STOA_EDGE_HELD_PER_TENANT 1 9999
  whole_number STOA_EDGE_SOURCE_REQUESTS 1 65535
  whole_number STOA_EDGE_PAGE_SECONDS 1 3600
  whole_number STOA_EDGE_SILENT_SECONDS 60 65535
  [[ -z $STOA_EDGE_MAXCONN ]] || whole_number STOA_EDGE_MAXCONN 100 65535
  [[ -z $STOA_EDGE_SOURCE_CONNECTIONS ]] || whole_number STOA_EDGE_SOURCE_CONNECTIONS 1 65535
  [[ -z $STOA_EDGE_PROXY_PORT ]] || whole_number STOA_EDGE_PROXY_PORT 1 65535
  [[ -z $STOA_EDGE_PROXY_PORT || -n $STOA_EDGE_PROXIES ]] ||
    fail "STOA_EDGE_PROXY_PORT is '$STOA_EDGE_PROXY_PORT', but STOA_EDGE_PROXIES names nobody who may speak there"
  [[ $STOA_EDGE_PROXIES =~ ^([0-9a-fA-F:.]+(/[0-9]{1,3})?(,[0-9a-fA-F:.]+(/[0-9]{1,3})?)*)?$ ]] ||
    fail "STOA_EDGE_PROXIES is '$STOA_EDGE_PROXIES'; it must be IPv4 or IPv6 networks with commas between, or nothing"
  [[ $STOA_SNAPSHOTS =~ ^(|/[^[:space:]]+|s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?)$ ]] ||
    fail "STOA_SNAPSHOTS is '$STOA_SNAPSHOTS'; it must be an absolute path or s3://<bucket>[/<prefix>]"
  [[ $STOA_S3_ENDPOINT =~ ^(|https?://[A-Za-z0-9.-]+(:[0-9]+)?)$ ]] ||
    fail "STOA_S3_ENDPOINT is '$STOA_S3_ENDPOINT'; it must be https://<host>[:<port>]"
  whole_number STOA_HOSTS 1 "$LAB_MOST_HOSTS"
  [[ $STOA_LAB_SUBNET =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}/19$ && $(lab_start) == "${STOA_LAB_SUBNET%/*}" ]] ||
    fail "STOA_LAB_SUBNET is '$STOA_LAB_SUBNET'; it must be an IPv4 network of size /19 such as 198.18.32.0/19"
  [[ $STOA_LAB_CPU_MILLIS$STOA_LAB_MEMORY_BYTES =~ ^[0-9]{6,18}$ ]] ||
    fail "STOA_LAB_CPU_MILLIS or STOA_LAB_MEMORY_BYTES is not a whole number: '$STOA_LAB_CPU_MILLIS', '$STOA_LAB_MEMORY_BYTES'"
  [[ $STOA_POOL_ADDRESS =~ ^([0-9]{1,3}(\.[0-9]{1,3}){3})?$ && $STOA_POOL_ADDRESS != 0.* && $STOA_POOL_ADDRESS != 127.* ]] ||
    fail "STOA_POOL_ADDRESS is '$STOA_POOL_ADDRESS'; it must be one IPv4 address of this machine that other hosts reach, or nothing"
  [[ $STOA_POOL_NAMES =~ ^([A-Za-z0-9.-]+(,[A-Za-z0-9.-]+)*)?$ ]] ||
    fail "STOA_POOL_NAMES is '$STOA_POOL_NAMES'; it must be addresses or host names with commas between, or nothing"
  local name address='[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?'
  for name in STOA_EDGE_ADDRESSES STOA_EDGE_SOURCES STOA_EDGE_NETWORKS STOA_RESOLVER; do
    [[ ${!name} =~ ^($address(,$address)*)?$ ]] ||
      fail "$name is '${!name}'; it must be IPv4 addresses with commas between, or nothing"
  done
}

whole_number() { # NAME LOW HIGH
  local value=${!1}
  if [[ ! $value =~ ^[0-9]{1,5}$ ]] || ((10#$value < $2 || 10#$value > $3)); then
    fail "$1 is '$value'; it must be a whole number from $2 to $3"
  fi
}

derive_settings() {
  export STOA_SECRETS_DIR=$STOA_VAR/secrets
  export STOA_STATIC_ROOT=$STOA_VAR/static
  export STOA_IMAGES=${STOA_IMAGES:-$STOA_VAR/images}
  # A unix socket's path may have 107 characters: a long STOA_VAR is reached by a short link.
  STOA_ID=$(printf %s "$STOA_VAR" | sha256sum | cut -c1-10)
  if ((${#STOA_VAR} <= 60)); then STOA_SHORT=$STOA_VAR; else STOA_SHORT=/run/stoa-$STOA_ID; fi
  export STOA_ID STOA_SHORT
  export STOA_HOST_STATE=${STOA_HOST_STATE:-$STOA_SHORT/host}
  export STOA_EDGE_USER=${STOA_EDGE_USER-haproxy} # Debian's package makes it
  export STOA_EDGE_STATE=${STOA_EDGE_STATE:-$STOA_SHORT/edge}
  export STOA_REDIS_PORT=$((STOA_PORT_BASE + 1))
  export STOA_WEB_PORT=$((STOA_PORT_BASE + 2))
  export STOA_EVENTS_PORT=$((STOA_PORT_BASE + 3))
  export STOA_HOLD_PORT=$((STOA_PORT_BASE + 4))
  export STOA_STATS_PORT=$((STOA_PORT_BASE + 5))
  # Where further hosts reach Redis and the control plane: the bridge's address, or one that was given.
  local bridge
  bridge=$(lab_address 1)
  if ((STOA_HOSTS > 1)); then
    export STOA_POOL_ADDRESS=$bridge
    export STOA_EDGE_NETWORKS=${STOA_EDGE_NETWORKS:-$STOA_SUBNET,$STOA_LAB_SUBNET}
  elif [[ $STOA_POOL_ADDRESS == "$bridge" ]]; then
    export STOA_POOL_ADDRESS='' # the bridge is not there any more
  fi
  export STOA_DEPOT_PORT=$((STOA_PORT_BASE + 6))
  export STOA_CONTROL_URL=${STOA_CONTROL_URL:-https://127.0.0.1:$STOA_DEPOT_PORT}
  export STOA_CONTROL_CA=${STOA_CONTROL_CA:-$STOA_SECRETS_DIR/pool-ca.crt}
  export STOA_PG_SOCKET=$STOA_SHORT/postgres/socket
  if [[ $STOA_PUBLIC_SCHEME:$STOA_PUBLIC_PORT == http:80 ||
    $STOA_PUBLIC_SCHEME:$STOA_PUBLIC_PORT == https:443 ]]; then
    STOA_CONSOLE_URL=$STOA_PUBLIC_SCHEME://$STOA_CONSOLE_HOST
  else
    STOA_CONSOLE_URL=$STOA_PUBLIC_SCHEME://$STOA_CONSOLE_HOST:$STOA_PUBLIC_PORT
  fi
  export STOA_CONSOLE_URL
}

# What bin/up was given, as lines for $STOA_VAR/settings.
settings_lines() {
  local pair name
  for pair in "${SETTINGS[@]}"; do
    name=${pair%%=*}
    printf '%s=%s\n' "$name" "${STOA_GIVEN[$name]}"
  done
  for name in "${OPTIONAL_SETTINGS[@]}"; do
    [[ -z ${!name:-} ]] || printf '%s=%s\n' "$name" "${!name}"
  done
  printf 'STOA_RUN_AS=%s\n' "$STOA_RUN_AS"
}

# enter ROLE: give the environment to one kind of program, and no more than it needs.
#   control, sweep, web, depot, events, beat, manage: the database and all secrets
#   host, edge: their own broker user and token; neither database nor secrets
#   plain: neither broker nor database (keeper, PostgreSQL, Redis)
enter() {
  export STOA_PROGRAM=$1
  export PYTHONPATH=$REPO PATH=$REPO/.venv/bin:$PATH PYTHONUNBUFFERED=1
  # Programs of many threads that wait: an arena of memory for each would be tens of megabytes that hold little.
  export MALLOC_ARENA_MAX=2
  export DJANGO_SETTINGS_MODULE=controlplane.settings.base
  # Edges route to the hosts' networks and nowhere else: this machine's containers, and its neighbours.
  if [[ -z ${STOA_EDGE_NETWORKS:-} && -n $STOA_POOL_ADDRESS ]]; then
    export STOA_EDGE_NETWORKS=$STOA_SUBNET,${STOA_POOL_ADDRESS%.*}.0/24
  fi
  local user=control secret=redis-control agent=""
  case $1 in
    host) agent=host-$STOA_HOST_NAME user=host.$STOA_HOST_NAME ;;
    edge) agent=edge-$STOA_EDGE_NAME user=edge.$STOA_EDGE_NAME ;;
    plain)
      unset DATABASE_URL STOA_BROKER_URL STOA_SECRETS_DIR STOA_AGENT_TOKEN_FILE DJANGO_SETTINGS_MODULE
      return
      ;;
  esac
  [[ -z $agent ]] || secret=$agent-broker
  [[ -r $STOA_SECRETS_DIR/$secret ]] ||
    fail "cannot read $STOA_SECRETS_DIR/$secret" "run bin/up first (it makes the secrets), and this as root"
  secret=$(tr -d '\n' <"$STOA_SECRETS_DIR/$secret")
  # Where hosts come from other machines, Redis speaks TLS and nothing else (deploy/run-redis).
  STOA_BROKER_URL=redis://$user:$secret@${STOA_BROKER_ADDRESS:-127.0.0.1:$STOA_REDIS_PORT}/0
  [[ -z $STOA_POOL_ADDRESS ]] ||
    STOA_BROKER_URL="rediss${STOA_BROKER_URL#redis}?ssl_cert_reqs=required&ssl_ca_certs=$STOA_CONTROL_CA"
  export STOA_BROKER_URL
  if [[ $1 == depot ]]; then
    export STOA_DEPOT_CERT=$STOA_SECRETS_DIR/depot.crt STOA_DEPOT_KEY=$STOA_SECRETS_DIR/depot.key
    export STOA_DEPOT_BIND=${STOA_DEPOT_BIND:-127.0.0.1:$STOA_DEPOT_PORT${STOA_POOL_ADDRESS:+,$STOA_POOL_ADDRESS:$STOA_DEPOT_PORT}}
  fi
  if [[ -z $agent ]]; then
    export DATABASE_URL=${STOA_DATABASE_URL:-postgres://stoa@/stoa?host=$STOA_PG_SOCKET}
  else
    export STOA_AGENT_TOKEN_FILE=$STOA_SECRETS_DIR/$agent-token
    unset DATABASE_URL STOA_SECRETS_DIR DJANGO_SETTINGS_MODULE
  fi
}

# --- the supervisor -----------------------------------------------------------------------------

SUPERVISE=("$REPO/.venv/bin/python" "$REPO/deploy/programs.py")
supervise() { "${SUPERVISE[@]}" "$STOA_SHORT/run/supervisor.sock" "$@"; }

# Whether this Stoa's supervisor is alive: its pid file names a process that has our configuration.
supervisor_pid() { # [VAR]: of the Stoa whose data lie there; without it, of this one
  local var=${1:-$STOA_VAR} pid
  [[ -r $var/run/supervisord.pid ]] || return 1
  pid=$(<"$var/run/supervisord.pid")
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$var/run/supervisord.conf" || return 1
  printf '%s' "$pid"
}

supervised() { # FIRST: what every program's section of a supervisor's configuration says, FIRST before it
  # startretries: a program that needs another waits for it, ever longer, for some minutes.
  printf '%s' "$1\\nautorestart=true\\nstartsecs=1\\nstartretries=60\\nredirect_stderr=true" \
    '\nstdout_logfile_maxbytes=10MB\nstdout_logfile_backups=2'
}

with_logs() { # FOLDER: gives each program of a supervisor's configuration its log file there
  awk -v logs="$1" '
    {print} /^\[program:/ {name = substr($0, 10, length($0) - 10); print "stdout_logfile=" logs "/" name ".log"}'
}

# Processes of this Stoa, whoever their parent is, one pid a line. Known by what bin/stoa-env wrote
# before each program started: a pid with its start time, and a mark in the environment.
our_processes() {
  local file pid started
  {
    for file in "$STOA_VAR"/run/*.started; do
      [[ -r $file ]] || continue
      read -r pid started <"$file" || true
      if [[ -n ${pid:-} && $(start_time "$pid") == "${started:-none}" ]]; then echo "$pid"; fi
    done
    for file in /proc/[0-9]*/environ; do
      pid=${file#/proc/}
      if grep -qzxF "STOA_SUPERVISED=$STOA_VAR" "$file" 2>/dev/null; then echo "${pid%/environ}"; fi
    done
  } | sort -un
}

start_time() { # PID: when it started, in clock ticks after boot; nothing when it is gone or a zombie
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  # shellcheck disable=SC2086 # the words after the command's name are plain numbers and letters
  set -- ${stat##*) }
  [[ $1 == Z ]] || printf '%s' "${20}"
}

# end_processes SECONDS: end all of our_processes, front to back; the keeper has that long to end shops.
end_processes() {
  local pid front=() back=()
  while IFS= read -r pid; do
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
      postgres | redis-server) back+=("$pid") ;; # the others still need them to end well
      *) front+=("$pid") ;;
    esac
  done < <(our_processes)
  end_with TERM "$1" "${front[@]}"
  end_with INT 20 "${back[@]}" # to PostgreSQL, TERM would mean: when everybody has left
}

end_with() { # SIGNAL SECONDS PID...: signal, wait, KILL; returns when all are gone
  local pid deadline=$((SECONDS + $2))
  (($# > 2)) || return 0
  kill "-$1" "${@:3}" 2>/dev/null || true
  for pid in "${@:3}"; do
    while [[ -n $(start_time "$pid") ]]; do
      if ((SECONDS >= deadline)); then
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
        break
      fi
      sleep 0.05
    done
  done
}
