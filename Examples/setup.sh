# What the examples' run.sh have in common; source it, it does nothing by itself. They have a
# function usage, a list namespaces and, in $programs, the folder of Branchline's programs.

step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Reads --OPTION N, from 1 to 1000, and --skip-build: parse_arguments OPTION DEFAULT ARGUMENT...
# Sets count and skip_build.
parse_arguments() {
    local option=--$1
    count=$2 skip_build=false
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            "$option")
                [ $# -ge 2 ] || fail "$option needs a number; see --help"
                count=$2
                shift
                ;;
            "$option"=*) count=${1#*=} ;;
            --skip-build) skip_build=true ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail "unknown argument '$1'; see --help" ;;
        esac
        shift
    done
    if ! [[ $count =~ ^[1-9][0-9]{0,3}$ ]] || [ "$count" -gt 1000 ]; then
        fail "$option must be a number from 1 to 1000, not '$count'"
    fi
}

# Fails unless all that a run needs is there: check_machine TOOL... -- OWN_PROGRAM...
check_machine() {
    while [ "$1" != -- ]; do
        command -v "$1" >/dev/null || fail "'$1' is missing; run this once without --skip-build"
        shift
    done
    shift
    local program
    for program in "$@"; do
        [ -x "$programs/$program" ] ||
            fail "$programs/$program is not built; run this once without --skip-build"
    done
    [ -c /dev/net/tun ] ||
        fail "/dev/net/tun is missing: run 'modprobe tun', or give the container that device"
}

add_namespace() {
    ip netns add "$1" ||
        fail "no network namespace can be made here: this needs root, or CAP_SYS_ADMIN and" \
            "CAP_NET_ADMIN in a container"
    namespaces+=("$1")
    ip -n "$1" link set lo up
}

# Ends the processes of a namespace, in which only those of one run live.
stop_processes() {
    local pid
    for pid in $(ip netns pids "$1" 2>/dev/null); do
        stop "$pid"
    done
}

# Ends a process: asks, waits up to three seconds, insists.
stop() {
    kill -TERM "$1" 2>/dev/null || return 0
    local _
    for _ in {1..30}; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
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
