# What every benchmark's script does first: become root, install what is missing, start Python.
# Sourced by Tests/Benchmarks/NAME.sh.

benchmarks_directory="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What the build needs, and what all benchmarks do; a script names more with `benchmark_packages`.
benchmark_packages+=(
    gcc iproute2 iputils-ping libmnl-dev libpq-dev libqrencode-dev libsodium-dev libsqlite3-dev
    openssl pkg-config python3 wireguard-tools)

install_missing_packages() {
    local missing=() package
    [ "$(uname -m)" = x86_64 ] && benchmark_packages+=(libipsec-mb-dev)
    for package in "${benchmark_packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
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
        local kept=BRANCHLINED,BRANCHLINED_NULL,PROGRAMS,WAN_RELAY,WIREGUARD_GO,LOG_LEVEL
        exec sudo --preserve-env="$kept" \
            env PATH="$PATH" "$benchmarks_directory/$name.sh" "$@"
    fi
    export PATH="$PATH:/usr/sbin:/sbin"
    install_missing_packages
    export PYTHONPATH="$benchmarks_directory" PYTHONDONTWRITEBYTECODE=1
    # Debian's own, which has what apt installed.
    exec /usr/bin/python3 -m "$name" "$@"
}
