#!/bin/sh
# Prints the path of a Python with the clients and servers of other people that `kinds.py` names;
# installs them below .build where they are not there yet.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=$root/.build/traffic
program=$folder/bin/python3
if ! [ -e "$folder/complete" ]; then
    python3 -m venv "$folder" >&2
    "$root/Tests/Support/pip.sh" "$folder" -r "$(dirname "$0")/requirements.txt"
    touch "$folder/complete"
fi
echo "$program"
