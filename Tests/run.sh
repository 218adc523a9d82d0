#!/usr/bin/env bash
# Installs what the tests need, builds, runs all of them and prints one summary.
#
#   Tests/run.sh                     everything
#   Tests/run.sh --only unit         one part: unit, protocol, fuzz, command-line, coordinator,
#                                    system or examples
#   Tests/run.sh --only system -k X  what follows goes to pytest
#
# Needs Debian or Ubuntu with a Swift toolchain; asks sudo where it is not root. The programs under
# test are those in .build/release, or named by BRANCHLINED, BRANCHLINE, COORDINATOR and WAN_RELAY.
# Storage is tested on SQLite and on a PostgreSQL server that this script starts on a Unix socket of
# its own, or that BRANCHLINE_TEST_POSTGRESQL names (a libpq connection text; databases are made
# there).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly PACKAGES=(
    libsodium-dev libmnl-dev libsqlite3-dev libpq-dev libqrencode-dev libssl-dev wireguard-go
    wireguard-tools iperf3 nftables iproute2 iputils-ping tcpdump jq openssl postgresql
    curl openssh-client openssh-server
    python3 python3-cryptography python3-pytest python3-pytest-xdist python3-requests python3-venv
    pkg-config gcc libc6-dev util-linux procps)
readonly PARTS="unit, protocol, fuzz, command-line, coordinator, system or examples"
# More failures than these are no matter of a busy machine.
readonly REPEATED_MAX=3
only="" pytest_arguments=() results=() failures=0 scratch="" repeated=""

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

while [ $# -gt 0 ]; do
    case "$1" in
    --only) only="${2:?--only needs $PARTS}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) pytest_arguments+=("$1"); shift ;;
    esac
done
case "$only" in
"" | unit | protocol | fuzz | command-line | coordinator | system | examples) ;;
*) echo "unknown part: $only ($PARTS)" >&2; exit 2 ;;
esac

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs only what is missing, so that a second run needs no network.
install_packages() {
    local wanted=("${PACKAGES[@]}") missing=() package
    [ "$(uname -m)" = x86_64 ] && wanted+=(libipsec-mb-dev)
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qy --no-install-recommends "${missing[@]}"
}

# Runs one part, shows its output and remembers how it ended: part NAME COMMAND...
part() {
    local name="$1" began status
    shift
    case "$name" in
    install | build | database | "${only:-$name}") ;;
    *) return 0 ;;
    esac
    began=$(date +%s) repeated=""
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    # pytest ends with 5 where the arguments selected nothing of a part.
    if [ $status -eq 5 ] && [ ${#pytest_arguments[@]} -gt 0 ]; then status=0; fi
    results+=("$(printf '%-24s %-7s %4d s  %s' "$name" \
        "$([ $status -eq 0 ] && echo passed || echo FAILED)" $(($(date +%s) - began)) \
        "$repeated")")
    [ $status -eq 0 ] || failures=$((failures + 1))
    return $status
}

summary() {
    printf '\n=== summary\n'
    printf '%s\n' "${results[@]}"
    if [ $failures -gt 0 ]; then
        echo "FAILED: $failures"
        exit 1
    fi
    echo "all passed"
}

# The python3 that has pytest, Debian's first.
python_with_pytest() {
    local candidate
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import pytest' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "no python3 with pytest" >&2
    return 1
}

# The protocol's second implementation, which needs neither root nor our programs.
test_protocol() {
    local python
    python=$(Tests/Protocol/python.sh) || return 1
    PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest -p no:cacheprovider Tests/Protocol \
        ${pytest_arguments[@]+"${pytest_arguments[@]}"}
}

# Runs a folder's tests: pytest_in FOLDER ARGUMENT...
pytest_in() {
    local folder="$1" python status failed
    shift
    python=$(python_with_pytest) || return 1
    run_pytest "$python" "$folder" "$@" && return 0
    status=$?
    failed=$(as_root cat "$scratch/${folder##*/}/v/cache/lastfailed" 2>/dev/null | jq length)
    [ $status -eq 1 ] && once_more "${failed:-0}" || return $status
    run_pytest "$python" "$folder" --last-failed
}

# Whether so few tests failed that they are tried again: what a busy machine made late passes alone;
# what is broken fails again. Both are shown. once_more COUNT
once_more() {
    [ "$1" -ge 1 ] && [ "$1" -le "$REPEATED_MAX" ] || return 1
    printf '\n=== %s failed: once more\n' "$1"
    repeated="$1 test(s) once more"
}

# Runs pytest: run_pytest PYTHON FOLDER ARGUMENT...
run_pytest() {
    local python="$1" folder="$2"
    shift 2
    # Network namespaces need root; sudo keeps the few variables that the tests read.
    as_root env PATH="$PATH" BRANCHLINED="${BRANCHLINED:-$PWD/.build/release/branchlined}" \
        BRANCHLINE="${BRANCHLINE:-$PWD/.build/release/branchline}" \
        COORDINATOR="${COORDINATOR:-$PWD/.build/release/branchline-coordinator}" \
        WAN_RELAY="${WAN_RELAY:-$PWD/.build/release/wan-relay}" \
        BRANCHLINE_TEST_POSTGRESQL="$BRANCHLINE_TEST_POSTGRESQL" \
        ${WIREGUARD_GO:+WIREGUARD_GO="$WIREGUARD_GO"} PYTHONDONTWRITEBYTECODE=1 \
        "$python" -m pytest -o cache_dir="$scratch/${folder##*/}" "$folder" "$@" \
        ${pytest_arguments[@]+"${pytest_arguments[@]}"}
}

build_release() {
    swift build -c release
}

# Builds the unit tests as the user and runs them as root, who alone may make namespaces and TUN
# devices. The bundle runs without SwiftPM, which would leave files of root's in the build folder.
#
# What is tested is optimised, since that has faults of its own, and has its assertions. It takes
# its place among the programs' builds, so that libraries are compiled once; our own modules are
# compiled again for programs, which are built without test access.
test_units() {
    local folder failed
    export BRANCHLINE_TESTING=1
    swift build -c release --build-tests && folder=$(swift build -c release --show-bin-path)
    local built=$?
    unset BRANCHLINE_TESTING
    [ $built -eq 0 ] || return $built
    run_bundle "$folder" && return 0
    failed=$(failed_units) || return 1
    once_more "$(wc -l <<<"$failed")" || return 1
    run_bundle "$folder" --filter "$(paste -sd'|' <<<"$failed")"
}

# Runs the unit tests' bundle: run_bundle FOLDER ARGUMENT...
run_bundle() {
    local folder="$1"
    shift
    as_root env PATH="$PATH" BRANCHLINE_TEST_POSTGRESQL="$BRANCHLINE_TEST_POSTGRESQL" \
        "$folder/branchlinePackageTests.xctest" --testing-library swift-testing \
        --xunit-output "$scratch/units.xml" "$@"
}

# One expression a line for each unit test that failed; nothing and 1 where the run did not end.
failed_units() {
    as_root cat "$scratch/units.xml" 2>/dev/null | python3 -c '
import re, sys, xml.etree.ElementTree as tree
failed = [case for case in tree.parse(sys.stdin).iter("testcase") if case.find("failure") is not None]
for case in failed:
    names = case.get("classname").split(".") + [re.escape(case.get("name"))]
    print("[./]".join(names))
sys.exit(not failed)' 2>/dev/null
}

# A server of these tests' own, gone when they end.
start_database() {
    BRANCHLINE_TEST_POSTGRESQL=$(Tests/postgresql.sh start "$scratch/server")
}

# The benchmark's own arithmetic and parsing, on made-up figures.
test_benchmarks() {
    python3 Tests/Benchmarks/selftest.py
}

# The README's first command, and a gateway's tenants.
test_examples() {
    Examples/quickstart/run.sh &&
        Examples/gateway/run.sh --skip-build
}

# Whether a part that is given here will run.
needs() {
    [ -z "$only" ] || [ "$only" = "$1" ]
}

# Removes what was made outside the project: root's tests leave root's files there.
clean_up() {
    [ -d "$scratch/server" ] && Tests/postgresql.sh stop "$scratch/server"
    as_root rm -rf -- "$scratch"
}

part install install_packages || summary
scratch=$(mktemp -d)
trap clean_up EXIT
if { needs unit || needs coordinator; } && [ -z "${BRANCHLINE_TEST_POSTGRESQL:-}" ]; then
    part database start_database || summary
fi
export BRANCHLINE_TEST_POSTGRESQL=${BRANCHLINE_TEST_POSTGRESQL:-}
part unit test_units
part protocol test_protocol
if { needs system || needs command-line || needs coordinator; } && [ -z "${BRANCHLINED:-}" ]; then
    part build build_release || summary
fi
part fuzz Tests/Fuzzing/replay.sh
part command-line pytest_in Tests/CommandLineTests
# Each has a coordinator of its own, and most of them wait.
part coordinator pytest_in Tests/Coordinator -n 2
part system pytest_in Tests/System
part benchmarks test_benchmarks
part examples test_examples
summary
