#!/usr/bin/env bash
# vlan.sh up DOMAIN --parent NAME --id NUMBER --address CIDR --to CIDR... [options]
# vlan.sh down DOMAIN [--device NAME]
#
# A VLAN of one of this host's interfaces, given to a tenant's domain: the switch keeps tenants
# apart as far as the servers. What passes is what --to and --port name, and answers.
#
#   --tunnel NAME         the tenant's interface in the domain (default: the domain's name and 0)
#   --device NAME         the way's device in the domain (default way0)
#   --parent NAME         the interface that leads to the switch
#   --id NUMBER           the VLAN, 1 to 4094; each tenant has its own
#   --address CIDR        the domain's address on it
#   --to CIDR             servers that the tenant may reach; may be repeated
#   --port PROTO/PORT     ports of those, such as tcp/8000 or udp/5000-5010; may be repeated
#                         (default: all)
#   --via ADDRESS         the router to servers beyond the network of --address
#
# Example: vlan.sh up acme --parent eth1 --id 100 --address 10.0.0.129/25 --to 10.0.0.130

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"
own_options="--via --parent --id"
via='' parent='' id=''

make_way() {
    add_filter
    # It has a name of this run's own until it is in the domain, where way0 is free.
    local passing="v$$"
    ip link add link "$parent" name "$passing" type vlan id "$id" ||
        fail "no VLAN $id on $parent; the kernel may lack VLANs (modprobe 8021q), see macvlan.sh"
    if ! ip link set dev "$passing" netns "$domain" name "$device"; then
        ip link delete dev "$passing"
        fail "$domain did not get the VLAN's device"
    fi
    finish_device
}

parse_arguments "$@"
check_names "$parent"
case $action in
    up)
        [ -n "$parent" ] || fail "--parent is missing: the interface that leads to the switch"
        [[ $id =~ ^[1-9][0-9]{0,3}$ ]] && [ "$id" -le 4094 ] ||
            fail "--id must be a number from 1 to 4094, not '$id'"
        check_filter_words
        bring_up make_way
        ;;
    down) bring_down ;;
esac
