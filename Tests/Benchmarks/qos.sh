#!/bin/bash
# Measures what token streams feel of uploads through Branchline, through Branchline without its
# classifier and through wireguard-go, both ends on this machine. `qos.sh --help` lists the options;
# README.md in this directory says what the figures mean.
set -euo pipefail
benchmark_packages=(curl iperf3 libssl-dev openssh-client openssh-server python3-venv util-linux
    wireguard-go)
source "$(dirname "${BASH_SOURCE[0]}")/harness/prepare.sh"
run_benchmark qos "$@"
