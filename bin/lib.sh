# shellcheck shell=bash
# What bin/up, bin/down, bin/test and bin/stoa share: the settings of one Stoa, and how to speak.
# Sourced, never run. Settings are declared in settings/. bin/up keeps what it was given in
# $STOA_VAR/settings, so that later commands need not be given it again.

set -Eeuo pipefail
trap 'printf "%s: line %s failed: %s\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR # never end silently
export LC_ALL=C.UTF-8

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export REPO

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

# load_settings: reads and checks every setting (settings/ declares them), and exports what follows from them.
# Sets STOA_SAVED, what the last bin/up was given, STOA_GIVEN, what this one was, and FIXED_*, what cannot change.
load_settings() {
  local told
  [[ -x /usr/bin/python3 ]] || fail "there is no /usr/bin/python3" "bin/up installs it, from the package python3-venv"
  told=$(PYTHONPATH=$REPO /usr/bin/python3 -S -m settings export "${0##*/}") || exit 1
  eval "$told"
}

# What bin/up was given, as lines for $STOA_VAR/settings.
settings_lines() {
  local name
  for name in "${SETTINGS[@]}"; do
    printf '%s=%s\n' "$name" "${STOA_GIVEN[$name]}"
  done
  printf 'STOA_RUN_AS=%s\n' "$STOA_RUN_AS"
}

installer() { PYTHONPATH=$REPO /usr/bin/python3 -S -m installer "$@" 9>&-; } # VERB…: see installer/__main__.py

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
