#!/usr/bin/env bash
# Builds the Debian packages branchline and branchline-coordinator:
#
#   Packaging/debian.sh [FOLDER]     into FOLDER (.build/packages if nothing is given)
#
# PROGRAMS=FOLDER packages programs that are built already, as find_programs in programs.sh builds
# them. VERSION is that of the programs if nothing is set; COMPRESSION is xz, or none to be quick.
# The same commit, programs and tools give the same packages to the byte. Installs what it needs
# with apt, and asks sudo for that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source Packaging/programs.sh
readonly output="${1:-.build/packages}"

install_packages debhelper dpkg-dev chrpath binutils python3
find_programs
export COMPRESSION="${COMPRESSION:-xz}"

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
mkdir -p "$output" "$scratch/branchline"
cp -r Packaging "$scratch/branchline/"
cp -r Packaging/debian "$scratch/branchline/debian"
cat >"$scratch/branchline/debian/changelog" <<END
branchline ($VERSION) unstable; urgency=medium

  * Version $VERSION, commit $(git rev-parse --short HEAD).

 -- $(sed -n 's/^Maintainer: //p' Packaging/debian/control)  $(date -uR -d "@$SOURCE_DATE_EPOCH")
END
(cd "$scratch/branchline" && dpkg-buildpackage --build=binary --no-sign)
cp "$scratch"/*.deb "$scratch"/*.changes "$scratch"/*.buildinfo "$output/"
