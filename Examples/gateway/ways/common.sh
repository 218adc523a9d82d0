# What the ways out of a tenant's domain have in common; each of them sources this file.
#
# A domain is a network namespace with the tenant's tunnel interface in it. A way adds one device
# that leads to the cluster, and a filter of its own: the tenant reaches the servers and ports that
# are named, the cluster side reaches nothing by itself, and answers pass.
# shellcheck shell=bash
set -euo pipefail
# Administration tools lie outside many users' search path.
PATH=$PATH:/usr/sbin:/sbin

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Prints the comment at the top of the script, which is its manual.
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# parse_arguments ARGUMENT...; the script's own options are names in `own_options`, each of them
# becomes a variable: --peer-address fills peer_address.
parse_arguments() {
    action='' domain='' tunnel='' device=way0 address='' to=() ports=() maps=()
    while [ $# -gt 0 ]; do
        local option=$1 name
        case $option in
            -h | --help)
                usage
                exit 0
                ;;
            --*)
                [ $# -ge 2 ] || fail "$option needs a value; see --help"
                case " --tunnel --device --address $own_options " in
                    *" $option "*)
                        name=${option#--}
                        printf -v "${name//-/_}" %s "$2"
                        ;;
                    *)
                        case $option in
                            --to) to+=("$2") ;;
                            --port) ports+=("$2") ;;
                            --map)
                                [[ " $own_options " == *" --map* "* ]] ||
                                    fail "unknown option '--map'; see --help"
                                maps+=("$2")
                                ;;
                            *) fail "unknown option '$option'; see --help" ;;
                        esac
                        ;;
                esac
                shift
                ;;
            up | down)
                [ -z "$action" ] || fail "unexpected argument '$option'; see --help"
                action=$option
                ;;
            *)
                [ -n "$action" ] && [ -z "$domain" ] ||
                    fail "unexpected argument '$option'; see --help"
                domain=$option
                ;;
        esac
        shift
    done
    [ -n "$domain" ] || fail "say what to do and in which domain; see --help"
    : "${tunnel:=${domain}0}"
}

# Refuses what would become a word of a command or of a filter rule.
check_names() {
    local name
    [[ $domain =~ ^[A-Za-z0-9_=+][A-Za-z0-9_=+.-]{0,63}$ ]] ||
        fail "'$domain' cannot name a network namespace"
    [[ $device =~ ^[A-Za-z][A-Za-z0-9_.-]*$ ]] ||
        fail "'$device' cannot name a way: letters, digits and _.- after a letter"
    for name in "$tunnel" "$device" "$@"; do
        [ -z "$name" ] || [[ $name =~ ^[A-Za-z0-9_=+][A-Za-z0-9_=+.-]{0,14}$ ]] ||
            fail "'$name' cannot name an interface"
    done
}

check_address() {
    [[ $2 =~ ^[0-9a-fA-F.:]+(/[0-9]{1,3})?$ ]] || fail "$1: '$2' is no address"
}

check_filter_words() {
    local word
    [ -n "$address" ] || fail "--address is missing: the domain's address on the way"
    check_address --address "$address"
    [ ${#to[@]} -gt 0 ] || fail "--to is missing: the servers that may be reached"
    for word in "${to[@]}"; do check_address --to "$word"; done
    for word in ${ports[@]+"${ports[@]}"}; do
        [[ $word =~ ^(tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?$ ]] ||
            fail "--port: '$word' is not like tcp/8000 or udp/5000-5010"
    done
}

check_domain() {
    [ -e "/run/netns/$domain" ] ||
        fail "there is no network namespace $domain; the gateway makes it, or 'ip netns add'"
    in_domain true 2>/dev/null ||
        fail "the network namespace $domain cannot be entered: be root; if you are, the program" \
            "that made it has mounts of its own (PrivateMounts or ProtectSystem in its unit)"
    ip -n "$domain" link show dev "$tunnel" >/dev/null 2>&1 ||
        fail "there is no interface $tunnel in $domain; name the tenant's with --tunnel"
    ! ip -n "$domain" link show dev "$device" >/dev/null 2>&1 ||
        fail "there is an interface $device in $domain already; see 'down' and --device"
}

in_domain() { nsenter --net="/run/netns/$domain" "$@"; }

family_of() { case $1 in *:*) echo ip6 ;; *) echo ip ;; esac; }

# The filter comes before the device, so that nothing passes unfiltered at any time.
# add_filter [NAT-RULES]
add_filter() {
    local target port services=() rules='' service
    for target in "${to[@]}"; do
        if [ ${#ports[@]} -eq 0 ]; then services+=("$(family_of "$target") daddr $target"); fi
        for port in ${ports[@]+"${ports[@]}"}; do
            services+=("$(family_of "$target") daddr $target ${port%%/*} dport ${port#*/}")
        done
    done
    for service in "${services[@]}"; do
        rules+="        oifname \"$device\" iifname \"$tunnel\" $service counter accept"$'\n'
    done
    # Adding first makes deletion succeed whether or not there is one.
    in_domain nft -f - <<EOF || fail "nft refused the filter of $device in $domain"
add table inet way_$device
delete table inet way_$device
table inet way_$device {
    counter denied_inwards { }
    counter denied_outwards { }
    counter forged { }
    # Answers to a source must leave by the same way. A router on it may be one that nothing is
    # sent to; its errors pass, as what they quote must belong to an established flow.
    chain sources {
        type filter hook prerouting priority raw; policy accept;
        iifname "$device" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname "$device" icmp type { destination-unreachable, time-exceeded } \
            fib saddr oif missing accept
        iifname "$device" icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } \
            fib saddr oif missing accept
        iifname "$device" fib saddr . iif oif missing counter name forged drop
    }
    chain forwarded {
        type filter hook forward priority filter; policy accept;
        iifname "$device" ct state established,related accept
        iifname "$device" counter name denied_inwards drop
        oifname "$device" ct state established,related accept
$rules        oifname "$device" counter name denied_outwards drop
    }
    chain received {
        type filter hook input priority filter; policy accept;
        iifname "$device" ct state established,related accept
        iifname "$device" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname "$device" counter name denied_inwards drop
    }
${1-}}
EOF
}

remove_filter() {
    in_domain nft -f - <<EOF || fail "nft did not remove the filter of $device in $domain"
add table inet way_$device
delete table inet way_$device
EOF
}

# Gives the device, which is in the domain by now, its address, and lets the domain forward.
finish_device() {
    local family
    family=$(family_of "$address")
    # The domain answers for its address on this device, not for those of the tunnel.
    set_sysctl "net/ipv4/conf/$device/arp_ignore" 1
    set_sysctl "net/ipv4/conf/$device/arp_announce" 2
    set_sysctl "net/ipv6/conf/$device/accept_ra" 0
    [ "$family" = ip6 ] || set_sysctl "net/ipv6/conf/$device/disable_ipv6" 1
    add_address "$address" "$device" ip -n "$domain"
    ip -n "$domain" link set dev "$device" up
    local target
    for target in "${to[@]}"; do
        if [ -n "${via:-}" ]; then
            ip -n "$domain" route replace "$target" via "$via" dev "$device"
        elif [ -z "$(ip -n "$domain" -f "$(ip_family "$target")" route show to match "$target" \
            dev "$device")" ]; then
            ip -n "$domain" route replace "$target" dev "$device"
        fi
    done
    if [ "$family" = ip6 ]; then
        set_sysctl net/ipv6/conf/all/forwarding 1
    else
        set_sysctl net/ipv4/ip_forward 1
    fi
}

ip_family() { case $1 in *:*) echo inet6 ;; *) echo inet ;; esac; }

# add_address CIDR DEVICE IP-COMMAND...; nobody else has the address, so that IPv6 need not ask.
add_address() {
    local cidr=$1 name=$2 words=()
    shift 2
    [ "$(ip_family "$cidr")" = inet ] || words=(nodad)
    "$@" address add "$cidr" dev "$name" ${words[@]+"${words[@]}"}
}

set_sysctl() { in_domain sh -c "[ ! -e /proc/sys/$1 ] || echo $2 >/proc/sys/$1"; }

remove_device() { ip -n "$domain" link delete dev "$device" 2>/dev/null || true; }

# Runs what makes the way, and takes back what was made if it fails.
bring_up() {
    check_domain
    trap 'remove_device; remove_filter' EXIT
    "$@"
    trap - EXIT
    echo "$device leads from $domain to ${to[*]}"
}

bring_down() {
    # With its namespace the whole way is gone already.
    [ -e "/run/netns/$domain" ] || return 0
    remove_device
    remove_filter
}

# Makes a veth pair with one end in the domain; the other goes to `cluster`, or stays here.
make_pair() {
    local far=${peer:-}
    : "${far:=w-${domain:0:13}}"
    local place=()
    [ -z "${cluster:-}" ] || place=(netns "$cluster")
    ip link add dev "$device" netns "$domain" type veth peer name "$far" ${place[@]+"${place[@]}"}
    local at=(ip)
    [ -z "${cluster:-}" ] || at=(ip -n "$cluster")
    [ -z "${peer_address:-}" ] || add_address "$peer_address" "$far" "${at[@]}"
    if [ -n "${bridge:-}" ]; then
        "${at[@]}" link set dev "$far" master "$bridge"
        # Ports that are isolated reach the servers' ports, and never each other.
        nsenter_cluster bridge link set dev "$far" isolated on
    fi
    "${at[@]}" link set dev "$far" up
}

nsenter_cluster() {
    if [ -n "${cluster:-}" ]; then nsenter --net="/run/netns/$cluster" "$@"; else "$@"; fi
}
