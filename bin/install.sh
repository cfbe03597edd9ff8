# shellcheck shell=bash
# How bin/up, bin/test and bin/stoa install what is missing, and nothing that is there. Sourced, never run.

# What must be there → the Debian package that brings it. A program's name, or a shell test.
SERVER_NEEDS=(
  'python3 -c "import ensurepip, venv"=python3-venv'
  'compgen -G "/usr/lib/postgresql/*/bin/postgres"=postgresql'
  'have redis-server=redis-server'
  'have haproxy=haproxy'
  'have crun=crun'
  'have podman=podman'
  'have skopeo=skopeo'
  'have zstd=zstd'
  'have nft=nftables'
  'have mkfs.btrfs=btrfs-progs'
  'have ip && have ss=iproute2'
  'have msgfmt=gettext'
  'have curl=curl'
  'have ps=procps'
  'have newuidmap=uidmap'
  '[[ -r /etc/ssl/certs/ca-certificates.crt ]]=ca-certificates'
)
# What a machine needs that runs shops and no control plane.
HOST_NEEDS=(
  'python3 -c "import ensurepip, venv"=python3-venv'
  'have crun=crun'
  'have skopeo=skopeo'
  'have zstd=zstd'
  'have nft=nftables'
  'have mkfs.btrfs=btrfs-progs'
  'have ip && have ss=iproute2'
  'have ps=procps'
  '[[ -r /etc/ssl/certs/ca-certificates.crt ]]=ca-certificates'
)
DEVELOPER_NEEDS=(
  'have shellcheck=shellcheck'
  'have docker-compose || docker compose version=docker-compose'
  'have chromium=chromium'
  'have git=git'
  'have docker-registry=docker-registry'
  'have htpasswd=apache2-utils'
  '[[ -x /bin/busybox ]]=busybox-static'
  'have openssl=openssl'
  'have promtool=prometheus'
)

have() { command -v "$1"; }

# What reads the settings; the rest is installed when they are known to be right.
get_python() {
  [[ -x /usr/bin/python3 ]] || install_packages python
}

install_packages() { # python | host | server | developer
  local need missing=()
  local needs=("${SERVER_NEEDS[@]}")
  [[ $1 != python ]] || needs=("${SERVER_NEEDS[0]}")
  [[ $1 != host ]] || needs=("${HOST_NEEDS[@]}")
  [[ $1 != developer ]] || needs+=("${DEVELOPER_NEEDS[@]}")
  for need in "${needs[@]}"; do
    eval "${need%=*}" >/dev/null 2>&1 || missing+=("${need##*=}")
  done
  ((${#missing[@]})) || return 0
  have apt-get >/dev/null ||
    fail "missing: ${missing[*]}" "this machine has no apt-get; bin/${0##*/} installs on Debian and Ubuntu only"
  ((EUID == 0)) || fail "missing packages: ${missing[*]}" "install them, or run this as root"
  step "installing ${missing[*]}"
  apt_install "${missing[@]}"
  for need in "${needs[@]}"; do
    eval "${need%=*}" >/dev/null 2>&1 ||
      fail "the package ${need##*=} was installed, but '${need%=*}' still fails"
  done
}

apt_install() {
  local log
  log=$(mktemp)
  # Services must not start by being installed: Stoa runs its own, and 5432 may be somebody's.
  local guard=/usr/sbin/policy-rc.d guarded=no
  if [[ ! -e $guard ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 0755 "$guard"
    guarded=yes
  fi
  # shellcheck disable=SC2064 # the values of now are wanted
  trap "[[ $guarded == no ]] || rm -f $guard; rm -f $log" EXIT
  local apt=(apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  export DEBIAN_FRONTEND=noninteractive
  if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install: $*" "see above; is a package mirror configured and reachable?"
  fi
  if [[ -d /run/systemd/system ]]; then
    local unit
    for unit in postgresql redis-server haproxy docker-registry prometheus; do # nor with the next boot
      [[ " $* " != *" $unit "* ]] || systemctl disable --quiet "$unit" || true
    done
  fi
  [[ $guarded == no ]] || rm -f "$guard"
  rm -f "$log"
  trap - EXIT
}

# The Python packages of requirements.lock, with hashes, in .venv; nothing to do while the list and the
# checkout's place are as they were (its programs name the place in their first line).
install_python() {
  local wanted stamp=$REPO/.venv/.installed python=$REPO/.venv/bin/python
  wanted="$(sha256sum <"$REPO/requirements.lock" | cut -c1-64) $REPO"
  [[ ! -r $stamp || $(<"$stamp") != "$wanted" || ! -x $python ]] || return 0
  mkdir -p "$REPO/var"
  (
    flock 8
    [[ ! -r $stamp || $(<"$stamp") != "$wanted" || ! -x $python ]] || exit 0
    step "installing Python packages (requirements.lock)"
    # A link leads to somebody else's environment, and making one anew clears it: only the link goes.
    [[ ! -L $REPO/.venv ]] || rm -f "$REPO/.venv"
    log=$(mktemp)
    if [[ ! -x $python || $(head -n 1 "$REPO/.venv/bin/pip" 2>/dev/null) != "#!$REPO/.venv/bin/"* ]]; then
      /usr/bin/python3 -m venv --clear "$REPO/.venv" ||
        fail "could not make a Python environment in $REPO/.venv"
    fi
    if ! "$python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
      -r "$REPO/requirements.lock" >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      fail "pip could not install requirements.lock" "see above; is a package index configured and reachable?"
    fi
    rm -f "$log"
    printf '%s' "$wanted" >"$stamp"
  ) 8>"$REPO/var/venv.lock" || exit 1 # it has said why
}

# Translations: .po files as people edit them → .mo files as programs read them.
compile_languages() {
  local source
  while IFS= read -r source; do
    [[ ${source%.po}.mo -nt $source ]] || msgfmt --check-format -o "${source%.po}.mo" "$source" ||
      fail "$source has a mistake" "see above"
  done < <(find "$REPO" -name '*.po' -path '*/LC_MESSAGES/*' -not -path '*/.venv/*' -not -path '*/node_modules/*' -not -path "$REPO/var/*")
}
