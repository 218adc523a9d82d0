#!/bin/sh
# Fuzzes what reads untrusted bytes, guided by coverage (libFuzzer, AddressSanitizer).
#
#   Tests/Fuzzing/run.sh [--seconds N] [TARGET...]
#
# Without a name all targets run one after the other, N seconds each (default 60):
#
#   WireMessages        datagrams: two devices over virtual time; Session.open and the replay window
#   IPPackets           IP packets: views, segmenter, coalescer, ICMP answers
#   UAPIText            requests and answers of the configuration protocol
#   ConfigurationText   wg-quick files
#   SignedStatements    chains, join texts, key files, lines of watch streams
#   StreamScanners      pieces of TCP streams: HTTP/1.1, HTTP/2, TLS, in and out of order
#
# To fuzz longer, give one target a night: Tests/Fuzzing/run.sh --seconds 28800 WireMessages
# It begins with Corpus/TARGET and what earlier runs found, which stays in .build/fuzzing/found.
# When it ends the corpus is minimised: inputs that reach something new are copied to
# Corpus/TARGET; commit them. A crash ends the run with its input in .build/fuzzing/crashes: fix the
# cause and move the input to Corpus/TARGET as crash-<what it was>, so that it is replayed for ever.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
output=${FUZZING_BUILD:-$(cd "$here/../.." && pwd)/.build/fuzzing}
seconds=60
if [ "${1:-}" = --seconds ]; then
    seconds=$2
    shift 2
fi
[ $# -gt 0 ] || set -- WireMessages IPPackets UAPIText ConfigurationText SignedStatements \
    StreamScanners
"$here/build.sh" "$@"

# The fuzzer reports crashes; Swift's own report would only slow it down.
export SWIFT_BACKTRACE=enable=no

for target in "$@"; do
    found=$output/found/$target
    corpus=$here/Corpus/$target
    mkdir -p "$found" "$corpus" "$output/crashes"
    dictionary=
    [ ! -e "$here/Dictionaries/$target" ] || dictionary=-dict=$here/Dictionaries/$target
    # shellcheck disable=SC2086
    "$output/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 $dictionary -artifact_prefix="$output/crashes/$target-" \
        "$found" "$corpus"
    # Edges alone decide, not how often they are taken: a tenth of the files with all of the code.
    "$output/$target" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$corpus" "$found"
done
