#!/bin/bash
# Measures the coordinator: joins, revocations, watchers and deltas, on this machine.
# `coordinator.sh --help` lists the options; README.md in this directory says what the figures mean.
set -euo pipefail
benchmark_packages=(libssl-dev postgresql python3-aiohttp python3-cryptography)
source "$(dirname "${BASH_SOURCE[0]}")/harness/prepare.sh"
run_benchmark coordinator "$@"
