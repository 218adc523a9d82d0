#!/usr/bin/env bash
# veth.sh up DOMAIN --address CIDR --to CIDR... [options]
# veth.sh down DOMAIN [--device NAME]
#
# A pair of virtual devices from a tenant's domain to the cluster: one end in the domain, the other
# on this host, in a bridge, or in the namespace of a server. What passes is what --to and --port
# name, and answers.
#
#   --tunnel NAME         the tenant's interface in the domain (default: the domain's name and 0)
#   --device NAME         the way's device in the domain (default way0)
#   --address CIDR        the domain's address on it
#   --to CIDR             servers that the tenant may reach; may be repeated
#   --port PROTO/PORT     ports of those, such as tcp/8000 or udp/5000-5010; may be repeated
#                         (default: all)
#   --via ADDRESS         the router to servers beyond the network of --address
#   --cluster NAMESPACE   where the other end is (default: where this runs)
#   --peer NAME           what the other end is called (default: w- and the domain's name)
#   --peer-address CIDR   its address, where it is not in a bridge
#   --bridge NAME         the bridge that it joins, isolated from the other ways' ports
#
# Example: veth.sh up acme --address 10.0.0.129/25 --to 10.0.0.130 --port tcp/8000 --bridge br0

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"
own_options="--via --cluster --peer --peer-address --bridge"
via='' cluster='' peer='' peer_address='' bridge=''

make_way() {
    add_filter
    make_pair
    finish_device
}

parse_arguments "$@"
check_names "$peer" "$bridge"
case $action in
    up)
        check_filter_words
        bring_up make_way
        ;;
    down) bring_down ;;
esac
