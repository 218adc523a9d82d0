#!/bin/sh
# Runs every input of Corpus/ through its fuzz target once; fails if one crashes.
#
#   Tests/Fuzzing/replay.sh [TARGET...]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
output=${FUZZING_BUILD:-$(cd "$here/../.." && pwd)/.build/fuzzing}
[ $# -gt 0 ] || set -- WireMessages IPPackets UAPIText ConfigurationText SignedStatements \
    StreamScanners
"$here/build.sh" "$@"
export SWIFT_BACKTRACE=enable=no

for target in "$@"; do
    inputs=$(find "$here/Corpus/$target" -type f | wc -l)
    [ "$inputs" -gt 0 ] || { echo "Corpus/$target is empty" >&2; exit 1; }
    if ! "$output/$target" -runs=0 -timeout=10 -artifact_prefix="$output/" \
        "$here/Corpus/$target" > "$output/$target.replay" 2>&1
    then
        cat "$output/$target.replay" >&2
        echo "$target: an input of Corpus/$target fails, see above" >&2
        exit 1
    fi
    echo "$target: $inputs inputs replayed"
done
