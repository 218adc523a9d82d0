#!/usr/bin/env bash
# macvlan.sh up DOMAIN --parent NAME --address CIDR --to CIDR... [options]
# macvlan.sh down DOMAIN [--device NAME]
#
# A device with a hardware address of its own on one of this host's interfaces, given to a tenant's
# domain: the domain is a host in the servers' network. It is private, so that no domain reaches
# another through the interface they share. What passes is what --to and --port name, and answers.
#
#   --tunnel NAME         the tenant's interface in the domain (default: the domain's name and 0)
#   --device NAME         the way's device in the domain (default way0)
#   --parent NAME         the interface that leads to the servers
#   --address CIDR        the domain's address on it
#   --to CIDR             servers that the tenant may reach; may be repeated
#   --port PROTO/PORT     ports of those, such as tcp/8000 or udp/5000-5010; may be repeated
#                         (default: all)
#   --via ADDRESS         the router to servers beyond the network of --address
#
# Servers need a route to the tenant's addresses by the domain's, or none where snat.sh is used.
#
# Example: macvlan.sh up acme --parent eth1 --address 10.0.0.129/25 --to 10.0.0.130

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"
own_options="--via --parent"
via='' parent=''

make_way() {
    add_filter
    # It has a name of this run's own until it is in the domain, where way0 is free.
    local passing="m$$"
    ip link add link "$parent" name "$passing" type macvlan mode private ||
        fail "no macvlan on $parent; the kernel may lack it (modprobe macvlan), see veth.sh"
    if ! ip link set dev "$passing" netns "$domain" name "$device"; then
        ip link delete dev "$passing"
        fail "$domain did not get the macvlan device"
    fi
    finish_device
}

parse_arguments "$@"
check_names "$parent"
case $action in
    up)
        [ -n "$parent" ] || fail "--parent is missing: the interface that leads to the servers"
        check_filter_words
        bring_up make_way
        ;;
    down) bring_down ;;
esac
