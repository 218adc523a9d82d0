#!/usr/bin/env bash
# Three tenants that share one address range use one gateway, on this machine.
#
#   1. install what is missing, build                              (--skip-build leaves this out)
#   2. network namespaces: the gateway, a client and an inference server of each tenant
#   3. one `branchlined --gateway`: one process, one UDP port, a domain for each tenant
#   4. a way from each domain to the tenant's server: veth, VLAN (or macvlan), source NAT
#   5. the tenants' servers, and their clients' tunnels
#   6. all clients ask at once, each the same address
#   7. every tenant tries every address, and every server tries its tenant's client
#   8. figures and proofs
#
# Steps run one after the other; everything they make is removed on every exit.
set -euo pipefail

readonly tunnel_port=51820
readonly gateway_outer=192.0.2.1
# The same in every tenant.
readonly network=10.0.0.0/24 gateway_inner=10.0.0.1 client_inner=10.0.0.2
readonly server_inner=10.0.0.130 server_port=8000
readonly cluster_network=172.20.0.0/24
readonly tenants=(acme beta gamma)

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
source "$here/../setup.sh"
readonly here root
readonly programs=$root/.build/release
# Administration tools lie outside many users' search path.
PATH=$PATH:/usr/sbin:/sbin

usage() {
    cat <<EOF
Usage: $0 [--answers N] [--skip-build] [--help]

Sets up a gateway with three tenants that all use $network with the same host addresses, each
with a client and an inference server of its own, in network namespaces of this machine. Ends with
0 only if every client got its own tenant's answers from the same address, nothing of another's,
and no server reached a client by itself.

  --answers N    answers that each client streams, 1 to 1000 (default 5)
  --skip-build   neither install packages nor build
  --help         this text

Example: $0 --answers 20
EOF
}

row() { printf '  %-16s %s\n' "$1" "${*:2}"; }

# --- 1. install and build -----------------------------------------------------------------------

prepare() {
    install_packages ip:iproute2 nft:nftables jq:jq python3:python3 nsenter:util-linux git:git
    build_release "$root"
}

# --- 2. namespaces ------------------------------------------------------------------------------

# Unlike `ip netns exec` this keeps the mounts that everybody sees, which name the namespaces.
inside() {
    local namespace=$1
    shift
    nsenter --net="/run/netns/$namespace" -- "$@"
}

cleanup() {
    local status=$? namespace
    trap - EXIT
    trap '' INT TERM HUP
    # The gateway comes first: what it made for itself it also removes.
    for namespace in "${namespaces[@]}"; do
        stop_processes "$namespace"
    done
    for namespace in "${namespaces[@]}" "${domains[@]}"; do
        ip netns del "$namespace" 2>/dev/null || true
    done
    local tenant
    for tenant in "${tenants[@]}"; do
        rm -f -- "/var/run/wireguard/$(tunnel_of "$tenant").sock" \
            "/var/run/wireguard/$(client_tunnel_of "$tenant").sock"
    done
    rm -rf -- "$work"
    exit "$status"
}

# Names of what belongs to a tenant. Control sockets are found by interface name across namespaces,
# so these are unique to the run too.
domain_of() { echo "gateway-$$-$1"; }
client_of() { echo "client-$$-$1"; }
server_of() { echo "server-$$-$1"; }
tunnel_of() { echo "${1:0:5}$$"; }
client_tunnel_of() { echo "${1:0:5}c$$"; }

# The Internet is a bridge that the gateway and the clients are at.
make_namespaces() {
    step "making a gateway, and for each of ${tenants[*]} a client and a server"
    add_namespace "$gateway"
    ip -n "$gateway" link add internet type bridge
    ip -n "$gateway" address add "$gateway_outer/24" dev internet
    ip -n "$gateway" link set internet up
    local tenant number=1
    for tenant in "${tenants[@]}"; do
        add_namespace "$(client_of "$tenant")"
        add_namespace "$(server_of "$tenant")"
        number=$((number + 1))
        ip -n "$gateway" link add "client$number" type veth \
            peer name uplink netns "$(client_of "$tenant")"
        ip -n "$gateway" link set "client$number" master internet up
        ip -n "$(client_of "$tenant")" address add "192.0.2.$number/24" dev uplink
        ip -n "$(client_of "$tenant")" link set uplink up
    done
}

# --- 3. gateway ---------------------------------------------------------------------------------

make_keys() {
    local name
    for name in "$@"; do
        "$programs/branchline" genkey >"$work/$name.key"
        "$programs/branchline" pubkey <"$work/$name.key" >"$work/$name.pub"
    done
}

# A machine of its own would keep this in /var/lib/branchline.
operator() {
    inside "$gateway" env BRANCHLINE_STATE="$work" "$programs/branchline" "$@" </dev/null ||
        fail "'branchline $1 $2' failed; its words are above"
}

# The tenant's keys and peers are in a WireGuard file, the rest in the gateway's folder.
add_tenant() {
    local tenant=$1
    make_keys "$tenant" "$tenant-client"
    cat >"$work/$tenant.conf" <<EOF
[Interface]
PrivateKey = $(cat "$work/$tenant.key")

[Peer]
PublicKey = $(cat "$work/$tenant-client.pub")
AllowedIPs = $client_inner/32
EOF
    operator gateway add "$tenant" --interface "$(tunnel_of "$tenant")" \
        --namespace "$(domain_of "$tenant")" --address "$gateway_inner/24" \
        --configuration "$work/$tenant.conf"
}

start_gateway() {
    step "branchlined --gateway: ${#tenants[@]} tenants of $network on UDP port $tunnel_port"
    local tenant
    for tenant in "${tenants[@]}"; do add_tenant "$tenant"; done
    inside "$gateway" "$programs/branchlined" --gateway "$work/gateway" -f \
        </dev/null >"$work/gateway.log" 2>&1 &
    local process=$! _
    for _ in {1..200}; do
        if all_tenants_are_up; then
            operator gateway show
            return 0
        fi
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat -- "$work/gateway.log" >&2
    cat -- "$work/gateway/status.json" >&2 || true
    fail "the gateway does not serve every tenant; its words are above"
}

all_tenants_are_up() {
    jq -e --argjson count "${#tenants[@]}" \
        '[.tenants[] | select(.state == "up")] | length == $count' \
        "$work/gateway/status.json" >/dev/null 2>&1
}

# --- 4. ways ------------------------------------------------------------------------------------

# way KIND TENANT OPTION...
way() {
    local kind=$1 tenant=$2
    shift 2
    inside "$gateway" "$here/ways/$kind.sh" up "$(domain_of "$tenant")" \
        --tunnel "$(tunnel_of "$tenant")" --port "tcp/$server_port" "$@" ||
        fail "$tenant has no way to its server; the words above say why"
    kinds[$tenant]=$kind
}

# A server that knows its tenant's addresses, and answers them through the tenant's domain.
add_server() {
    ip -n "$1" address add "$server_inner/25" dev "$2"
    ip -n "$1" link set "$2" up
    ip -n "$1" route add default via "$3"
}

has_vlans() {
    ip -n "$gateway" link add link internet name probe type vlan id 7 2>/dev/null &&
        ip -n "$gateway" link delete probe
}

make_ways() {
    step "a way from each domain to the tenant's server"
    declare -gA kinds=()
    local server
    # acme: a pair of devices, the server at the other end.
    server=$(server_of acme)
    way veth acme --address 10.0.0.129/25 --to "$server_inner" --cluster "$server" --peer eth0
    add_server "$server" eth0 10.0.0.129

    # beta: a device of the gateway's interface to a switch, given to the domain.
    server=$(server_of beta)
    ip -n "$gateway" link add trunk type veth peer name eth0 netns "$server"
    ip -n "$gateway" link set trunk up
    ip -n "$server" link set eth0 up
    if has_vlans; then
        ip -n "$server" link add link eth0 name eth0.200 type vlan id 200
        way vlan beta --parent trunk --id 200 --address 10.0.0.129/25 --to "$server_inner"
        add_server "$server" eth0.200 10.0.0.129
    else
        way macvlan beta --parent trunk --address 10.0.0.129/25 --to "$server_inner"
        add_server "$server" eth0 10.0.0.129
    fi

    # gamma: a server in a network of the cluster's own, which sees one address of the tenant.
    server=$(server_of gamma)
    ip -n "$gateway" link add cluster type bridge
    ip -n "$gateway" link set cluster up
    ip -n "$gateway" link add server type veth peer name eth0 netns "$server"
    ip -n "$gateway" link set server master cluster up
    ip -n "$server" address add 172.20.0.130/24 dev eth0
    ip -n "$server" link set eth0 up
    way snat gamma --address 172.20.0.3/24 --to 172.20.0.130 --bridge cluster --peer gamma \
        --map "$server_inner=172.20.0.130"
    # It would answer the tenant's own addresses too, were it asked by them.
    ip -n "$server" route add "$network" via 172.20.0.3
}

# --- 5. servers and clients ---------------------------------------------------------------------

secret_of() { cat "$work/$1.secret"; }

start_server() {
    local tenant=$1
    head -c 12 /dev/urandom | base64 >"$work/$tenant.secret"
    inside "$(server_of "$tenant")" python3 "$here/tenant.py" serve "$tenant" \
        --secret "$(secret_of "$tenant")" --log "$work/$tenant.requests" --port "$server_port" \
        </dev/null >"$work/$tenant-server.log" 2>&1 &
    local process=$! _
    for _ in {1..100}; do
        ! grep -qs '^ready' "$work/$tenant.requests" || return 0
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat -- "$work/$tenant-server.log" >&2
    fail "the server of $tenant did not start; its words are above"
}

# The client takes all that the three tenants use into its tunnel, so that what it asks for is the
# gateway's to refuse.
start_client() {
    local tenant=$1 file
    file=$work/$(client_tunnel_of "$tenant").conf
    cat >"$file" <<EOF
[Interface]
PrivateKey = $(cat "$work/$tenant-client.key")
Address = $client_inner/24

[Peer]
PublicKey = $(cat "$work/$tenant.pub")
Endpoint = $gateway_outer:$tunnel_port
AllowedIPs = $network, $cluster_network
EOF
    inside "$(client_of "$tenant")" "$programs/branchline" up "$file" \
        >"$work/$tenant-client.log" 2>&1 </dev/null || {
        cat -- "$work/$tenant-client.log" >&2
        fail "the client of $tenant has no tunnel; the words above say why"
    }
}

# --- 6. answers ---------------------------------------------------------------------------------

ask_at_once() {
    step "every client streams $answers answers from $server_inner, all at once"
    local tenant processes=() process failed=false
    for tenant in "${tenants[@]}"; do
        inside "$(client_of "$tenant")" python3 "$here/tenant.py" ask "$tenant" \
            "$server_inner:$server_port" --secret "$(secret_of "$tenant")" --count "$answers" \
            >"$work/$tenant.answers" &
        processes+=($!)
    done
    # In the background, since a trap must not wait for them.
    for process in "${processes[@]}"; do wait "$process" || failed=true; done
    ! "$failed" || fail "not every client got its own tenant's answers"
    local count first gap
    for tenant in "${tenants[@]}"; do
        read -r count first gap <"$work/$tenant.answers"
        row "$tenant (${kinds[$tenant]})" \
            "$count answers, first token $first ms, longest gap $gap ms at most"
    done
}

# --- 7. trespassing -----------------------------------------------------------------------------

trespass() {
    step "every tenant tries every address of $network and $cluster_network"
    local tenant processes=() process
    for tenant in "${tenants[@]}"; do
        inside "$(client_of "$tenant")" python3 "$here/tenant.py" probe "$server_port" \
            "$network" "$cluster_network" >"$work/$tenant.found" &
        processes+=($!)
    done
    for process in "${processes[@]}"; do wait "$process" || fail "an attempt did not end"; done
    # Nobody listens but the tenants' own servers.
    for tenant in "${tenants[@]}"; do
        row "$tenant" "found $(awk -v own="$tenant" '$1 != "asked" && $2 == own' \
            "$work/$tenant.found" | wc -l) of its own, $(foreign_of "$tenant") of others," \
            "at $(sed -n 's/^asked //p' "$work/$tenant.found") addresses"
    done
    step "every server tries its tenant's client and gateway"
    local address
    processes=()
    for tenant in "${tenants[@]}"; do
        inside "$(client_of "$tenant")" python3 -m http.server "$server_port" \
            --directory "$work/empty" </dev/null >/dev/null 2>&1 &
    done
    for tenant in "${tenants[@]}"; do
        await_listener "$tenant"
        for address in "$client_inner" "$gateway_inner"; do
            inside "$(server_of "$tenant")" python3 "$here/tenant.py" reach \
                "$address" "$server_port" &
            processes+=($!)
        done
    done
    intrusions=0
    for process in "${processes[@]}"; do
        ! wait "$process" || intrusions=$((intrusions + 1))
    done
    for tenant in "${tenants[@]}"; do
        row "$tenant" "$(denied_of "$tenant") packets denied inwards"
    done
}

# Without a listener a server's failure would prove nothing.
await_listener() {
    local _
    for _ in {1..50}; do
        ! inside "$(client_of "$1")" python3 "$here/tenant.py" reach \
            "$client_inner" "$server_port" || return 0
        sleep 0.1
    done
    fail "the client of $1 does not listen"
}

# How many servers of others a tenant found.
foreign_of() {
    awk -v own="$1" '$1 != "asked" && $2 != own' "$work/$1.found" | wc -l
}

denied_of() {
    ip netns exec "$(domain_of "$1")" nft list counter inet way_way0 denied_inwards |
        sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

# --- 8. figures and proofs ----------------------------------------------------------------------

# prompts TENANT OWN: how many prompts the tenant's server got of its own (1) or others (0).
prompts() { grep -c "^prompt own=$2" "$work/$1.requests" || true; }

prove() {
    local tenant
    step "what the servers saw"
    for tenant in "${tenants[@]}"; do
        row "$tenant" "$(prompts "$tenant" 1) prompts of its own, $(prompts "$tenant" 0) of" \
            "others, from $(sed -n 's/^prompt.*from=//p' "$work/$tenant.requests" | sort -u)"
    done
    for tenant in "${tenants[@]}"; do
        [ "$(prompts "$tenant" 1)" -eq "$answers" ] || fail "$tenant's server missed a prompt"
        [ "$(prompts "$tenant" 0)" -eq 0 ] || fail "$tenant's server got a prompt of another's"
        [ "$(foreign_of "$tenant")" -eq 0 ] || fail "$tenant found a server of another's"
        grep -q "^$server_inner $tenant$" "$work/$tenant.found" ||
            fail "$tenant did not find its own server"
        [ "$(denied_of "$tenant")" -gt 0 ] || fail "nothing of $tenant's cluster was denied"
    done
    [ "$intrusions" -eq 0 ] || fail "servers reached $intrusions addresses of their tenants"
    local processes ports
    processes=$(ip netns pids "$gateway" | wc -l)
    ports=$(inside "$gateway" ss -Hlun | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -u)
    row "the gateway" "$processes process, UDP port $ports"
    [ "$processes" -eq 1 ] || fail "the gateway is more than one process"
    [ "$ports" = "$tunnel_port" ] || fail "the gateway has other UDP ports than $tunnel_port"
}

run_lab() {
    check_machine ip nft bridge ss nsenter jq python3 -- branchline branchlined
    gateway=gateway-$$
    namespaces=() domains=()
    umask 077
    work=$(mktemp -d)
    mkdir "$work/empty"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    local tenant
    for tenant in "${tenants[@]}"; do domains+=("$(domain_of "$tenant")"); done

    make_namespaces
    start_gateway
    make_ways
    step "the tenants' servers and their clients' tunnels"
    for tenant in "${tenants[@]}"; do
        start_server "$tenant"
        start_client "$tenant"
    done
    ask_at_once
    trespass
    prove
    step "three tenants at the same addresses: each got its own answers, and nothing of another's"
}

parse_arguments answers 5 "$@"
answers=$count
"$skip_build" || prepare
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "network namespaces need root: run this as root"
    exec sudo -- "$here/run.sh" --skip-build --answers "$answers"
fi
run_lab
