#!/usr/bin/env bash
# snat.sh up DOMAIN --address CIDR --to CIDR... [options]
# snat.sh down DOMAIN [--device NAME]
#
# Source NAT by nftables in a tenant's domain: the cluster sees the tenant as one address, that of
# the domain, and needs no route to the tenant's own. Tenants with the same addresses share a
# cluster this way. The device is a pair as veth.sh makes. What passes is what --to and --port
# name, and answers.
#
#   --tunnel NAME         the tenant's interface in the domain (default: the domain's name and 0)
#   --device NAME         the way's device in the domain (default way0)
#   --address CIDR        the domain's address on it, which the cluster sees
#   --to CIDR             servers that the tenant may reach; may be repeated
#   --port PROTO/PORT     ports of those, such as tcp/8000 or udp/5000-5010; may be repeated
#                         (default: all)
#   --map ADDRESS=SERVER  shows a server to the tenant at an address of the tenant's own; may be
#                         repeated
#   --via ADDRESS         the router to servers beyond the network of --address
#   --cluster NAMESPACE   where the other end is (default: where this runs)
#   --peer NAME           what the other end is called (default: w- and the domain's name)
#   --peer-address CIDR   its address, where it is not in a bridge
#   --bridge NAME         the bridge that it joins, isolated from the other ways' ports
#
# Example: snat.sh up acme --address 172.20.0.3/24 --to 172.20.0.130 --port tcp/8000 \
#              --map 10.0.0.130=172.20.0.130 --bridge br0

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"
own_options="--via --cluster --peer --peer-address --bridge --map*"
via='' cluster='' peer='' peer_address='' bridge=''

# Chains that change addresses; every rule names the family of what it changes.
translations() {
    local map family
    family=$(family_of "$address")
    echo "    chain servers {"
    echo "        type nat hook prerouting priority dstnat; policy accept;"
    for map in ${maps[@]+"${maps[@]}"}; do
        echo "        iifname \"$tunnel\" $family daddr ${map%%=*} dnat $family to ${map#*=}"
    done
    echo "    }"
    echo "    chain tenant {"
    echo "        type nat hook postrouting priority srcnat; policy accept;"
    echo "        oifname \"$device\" snat $family to ${address%%/*}"
    echo "    }"
}

make_way() {
    add_filter "$(translations)"$'\n'
    make_pair
    finish_device
}

check_maps() {
    local map
    for map in ${maps[@]+"${maps[@]}"}; do
        [[ $map == *=* ]] || fail "--map: '$map' is not like 10.0.0.130=172.20.0.130"
        check_address --map "${map%%=*}"
        check_address --map "${map#*=}"
        [ "$(family_of "$map")" = "$(family_of "$address")" ] ||
            fail "--map: '$map' is of another family than --address"
    done
}

parse_arguments "$@"
check_names "$peer" "$bridge"
case $action in
    up)
        check_filter_words
        check_maps
        bring_up make_way
        ;;
    down) bring_down ;;
esac
