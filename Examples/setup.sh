# What the examples' run.sh have in common; source it, it does nothing by itself.

step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        fail "this needs root: run it as root or install sudo"
    fi
}

# Builds every program of the package that lies in the given folder.
build_release() {
    command -v swift >/dev/null ||
        fail "no Swift toolchain: install Swift 6.3 or later from https://swift.org/install"
    step "building Branchline (release)"
    swift build -c release --package-path "$1" ||
        fail "Branchline did not build; the compiler's words are above"
}

# Prints the Debian packages that are missing for the build and for the given PROGRAM:PACKAGE
# pairs, one a line.
missing_packages() {
    local pair library libraries=(libsodium-dev libmnl-dev libsqlite3-dev libpq-dev libqrencode-dev)
    [ "$(uname -m)" != x86_64 ] || libraries+=(libipsec-mb-dev)
    for library in "${libraries[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$library" 2>/dev/null) == *' installed' ]] ||
            echo "$library"
    done
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
}

# Installs what is missing of the build's packages, of PROGRAM:PACKAGE pairs, and of packages that
# are given by name alone.
install_packages() {
    local pairs=() packages=() argument
    for argument in "$@"; do
        case $argument in *:*) pairs+=("$argument") ;; *) packages+=("$argument") ;; esac
    done
    if ! command -v apt-get >/dev/null; then
        warn "no apt-get here; the build needs libsodium, libmnl, libsqlite3, libpq, libqrencode" \
            "and, on x86-64, libipsec-mb;" \
            "the run needs ${pairs[*]%%:*}"
        return
    fi
    mapfile -t -O ${#packages[@]} packages < <(missing_packages "${pairs[@]}")
    [ ${#packages[@]} -gt 0 ] || return 0
    step "installing ${packages[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
    as_root "${apt[@]}" update >/dev/null || warn "the package lists could not be updated"
    as_root "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null ||
        fail "apt-get could not install ${packages[*]}; install them by hand and run this again"
}
