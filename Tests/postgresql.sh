#!/usr/bin/env bash
# A throw-away PostgreSQL server for the tests, on a Unix socket in DIR and nowhere else.
#
#   Tests/postgresql.sh start DIR     makes it, waits for it and prints its conninfo
#   Tests/postgresql.sh restart DIR   stops it at once, as a crash would, and starts it again
#   Tests/postgresql.sh stop DIR      ends it and removes DIR
#
# Needs Debian's postgresql. Run as root, it becomes postgres or nobody: initdb refuses root.
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
}

[ $# -eq 2 ] || usage
readonly DIR="$2"
# The newest version that is installed.
BIN="$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)"
readonly BIN
[ -x "$BIN/initdb" ] || {
    echo "PostgreSQL is not installed: apt-get install postgresql" >&2
    exit 1
}

USER_NAME="$(id -un)"
if [ "$(id -u)" -eq 0 ]; then
    USER_NAME=postgres
    id -u postgres >/dev/null 2>&1 || USER_NAME=nobody
fi
readonly USER_NAME

as_user() {
    if [ "$(id -un)" = "$USER_NAME" ]; then "$@"; else setpriv --reuid "$USER_NAME" \
        --regid "$(id -g "$USER_NAME")" --clear-groups env HOME="$DIR" "$@"; fi
}

# Only whoever may reach the socket's folder gets in; there is no TCP. The server outlives this
# script: it must not keep a descriptor open by whose end somebody waits for the script.
launch() {
    (
        for descriptor in /proc/"$BASHPID"/fd/*; do
            [ "${descriptor##*/}" -le 2 ] || eval "exec ${descriptor##*/}>&-"
        done
        as_user "$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -w -t 30 -s start </dev/null >&2
    ) || {
        tail -n 20 "$DIR/log" >&2
        exit 1
    }
}

case "$1" in
start)
    mkdir -p "$DIR"
    # A folder that mktemp made lets nobody but root through to this one.
    [ "$(id -u)" -ne 0 ] || chmod o+x "$(dirname "$DIR")"
    if [ "$(id -un)" != "$USER_NAME" ]; then chown "$USER_NAME" "$DIR"; fi
    chmod 700 "$DIR"
    cd "$DIR"
    as_user "$BIN/initdb" -D "$DIR/data" -U branchline -A trust -E UTF8 --locale=C -N >/dev/null
    # Commits do reach the disk: the tests measure and rely on that.
    cat >>"$DIR/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$DIR'
max_connections = 100
shared_buffers = 32MB
END
    launch
    echo "host=$DIR user=branchline dbname=postgres"
    ;;
restart)
    cd "$DIR"
    as_user "$BIN/pg_ctl" -D "$DIR/data" -m immediate -w -s stop >&2
    launch
    ;;
stop)
    cd "$DIR"
    as_user "$BIN/pg_ctl" -D "$DIR/data" -m immediate -w -s stop >&2 || true
    cd /
    rm -rf -- "$DIR"
    ;;
*) usage ;;
esac
