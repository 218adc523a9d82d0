#!/usr/bin/env bash
# A branch office streams chat answers from headquarters through Branchline, on this machine.
#
#   1. install what is missing, build                              (--skip-build leaves this out)
#   2. two network namespaces, branch and HQ, joined by a provider's line
#   3. a guard on both ends that lets nothing but the tunnel's UDP port and the coordinator's TCP
#      port pass over the link
#   4. the security admin: coordinator, organisation, tenant, one token for each side
#   5. `branchline join TOKEN` at HQ and in the branch
#   6. an inference server at HQ that listens on its tunnel address only
#   7. a few streamed completions
#   8. questions beside an upload, before and after the admin sets a QoS policy
#   9. the admin revokes the branch in the middle of a stream, which is cut
#  10. figures and proofs
#
# Steps run one after the other; everything they make is removed on every exit.
set -euo pipefail

# A link like many: its queue holds a fifth of a second.
readonly link_rate=50mbit link_bits=50000000 link_queue=200ms
readonly tunnel_port=51820
readonly server_port=8000
readonly hq_link=192.0.2.1 hq_router=192.0.2.2
readonly branch_link=198.51.100.1 branch_router=198.51.100.2
readonly coordinator_port=8443
readonly tenant=acme pool=10.64.0.0/24
# From the coordinator's answer to the last token.
readonly cut_seconds_max=1

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
source "$here/../setup.sh"
readonly here root
readonly programs=$root/.build/release
readonly server=$programs/InferenceServer
readonly python_home=$root/.build/quickstart-python
# Administration tools lie outside many users' search path.
PATH=$PATH:/usr/sbin:/sbin

usage() {
    cat <<EOF
Usage: $0 [--requests N] [--skip-build] [--help]

Sets up a coordinator, lets an HQ gateway and a branch join with a token each, streams chat
completions from an inference server at HQ to the branch, asks questions beside the same upload with
QoS off and on, and revokes the branch in the middle of an answer, all in network namespaces of this
machine. Ends with 0 only if every byte came through the tunnel and arrived intact, QoS took most of
the upload's delay off the questions, and the revoked branch was cut off within a second.

  --requests N   completions to stream, 1 to 1000 (default 4)
  --skip-build   neither install packages nor build
  --help         this text

Example: $0 --requests 8
EOF
}

# --- 1. install and build -----------------------------------------------------------------------

install_openai_client() {
    ! "$python_home/bin/python" -c 'import openai' 2>/dev/null || return 0
    step "installing the openai client for Python"
    if ! { python3 -m venv --clear "$python_home" &&
        "$python_home/bin/pip" install --quiet --disable-pip-version-check openai; }; then
        warn "no openai client; Python's standard library will do its work"
        rm -rf -- "$python_home"
    fi
}

prepare() {
    mkdir -p "$root/.build"
    # Two runs at once take turns here.
    exec 9>"$root/.build/quickstart.lock"
    flock 9
    # Not a program: the module that makes virtual environments.
    install_packages ip:iproute2 nft:nftables wg:wireguard-tools jq:jq python3:python3 git:git \
        $(python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv)
    install_openai_client
    build_release "$root"
    exec 9>&-
}

# --- 2. namespaces and link ---------------------------------------------------------------------

in_hq() { ip netns exec "$hq" "$@"; }
in_branch() { ip netns exec "$branch" "$@"; }

cleanup() {
    local status=$? namespace
    trap - EXIT
    trap '' INT TERM HUP
    for namespace in "${namespaces[@]}"; do
        stop_processes "$namespace"
        ip netns del "$namespace" 2>/dev/null || true
    done
    rm -f -- "/var/run/wireguard/$hq_device.sock" "/var/run/wireguard/$branch_device.sock"
    rm -rf -- "$work"
    exit "$status"
}

# Without IPv6 the link is silent but for the tunnel and ARP.
without_ipv6() {
    ip netns exec "$1" sh -c \
        "echo 1 >/proc/sys/net/ipv6/conf/$2/disable_ipv6" 2>/dev/null || true
}

# The queue that an upload fills is the provider's router's, as it is in the world: no end sees it.
add_link_end() {
    local namespace=$1 address=$2 router=$3 port=$4
    ip -n "$namespace" link add uplink type veth peer name "$port" netns "$provider"
    without_ipv6 "$namespace" uplink
    ip -n "$namespace" address add "$address/30" dev uplink
    ip -n "$namespace" link set uplink up
    ip -n "$namespace" route add default via "$router"
    without_ipv6 "$provider" "$port"
    ip -n "$provider" address add "$router/30" dev "$port"
    ip -n "$provider" link set "$port" up
    tc -n "$provider" qdisc add dev "$port" root tbf rate "$link_rate" burst 32kb \
        latency "$link_queue" ||
        fail "the link cannot be shaped: the kernel lacks the queueing discipline tbf (sch_tbf)"
}

make_link() {
    step "joining $branch and $hq by a line of $link_rate"
    add_namespace "$hq"
    add_namespace "$branch"
    add_namespace "$provider"
    ip netns exec "$provider" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    add_link_end "$hq" "$hq_link" "$hq_router" to-hq
    add_link_end "$branch" "$branch_link" "$branch_router" to-branch
}

# --- 3. guard -----------------------------------------------------------------------------------

# Lets only the tunnel's UDP and the coordinator's TCP over the link and counts them; counts and
# drops anything else. The ports are destinations of what arrives at HQ and sources of what leaves.
guard() {
    local namespace=$1 arriving=$2 leaving=$3
    ip netns exec "$namespace" nft -f - <<EOF || fail "the guard cannot be set: nft needs nf_tables"
table inet quickstart {
    counter initiations { }
    counter responses { }
    counter tunnel_arriving { }
    counter tunnel_leaving { }
    counter coordinator { }
    counter others { }
    chain handshakes {
        udp length 156 @th,64,8 1 counter name initiations
        udp length 100 @th,64,8 2 counter name responses
    }
    chain arriving {
        type filter hook input priority filter
        iifname "uplink" udp $arriving $tunnel_port jump handshakes
        iifname "uplink" udp $arriving $tunnel_port counter name tunnel_arriving accept
        iifname "uplink" tcp $arriving $coordinator_port counter name coordinator accept
        iifname "uplink" counter name others drop
    }
    chain leaving {
        type filter hook output priority filter
        oifname "uplink" udp $leaving $tunnel_port jump handshakes
        oifname "uplink" udp $leaving $tunnel_port counter name tunnel_leaving accept
        oifname "uplink" tcp $leaving $coordinator_port counter name coordinator accept
        oifname "uplink" counter name others drop
    }
}
EOF
}

# Prints one figure of a guard's counter: packets or bytes.
guard_count() {
    ip netns exec "$1" nft list counter inet quickstart "$2" | sed -n "s/.*$3 \([0-9]*\).*/\1/p"
}

# --- 4. coordinator and admin -------------------------------------------------------------------

# The admin sits at HQ; the keys that sign everything lie in this run's own folder.
admin() {
    in_hq env BRANCHLINE_CONFIG="$work/admin" "$programs/branchline" "$@" ||
        fail "'branchline $1 $2' failed; its words are above"
}

start_coordinator() {
    step "branchline-coordinator serve, at HQ"
    in_hq "$programs/branchline-coordinator" serve --state "$work/coordinator" \
        --listen "$hq_link:$coordinator_port" --public-url "$coordinator" \
        >"$work/coordinator.log" 2>&1 &
    local process=$! _
    for _ in {1..100}; do
        ! in_hq ss -Htln "sport = $coordinator_port" | grep -q . || return 0
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat -- "$work/coordinator.log" >&2
    fail "the coordinator did not start; its words are above"
}

# The coordinator's key, which every token carries: nobody in between can stand in for it.
server_pin() { sed -n 's/^Coordinator at .*, pin //p' "$work/coordinator.log"; }

found_organisation() {
    step "branchline admin init $coordinator"
    admin admin init "$coordinator" --setup-code "$(cat "$work/coordinator/setup-code")" \
        --pin "$(server_pin)" --no-passphrase
    step "branchline tenant add $tenant --pool $pool"
    admin tenant add "$tenant" --pool "$pool"
}

# Prints one string to hand over.
token() { admin token create --tenant "$tenant" --role "$1" --expires 1h 2>/dev/null; }

# --- 5. join ------------------------------------------------------------------------------------

# A machine of its own would keep this in /var/lib/branchline.
node() {
    local namespace=$1
    shift
    ip netns exec "$namespace" env BRANCHLINE_STATE="$work/nodes" "$programs/branchline" "$@"
}

join() {
    local name=$1 namespace=$2 device=$3 role=$4
    shift 4
    local token
    token=$(token "$role")
    step "branchline join TOKEN, at $name (a token of ${#token} characters)"
    node "$namespace" join - --interface "$device" --name "$role" "$@" <<<"$token" ||
        fail "$name could not join; its words are above"
}

# The tunnel address of a node, as the coordinator gave it out.
address_of() {
    admin node list --tenant "$tenant" --json |
        jq -er --arg role "$1" '.[] | select(.role == $role) | .addresses[0]' |
        cut -d/ -f1
}

node_key() {
    admin node list --tenant "$tenant" --json |
        jq -er --arg role "$1" '.[] | select(.role == $role) | .node'
}

# Prints a statistic of the branch's tunnel device, such as rx_bytes.
device_bytes() {
    in_branch cat "/sys/class/net/$branch_device/statistics/$1"
}

# --- 6. server ----------------------------------------------------------------------------------

start_server() {
    step "starting the inference server at HQ, on $hq_tunnel only"
    in_hq "$server" --host "$hq_tunnel" --port "$server_port" --seed 1 >"$work/server.log" 2>&1 &
    local process=$! _
    for _ in {1..100}; do
        ! grep -qs '^listening on' "$work/server.log" || break
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    if ! grep -q '^listening on' "$work/server.log"; then
        cat -- "$work/server.log" >&2
        fail "the inference server did not start; its words are above"
    fi
    local listening
    listening=$(in_hq ss -Htln "sport != $coordinator_port" | awk '{print $4}')
    [ "$listening" = "$hq_tunnel:$server_port" ] ||
        fail "HQ listens on more than the coordinator and $hq_tunnel:$server_port:" "$listening"
}

# --- 7. completions -----------------------------------------------------------------------------

stream_completions() {
    local python=$python_home/bin/python
    [ -x "$python" ] || python=python3
    step "streaming $requests completions from the branch"
    # In the background, since a trap must not wait for it.
    in_branch env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY \
        "$python" "$here/chat.py" "http://$hq_tunnel:$server_port/v1" \
        --requests "$requests" --figures "$work/figures" &
    wait "$!" || fail "the completions did not all arrive intact"
    echo
}

# --- 8. questions beside an upload ----------------------------------------------------------------

# Asks from the branch: ask NAME [OPTION...]. What was measured is NAME's figures.
ask() {
    local name=$1
    shift
    in_branch python3 "$here/upload.py" "http://$hq_tunnel:$server_port/v1" \
        --figures "$work/$name" "$@" &
    wait "$!" || fail "the questions were not all answered"
}

# The policy says how fast the branch's line is, both ways; everything else is as it is by itself.
set_qos() {
    step "branchline qos set, with the rate of the branch's line"
    printf '{"services": [], "links": {"branch": {"uplink_rate": %d, "downlink_rate": %d}}}' \
        "$link_bits" "$link_bits" >"$work/qos.json"
    admin qos set "$work/qos.json" --tenant "$tenant"
    local _
    for _ in {1..100}; do
        ! node "$branch" qos status "$branch_device" --json |
            jq -e '.[] | .link, .paths[].link | .bits_per_second? // empty' >/dev/null || return 0
        sleep 0.1
    done
    fail "the branch did not take the policy over"
}

ask_beside_upload() {
    step "asking from the branch, with the link idle"
    ask alone --without-upload
    step "asking beside an upload, QoS off"
    ask off
    set_qos
    step "asking beside the same upload, QoS on"
    ask on
}

# --- 9. revocation ------------------------------------------------------------------------------

revoke_in_mid_stream() {
    local key stream _
    key=$(node_key branch)
    in_branch python3 "$here/until_cut.py" "http://$hq_tunnel:$server_port/v1" \
        --started "$work/streaming" --figures "$work/cut" &
    stream=$!
    for _ in {1..100}; do
        [ ! -e "$work/streaming" ] || break
        sleep 0.1
    done
    step "branchline node revoke, while an answer streams"
    admin node revoke "$key" --tenant "$tenant" --yes
    revoked_at=$(date +%s.%N)
    wait "$stream" || fail "the revoked branch's stream was not cut"
    cut_ms=$(awk -v last="$(sed -n 's/^last_token_at=//p' "$work/cut")" -v revoked="$revoked_at" \
        'BEGIN { printf "%d", (last - revoked) * 1000 }')
}

# --- 10. figures and proofs ----------------------------------------------------------------------

# A figure of the completions, or of the file that is named.
figure() { sed -n "s/^$1=//p" "$work/${2:-figures}"; }
row() { printf '  %-34s %s\n' "$1" "$2"; }

report() {
    local initiations responses
    initiations=$(guard_count "$hq" initiations packets)
    responses=$(guard_count "$hq" responses packets)
    step "what the branch saw, by $(figure client)"
    row "answers intact (SHA-256)" "$(figure answers_intact) of $requests"
    row "tokens" "$(figure tokens)"
    row "time to first token p50 / max" \
        "$(figure first_token_p50_ms) / $(figure first_token_max_ms) ms"
    row "inter-token latency p50 / p99" \
        "$(figure inter_token_p50_ms) / $(figure inter_token_p99_ms) ms"
    step "what QoS did beside an upload over $link_rate: time to first token p50 / max, upload"
    local name
    for name in alone off on; do
        row "$(case $name in alone) echo "idle link" ;; *) echo "QoS $name" ;; esac)" \
            "$(figure first_token_p50_ms $name) / $(figure first_token_max_ms $name) ms,\
 $(figure upload_mbit $name) Mbit/s"
    done
    step "what passed where, in bytes from / to the branch"
    row "requests / answers" "$(figure sent_bytes) / $(figure received_bytes)"
    row "tunnel device $branch_device" "$tunnel_sent / $tunnel_received"
    row "tunnel's UDP port on the link" "$link_sent / $link_received"
    row "anything else on the link" "$others packets"
    row "handshakes" "$initiations initiations, $responses responses"
    step "what the revocation did"
    row "tokens before it" "$(sed -n 's/^tokens=//p' "$work/cut")"
    row "last token after the command" "$cut_ms ms"
    row "peers left at HQ" "$peers_left"
    step "branchline status, at the branch"
    node "$branch" status "$branch_device"
    step "branchline audit"
    admin audit
}

prove() {
    [ "$(figure answers_intact)" -eq "$requests" ] || fail "not every answer arrived intact"
    [ "$others" -eq 0 ] || fail "$others packets on the link were not the tunnel's"
    [ "$tunnel_sent" -ge "$(figure sent_bytes)" ] || fail "the tunnel carried less than was asked"
    [ "$tunnel_received" -ge "$(figure received_bytes)" ] ||
        fail "the tunnel carried less than was answered"
    [ "$link_sent" -ge "$(figure sent_bytes)" ] || fail "the link carried less than was asked"
    [ "$link_received" -ge "$(figure received_bytes)" ] ||
        fail "the link carried less than was answered"
    local idle off on
    idle=$(figure first_token_p50_ms alone)
    off=$(($(figure first_token_p50_ms off) - idle)) on=$(($(figure first_token_p50_ms on) - idle))
    [ $((on * 2)) -lt "$off" ] ||
        fail "with QoS the upload adds $on ms to a first token, and without it $off ms"
    [ "$cut_ms" -le $((cut_seconds_max * 1000)) ] ||
        fail "the revoked branch still got tokens $cut_ms ms later"
    [ "$peers_left" -eq 0 ] || fail "HQ still has the revoked branch as a peer"
}

run_lab() {
    check_machine ip tc nft wg ss jq python3 \
        -- branchline branchlined branchline-coordinator InferenceServer
    hq=quickstart-$$-hq branch=quickstart-$$-branch provider=quickstart-$$-provider
    # Control sockets are found by device name across namespaces, so these are unique too.
    hq_device=qh$$ branch_device=qb$$
    namespaces=()
    umask 077
    work=$(mktemp -d)
    coordinator=https://$hq_link:$coordinator_port
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    make_link
    guard "$hq" dport sport
    guard "$branch" sport dport
    start_coordinator
    found_organisation
    join HQ "$hq" "$hq_device" gateway --listen-port "$tunnel_port" \
        --endpoint "$hq_link:$tunnel_port"
    join "the branch" "$branch" "$branch_device" branch
    hq_tunnel=$(address_of gateway)
    step "branchline node list"
    admin node list --tenant "$tenant"
    start_server
    local sent_before received_before
    sent_before=$(device_bytes tx_bytes) received_before=$(device_bytes rx_bytes)
    stream_completions
    tunnel_sent=$(($(device_bytes tx_bytes) - sent_before))
    tunnel_received=$(($(device_bytes rx_bytes) - received_before))
    link_sent=$(guard_count "$branch" tunnel_leaving bytes)
    link_received=$(guard_count "$branch" tunnel_arriving bytes)
    others=$(($(guard_count "$hq" others packets) + $(guard_count "$branch" others packets)))
    ask_beside_upload
    revoke_in_mid_stream
    peers_left=$(in_hq wg show "$hq_device" peers | wc -l)
    report
    prove
    step "every byte came through the tunnel and arrived intact; the revoked branch was cut off"
}

parse_arguments requests 4 "$@"
requests=$count
"$skip_build" || prepare
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "network namespaces need root: run this as root"
    exec sudo -- "$here/run.sh" --skip-build --requests "$requests"
fi
run_lab
