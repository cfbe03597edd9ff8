# shellcheck shell=bash
# All that is bash of installing: a Python, 3.11 or newer with venv, that then does the rest (installer/).
# Sourced by bin/up, bin/down, bin/stoa and bin/test. It says itself what fails, and never ends silently.
set -Eeuo pipefail
trap 'printf "%s: line %s failed: %s\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR
export LC_ALL=C.UTF-8
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

find_python() { # [MODULE…]: sets PYTHON, the machine's own and not one of the caller's environment
  local fits='import sys; from importlib.util import find_spec
sys.exit(sys.version_info < (3, 11) or not all(map(find_spec, sys.argv[1:])))'
  for PYTHON in /usr/bin/python3 /usr/bin/python3.{19..11}; do
    if [[ -x $PYTHON ]] && "$PYTHON" -SEc "$fits" "$@"; then return 0; fi
  done
  return 1
}

no_python() {
  printf '\n%s: there is no Python 3.11 or newer with venv in /usr/bin\n  %s\n' "${0##*/}" \
    "install python3-venv, or run bin/up as root on Debian or Ubuntu: it installs it" >&2
  exit 1
}

get_python() { # sets PYTHON, and installs it where there is none
  local package log
  ! find_python venv ensurepip || return 0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then no_python; fi
  log=$(mktemp)
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update >"$log" 2>&1 </dev/null || true
  for package in python3-venv python3.12-venv python3.11-venv; do # an older Ubuntu has a newer one beside its own
    echo "installing $package" >&2
    "${apt[@]}" install --no-install-recommends "$package" >>"$log" 2>&1 </dev/null || continue
    if find_python venv ensurepip; then rm -f "$log" && return 0; fi
  done
  tail -n 20 "$log" >&2
  printf '\n%s: apt-get could not install a Python 3.11 or newer\n  %s\n' "${0##*/}" \
    "see above; is a package mirror configured and reachable?" >&2
  rm -f "$log"
  exit 1
}

installer() { PYTHONPATH=$REPO "$PYTHON" -SP -m installer "$@"; } # VERB…: see installer/__main__.py
