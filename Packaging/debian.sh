#!/usr/bin/env bash
# Builds the Debian packages branchline and branchline-coordinator:
#
#   Packaging/debian.sh [FOLDER]     into FOLDER (.build/packages if nothing is given)
#
# PROGRAMS=FOLDER packages programs that are built already, with `swift build -c release
# --static-swift-stdlib` and the same linker's options as below. VERSION is that of the programs if
# nothing is set, COMPRESSION xz's level (6). The same commit, programs and tools give the same
# packages to the byte. Installs what it needs with apt, and asks sudo for that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PACKAGES=(debhelper dpkg-dev chrpath binutils python3)
readonly output="${1:-.build/packages}"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "${missing[@]}"
}

# Programs that need nothing but Debian's libraries, and whose addresses nobody can overwrite.
build_programs() {
    local options=(-c release --static-swift-stdlib -Xlinker -z -Xlinker relro -Xlinker -z
        -Xlinker now) program
    for program in branchlined branchline branchline-coordinator; do
        swift build "${options[@]}" --product "$program"
    done
    PROGRAMS=$(swift build "${options[@]}" --show-bin-path)
}

# Debian's packages have no Swift runtime to offer.
require_static() {
    if readelf -d "$PROGRAMS"/branchline{,d,-coordinator} | grep -q 'NEEDED.*libswiftCore'; then
        echo "debian.sh: $PROGRAMS needs a Swift runtime; build --static-swift-stdlib" >&2
        exit 1
    fi
}

install_packages
[ -n "${PROGRAMS:-}" ] || build_programs
PROGRAMS=$(realpath "$PROGRAMS")
require_static
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=${VERSION:-$("$PROGRAMS/branchline" --version)}
export PROGRAMS SOURCE_DATE_EPOCH COMPRESSION="${COMPRESSION:-6}"

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
mkdir -p "$output" "$scratch/branchline"
cp -r Packaging "$scratch/branchline/"
cp -r Packaging/debian "$scratch/branchline/debian"
cat >"$scratch/branchline/debian/changelog" <<END
branchline ($version) unstable; urgency=medium

  * Version $version, commit $(git rev-parse --short HEAD).

 -- $(sed -n 's/^Maintainer: //p' Packaging/debian/control)  $(date -uR -d "@$SOURCE_DATE_EPOCH")
END
(cd "$scratch/branchline" && dpkg-buildpackage --build=binary --no-sign)
cp "$scratch"/*.deb "$scratch"/*.changes "$scratch"/*.buildinfo "$output/"
ls -l "$output"
