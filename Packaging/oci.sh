#!/usr/bin/env bash
# Assembles container images of branchline (tunnel, gateway, commands) and branchline-coordinator as
# OCI image layouts, without any engine:
#
#   Packaging/oci.sh [FOLDER]     FOLDER/branchline and FOLDER/branchline-coordinator
#                                 (.build/images if nothing is given)
#   skopeo copy oci:FOLDER/branchline:VERSION docker://REGISTRY/branchline:VERSION
#
# An image has the programs, Debian's libraries that they need, and certificates of authorities: no
# shell, no package manager. The coordinator's has cat, too, for its set-up code. PROGRAMS and
# VERSION are as in debian.sh, COMPRESSION is gzip, or none to be quick; the same commit,
# programs and libraries give the same image to the byte.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source Packaging/programs.sh
readonly output="${1:-.build/images}" user=65532
readonly media=application/vnd.oci.image

# Moves a file among the blobs, and prints its digest and size: blob FILE
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    mv "$1" "$layout/blobs/sha256/$digest"
    echo "sha256:$digest $(stat -c %s "$layout/blobs/sha256/$digest")"
}

# Prints the descriptor of a blob: descriptor MEDIA-TYPE DIGEST SIZE
descriptor() {
    jq -nc --arg type "$1" --arg digest "$2" --argjson size "$3" \
        '{mediaType: $type, digest: $digest, size: $size}'
}

# Makes a layer of a folder, or of a path in it, whose files belong to one user:
# layer FOLDER USER [PATH]
layer() {
    local digest size file="$scratch/layer.tar" type="$media.layer.v1.tar"
    tar --sort=name --format=gnu --numeric-owner --owner="$2" --group="$2" \
        --mtime="@$SOURCE_DATE_EPOCH" -C "$1" -cf "$file" "${3:-.}"
    diffs+=("sha256:$(sha256sum "$file" | cut -d ' ' -f 1)")
    if [ "${COMPRESSION:-gzip}" = gzip ]; then
        gzip -9n "$file"
        file+=.gz type+=+gzip
    fi
    read -r digest size < <(blob "$file")
    layers+=("$(descriptor "$type" "$digest" "$size")")
}

# What every image needs beside its programs: libraries FOLDER PROGRAM...
libraries() {
    local root="$1" path
    shift
    while read -r path; do
        install -D -m 755 "$path" "$root$path"
    done < <(ldd "$@" | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    cat >"$root/etc/passwd" <<END
root:x:0:0:root:/root:/sbin/nologin
branchline:x:$user:$user:Branchline:/var/lib/branchline-coordinator:/sbin/nologin
END
    printf 'root:x:0:\nbranchline:x:%s:\n' $user >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    install -d -m 1777 "$root/tmp"
    install -d "$root/run" "$root/var"
    ln -s ../run "$root/var/run"
}

# Writes the layout of the layers: image NAME CONFIGURATION
image() {
    local created digest size
    created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    jq -n --arg created "$created" --arg architecture "$(dpkg --print-architecture)" \
        --argjson config "$2" --args \
        '{created: $created, architecture: $architecture, os: "linux", config: $config,
          rootfs: {type: "layers", diff_ids: $ARGS.positional}}' "${diffs[@]}" >"$scratch/config"
    read -r digest size < <(blob "$scratch/config")
    jq -n --arg type "$media.manifest.v1+json" --arg title "$1" --arg version "$VERSION" \
        --arg created "$created" --argjson config "$(
            descriptor "$media.config.v1+json" "$digest" "$size")" --jsonargs \
        '{schemaVersion: 2, mediaType: $type, config: $config, layers: $ARGS.positional,
          annotations: {"org.opencontainers.image.title": $title,
            "org.opencontainers.image.version": $version,
            "org.opencontainers.image.created": $created}}' "${layers[@]}" >"$scratch/manifest"
    read -r digest size < <(blob "$scratch/manifest")
    descriptor "$media.manifest.v1+json" "$digest" "$size" |
        jq --arg type "$media.index.v1+json" --arg version "$VERSION" \
            '{schemaVersion: 2, mediaType: $type, manifests: [
              . + {annotations: {"org.opencontainers.image.ref.name": $version}}]}' \
            >"$layout/index.json"
    echo '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
}

# Begins an image anew: begin NAME PROGRAM...
begin() {
    local root="$scratch/$1" program
    layout="$output/$1" diffs=() layers=()
    shift
    rm -rf -- "$layout"
    mkdir -p "$layout/blobs/sha256" "$root/libraries" "$root/programs/usr/bin"
    libraries "$root/libraries" "${@/#/$PROGRAMS/}"
    layer "$root/libraries" 0
    for program in "$@"; do
        strip -o "$root/programs/usr/bin/$program" "$PROGRAMS/$program"
        chrpath --delete "$root/programs/usr/bin/$program" >/dev/null
    done
    layer "$root/programs" 0
}

# Adds a program of this system, whose libraries are there: tool NAME
tool() {
    mkdir -p "$scratch/$1/usr/bin"
    cp "$(command -v "$1")" "$scratch/$1/usr/bin/"
    layer "$scratch/$1" 0
}

install_packages binutils ca-certificates chrpath jq
find_programs
umask 022
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

begin branchline branchline branchlined
image branchline '{"Entrypoint": ["/usr/bin/branchlined", "--foreground"],
    "Cmd": ["--gateway", "/var/lib/branchline/gateway"],
    "Env": ["PATH=/usr/bin", "LOG_LEVEL=info"],
    "Volumes": {"/var/lib/branchline": {}}}'

begin branchline-coordinator branchline-coordinator
tool cat
# The state folder belongs to the user, who is not root. Only it is in the layer: folders above it
# are root's.
install -d -m 700 "$scratch/state/var/lib/branchline-coordinator"
layer "$scratch/state" $user var/lib/branchline-coordinator
image branchline-coordinator "{\"User\": \"$user:$user\",
    \"Entrypoint\": [\"/usr/bin/branchline-coordinator\"], \"Cmd\": [\"serve\"],
    \"Env\": [\"PATH=/usr/bin\",
        \"BRANCHLINE_COORDINATOR_STATE=/var/lib/branchline-coordinator\"],
    \"ExposedPorts\": {\"8443/tcp\": {}},
    \"Volumes\": {\"/var/lib/branchline-coordinator\": {}}}"
