#!/usr/bin/env bash
# Installs what the tests need, builds, runs all of them and prints one summary.
#
#   Tests/run.sh                     everything
#   Tests/run.sh --only unit         one part: unit, fuzz, command-line, system or examples
#   Tests/run.sh --only system -k X  what follows goes to pytest
#
# Needs Debian or Ubuntu with a Swift toolchain; asks sudo where it is not root. The daemon under
# test is .build/release/branchlined or the one named by BRANCHLINED.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly PACKAGES=(
    libsodium-dev libmnl-dev wireguard-go wireguard-tools iperf3 nftables iproute2
    iputils-ping tcpdump jq python3 python3-pytest pkg-config gcc libc6-dev util-linux procps)
only="" pytest_arguments=() results=() failures=0

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

while [ $# -gt 0 ]; do
    case "$1" in
    --only) only="${2:?--only needs unit, fuzz, command-line, system or examples}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) pytest_arguments+=("$1"); shift ;;
    esac
done
case "$only" in
"" | unit | fuzz | command-line | system | examples) ;;
*) echo "unknown part: $only (unit, fuzz, command-line, system, examples)" >&2; exit 2 ;;
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
    install | build | "${only:-$name}" | "${only:-$name}-optimised") ;;
    *) return 0 ;;
    esac
    began=$(date +%s)
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    # pytest ends with 5 where the arguments selected nothing of a part.
    if [ $status -eq 5 ] && [ ${#pytest_arguments[@]} -gt 0 ]; then status=0; fi
    results+=("$(printf '%-24s %-7s %4d s' "$name" \
        "$([ $status -eq 0 ] && echo passed || echo FAILED)" $(($(date +%s) - began)))")
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

pytest_in() {
    local folder="$1" python
    python=$(python_with_pytest) || return 1
    # Network namespaces need root; sudo keeps the few variables that the tests read.
    as_root env PATH="$PATH" BRANCHLINED="${BRANCHLINED:-$PWD/.build/release/branchlined}" \
        BRANCHLINE="${BRANCHLINE:-$PWD/.build/release/branchline}" \
        ${WIREGUARD_GO:+WIREGUARD_GO="$WIREGUARD_GO"} PYTHONDONTWRITEBYTECODE=1 \
        "$python" -m pytest -p no:cacheprovider "$folder" \
        ${pytest_arguments[@]+"${pytest_arguments[@]}"}
}

build_release() {
    swift build -c release --product branchlined && swift build -c release --product branchline
}

# Builds the unit tests as the user and runs them as root, who alone may make namespaces and TUN
# devices. The bundle runs without SwiftPM, which would leave files of root's in the build folder.
test_units() {
    local folder
    swift build --build-tests "$@" && folder=$(swift build --show-bin-path "$@") &&
        as_root env PATH="$PATH" "$folder/branchlinePackageTests.xctest" \
            --testing-library swift-testing
}

# The optimiser gets its own run: it is what packets go through, and it has its own faults. The
# folder is apart from the programs', which are built without test access.
test_optimised() {
    test_units -c release -Xswiftc -enable-testing --scratch-path .build/optimised
}

# The benchmark's own arithmetic and parsing, on made-up figures.
test_benchmarks() {
    python3 Tests/Benchmarks/selftest.py
}

# The README's first command, and the server that it talks to.
test_examples() {
    swift test --package-path Examples/InferenceServer && Examples/quickstart/run.sh
}

needs() {
    [ -z "$only" ] || [ "$only" = "$1" ]
}

part install install_packages || summary
if { needs system || needs command-line; } && [ -z "${BRANCHLINED:-}" ]; then
    part build build_release || summary
fi
part unit test_units
part unit-optimised test_optimised
part fuzz Tests/Fuzzing/replay.sh
part command-line pytest_in Tests/CommandLineTests
part system pytest_in Tests/System
part benchmarks test_benchmarks
part examples test_examples
summary
