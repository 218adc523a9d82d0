#!/bin/sh
# Installs into a virtual environment with patience: pip.sh FOLDER ARGUMENT...
set -eu
folder=$1
shift
for pause in 5 20 60; do
    if "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2; then exit 0; fi
    sleep "$pause"
done
exec "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
