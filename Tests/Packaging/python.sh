#!/bin/sh
# Prints the path of a Python with pytest and what validates bills of materials and Kubernetes
# manifests; installs the latter below .build where it is not there yet.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/.build/packaging
versions="cyclonedx-python-lib[json-validation]==11.12.0 kubernetes-validate==1.37.0"
if ! [ -e "$folder/complete" ] || [ "$(cat "$folder/complete")" != "$versions" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$folder" >&2
    # shellcheck disable=SC2086
    "$root/Tests/Support/pip.sh" "$folder" $versions
    echo "$versions" >"$folder/complete"
fi
echo "$folder/bin/python3"
