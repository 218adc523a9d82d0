#!/bin/bash
# Measures a gateway with many tenants: isolation, fairness, floods, scale, failover and upgrade.
# `tenants.sh --help` lists the options; README.md in this directory says what the figures mean.
set -euo pipefail
benchmark_packages=(iperf3 nftables python3-pytest util-linux)
source "$(dirname "${BASH_SOURCE[0]}")/harness/prepare.sh"
run_benchmark tenants "$@"
