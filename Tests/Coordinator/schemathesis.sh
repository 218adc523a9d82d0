#!/bin/sh
# Prints the path of schemathesis; installs it below .build where it is not there yet.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/.build/schemathesis
program=$folder/bin/schemathesis
if ! [ -x "$program" ]; then
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check 'schemathesis==4.32.5' >&2
fi
echo "$program"
