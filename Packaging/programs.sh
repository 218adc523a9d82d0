# shellcheck shell=bash
# What the scripts that package programs share; to be read by them with `source`.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs only what is missing, so that a second run needs no network: install_packages NAME...
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "${missing[@]}"
}

# Sets PROGRAMS, the folder of the programs, VERSION and SOURCE_DATE_EPOCH, all for export, where
# they are not set. What is built needs nothing but Debian's libraries, and its tables of addresses
# cannot be overwritten once it runs.
find_programs() {
    local options=(-c release --static-swift-stdlib -Xlinker -z -Xlinker relro -Xlinker -z
        -Xlinker now) program
    if [ -z "${PROGRAMS:-}" ]; then
        for program in branchlined branchline branchline-coordinator; do
            swift build "${options[@]}" --product "$program"
        done
        PROGRAMS=$(swift build "${options[@]}" --show-bin-path)
    fi
    PROGRAMS=$(realpath "$PROGRAMS")
    if readelf -d "$PROGRAMS"/branchline{,d,-coordinator} | grep -q 'NEEDED.*libswiftCore'; then
        echo "$PROGRAMS needs a Swift runtime; build with --static-swift-stdlib" >&2
        return 1
    fi
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    VERSION=${VERSION:-$("$PROGRAMS/branchline" --version)}
    export PROGRAMS VERSION SOURCE_DATE_EPOCH
}
