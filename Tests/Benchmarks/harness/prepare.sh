# What every benchmark's script does first: become root, install what is missing, start Python.
# Sourced by Tests/Benchmarks/NAME.sh.

benchmarks_directory="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Program → Debian package, one pair a line.
benchmark_programs="cc gcc
ip iproute2
iperf3 iperf3
openssl openssl
openvpn openvpn
python3 python3
wg wireguard-tools
wireguard-go wireguard-go"

install_missing_packages() {
    local missing=() program package
    while read -r program package; do
        command -v "$program" >/dev/null || missing+=("$package")
    done <<<"$benchmark_programs"
    [ -e /usr/include/sodium.h ] || missing+=(libsodium-dev)
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing ${missing[*]}" >&2
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${missing[@]}" >&2
}

# Runs the Python package NAME of this directory with the remaining arguments.
run_benchmark() {
    local name="$1"
    shift
    if [ "$(id -u)" -ne 0 ]; then
        # sudo has a PATH of its own, in which Swift may be missing.
        exec sudo --preserve-env=BRANCHLINED,BRANCHLINED_NULL,WIREGUARD_GO,LOG_LEVEL \
            env PATH="$PATH" "$benchmarks_directory/$name.sh" "$@"
    fi
    export PATH="$PATH:/usr/sbin:/sbin"
    install_missing_packages
    export PYTHONPATH="$benchmarks_directory" PYTHONDONTWRITEBYTECODE=1
    exec python3 -m "$name" "$@"
}
