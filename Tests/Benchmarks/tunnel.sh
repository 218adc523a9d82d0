#!/bin/bash
# Measures Branchline's tunnel beside the bare link, wireguard-go and OpenVPN, both ends on this
# machine. `tunnel.sh --help` lists the options; README.md in this directory says what the figures
# mean.
set -euo pipefail
benchmark_packages=(iperf3 openvpn wireguard-go)
source "$(dirname "${BASH_SOURCE[0]}")/harness/prepare.sh"
run_benchmark tunnel "$@"
