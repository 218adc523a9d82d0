#!/bin/sh
# Builds the fuzz targets with the pure modules they exercise, all instrumented by libFuzzer and
# AddressSanitizer.
#
#   Tests/Fuzzing/build.sh [TARGET...]       without a name: all of Targets/
#
# SwiftPM links no libFuzzer target against modules that are not products, so the compiler is
# called directly. Only swift-crypto is SwiftPM's to build, without instrumentation. Output goes to
# .build/fuzzing in the package (FUZZING_BUILD names another folder); a module is compiled again
# only when a source of it or of an earlier module is newer.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
package=$(cd "$here/../.." && pwd)
output=${FUZZING_BUILD:-$package/.build/fuzzing}
mkdir -p "$output"

# In the order of their dependencies.
modules="PacketMemory Cryptography PacketFormats WireGuardProtocol WireGuardConfiguration
    ControlModel InferenceTraffic"

# Overflow and bounds checks stay on at -O; they are what the fuzzer looks for.
flags="-O -g -use-ld=lld -swift-version 6 -package-name branchline -sanitize=fuzzer,address
    -enable-upcoming-feature ExistentialAny -enable-upcoming-feature InternalImportsByDefault
    -enable-upcoming-feature MemberImportVisibility -I $output -I $output/CBlake2s
    -I $package/Sources/CSodium"
libraries="-lsodium"
if [ "$(uname -m)" = x86_64 ]; then
    flags="$flags -I $package/Sources/CMultiBuffer"
    libraries="$libraries -lIPSec_MB"
fi

newer() { # FILE SOURCE...: whether FILE is missing or a source is newer
    target=$1
    shift
    [ -e "$target" ] || return 0
    for source in "$@"; do [ "$source" -nt "$target" ] && return 0; done
    return 1
}

# The C compiler of the Swift toolchain, and the module map that SwiftPM would make.
clang=$(dirname "$(readlink -f "$(command -v swiftc)")")/clang
blake=$package/Sources/CBlake2s
mkdir -p "$output/CBlake2s"
printf 'module CBlake2s { header "%s/include/CBlake2s.h" export * }\n' "$blake" \
    > "$output/CBlake2s/module.modulemap"
objects=$output/CBlake2s.o
if newer "$objects" "$blake/CBlake2s.c" "$blake/include/CBlake2s.h" "$here/build.sh"; then
    echo "compiling CBlake2s" >&2
    "$clang" -O2 -g -fsanitize=address -I "$blake/include" -c "$blake/CBlake2s.c" -o "$objects"
fi

# One archive of swift-crypto, and its modules without those of ours beside them.
swift build --package-path "$package" -c release --target Crypto >&2
binaries=$(swift build --package-path "$package" -c release --show-bin-path)
crypto=$output/libcrypto.a
if newer "$crypto" "$binaries/Modules/Crypto.swiftmodule"; then
    cp "$binaries/Modules/Crypto.swiftmodule" "$binaries/Modules/CryptoBoringWrapper.swiftmodule" \
        "$output"
    rm -f "$crypto"
    # Files of one name lie in several folders: they are appended, not replaced.
    for part in Crypto CryptoBoringWrapper CCryptoBoringSSL CCryptoBoringSSLShims CXKCP CXKCPShims
    do find "$binaries/$part.build" -name '*.o' -print0; done | xargs -0 ar qcs "$crypto"
fi
objects="$objects $crypto"
libraries="$libraries -lstdc++"

for module in $modules; do
    object=$output/$module.o
    sources=$(find "$package/Sources/$module" -name '*.swift')
    # shellcheck disable=SC2086
    if newer "$object" $sources $objects "$here/build.sh"; then
        echo "compiling $module" >&2
        # shellcheck disable=SC2086
        swiftc $flags -parse-as-library -wmo -module-name "$module" -emit-module \
            -emit-module-path "$output/$module.swiftmodule" -emit-object -o "$object" \
            $sources
    fi
    objects="$objects $object"
done

if [ $# -eq 0 ]; then
    for source in "$here/Targets/"*.swift; do
        name=$(basename "$source" .swift)
        [ "$name" = FuzzInput ] || set -- "$@" "$name"
    done
fi
for name in "$@"; do
    # shellcheck disable=SC2086
    if newer "$output/$name" "$here/Targets/$name.swift" "$here/Targets/FuzzInput.swift" $objects
    then
        echo "linking $name" >&2
        # shellcheck disable=SC2086
        swiftc $flags -parse-as-library -wmo -module-name "$name" -o "$output/$name" \
            "$here/Targets/FuzzInput.swift" "$here/Targets/$name.swift" $objects $libraries
    fi
done
