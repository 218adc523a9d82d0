#!/bin/sh
# Prints the path of a Python with pytest, Debian's `cryptography` and kyber-py; installs the last
# below .build where it is not there yet.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/.build/protocol
if ! [ -e "$folder/complete" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$folder" >&2
    "$root/Tests/Support/pip.sh" "$folder" 'kyber-py==1.2.0'
    touch "$folder/complete"
fi
echo "$folder/bin/python3"
