#!/bin/sh
# Prints the path of a Python with pytest, Debian's `cryptography` and kyber-py; installs the last
# below .build where it is not there yet.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/.build/protocol
version=1.2.0
if ! [ -e "$folder/complete-$version" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$folder" >&2
    "$root/Tests/Support/pip.sh" "$folder" "kyber-py==$version"
    touch "$folder/complete-$version"
fi
echo "$folder/bin/python3"
