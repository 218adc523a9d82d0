#!/usr/bin/env bash
# Lays out the files of both packages as they are installed, for Debian's and RPM's packaging:
#
#   stage.sh PROGRAMS FOLDER     from the programs in PROGRAMS into FOLDER/branchline and
#                                FOLDER/branchline-coordinator
#
# UNITS and ZSH name folders that differ between distributions: systemd's units and zsh's completion
# functions.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here programs="${1:?PROGRAMS}" folder="${2:?FOLDER}"
readonly units="${UNITS:-usr/lib/systemd/system}" zsh="${ZSH:-usr/share/zsh/site-functions}"

# Program, manual and completions: program PACKAGE NAME SECTION
program() {
    local root="$folder/$1" name="$2" shell
    install -D "$programs/$name" "$root/usr/bin/$name"
    # What SwiftPM lets a program look for beside itself; here there is nothing.
    chrpath --delete "$root/usr/bin/$name" >/dev/null
    "$here/manual.py" "$root/usr/bin/$name" "$3" "$root/usr/share/man/man$3"
    completion() { "$root/usr/bin/$name" --generate-completion-script "$shell"; }
    mkdir -p "$root/usr/share/bash-completion/completions" "$root/$zsh" \
        "$root/usr/share/fish/vendor_completions.d"
    # Bash reads it and does not run it.
    shell=bash && completion | sed '1{/^#!/d}' \
        >"$root/usr/share/bash-completion/completions/$name"
    shell=zsh && completion >"$root/$zsh/_$name"
    shell=fish && completion >"$root/usr/share/fish/vendor_completions.d/$name.fish"
}

# A file that is as it is here: file PACKAGE SOURCE TARGET [MODE]
file() {
    install -D -m "${4:-644}" "$here/$2" "$folder/$1/$3"
}

program branchline branchline 1
program branchline branchlined 8
file branchline default/branchlined etc/default/branchlined
for unit in branchlined branchline@ branchline-gateway; do
    file branchline "systemd/$unit.service" "$units/$unit.service"
done
file branchline systemd/branchline.tmpfiles usr/lib/tmpfiles.d/branchline.conf
file branchline systemd/tenant-namespaces usr/libexec/branchline/tenant-namespaces 755

program branchline-coordinator branchline-coordinator 8
file branchline-coordinator default/branchline-coordinator etc/default/branchline-coordinator
file branchline-coordinator systemd/branchline-coordinator.service \
    "$units/branchline-coordinator.service"
file branchline-coordinator systemd/branchline-coordinator.sysusers \
    usr/lib/sysusers.d/branchline-coordinator.conf
file branchline-coordinator systemd/branchline-coordinator.tmpfiles \
    usr/lib/tmpfiles.d/branchline-coordinator.conf
