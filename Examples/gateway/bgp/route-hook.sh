#!/bin/sh
# What a gateway calls as branches come and go: up|down PREFIX INTERFACE TENANT.
#
# Puts the networks of branches that are there into a routing table of their own, from which a BGP
# daemon (bird.conf, frr.conf) tells the routers of headquarters. ROUTE_TABLE names the table; a
# tenant with a network namespace of its name has the table there.
set -eu
action=$1 prefix=$2 interface=$3 tenant=$4
table=${ROUTE_TABLE:-151}
if [ -e "/run/netns/$tenant" ]; then ip() { command ip -n "$tenant" "$@"; }; fi
case "$action" in
up) ip route replace "$prefix" dev "$interface" table "$table" ;;
down) ip route delete "$prefix" dev "$interface" table "$table" 2>/dev/null || true ;;
*) echo "$0: up or down, not $action" >&2; exit 2 ;;
esac
