"""Install, upgrade, remove and purge, in a minimal system without systemd."""

import os
import re
import stat
import subprocess

import pytest
from commands import run
from conftest import LATER, PACKAGES
from roots import unpacked

STATE = {"branchline": "/var/lib/branchline", "branchline-coordinator":
         "/var/lib/branchline-coordinator"}
DEFAULTS = {"branchline": "/etc/default/branchlined", "branchline-coordinator":
            "/etc/default/branchline-coordinator"}
USER = "branchline-coordinator"


@pytest.fixture(scope="module")
def base():
    """A system that has what the packages need, and nothing of them."""
    with unpacked() as root:
        yield root


@pytest.fixture(scope="module")
def before(base, packages):
    """What was there before the packages came."""
    for package in packages.values():
        needs = run("dpkg-deb", "--field", str(package), "Depends").strip()
        # In the place of all of systemd, which apt would choose.
        needs = needs.replace("systemd | ", "")
        base.run(f"apt-get -qq update && apt-get -qqy satisfy --no-install-recommends '{needs}' "
                 "systemd-standalone-tmpfiles")
    return base.files()


@pytest.fixture(scope="module")
def installed(base, before, packages):
    base.run("dpkg --install " + " ".join(base.add(*packages.values())))
    return base


@pytest.fixture(scope="module")
def used(installed):
    """Settings that somebody changed, and state that programs and people left."""
    for path in DEFAULTS.values():
        installed.run(f"echo '# changed' >>{path}")
    installed.run(
        "mkdir -p /var/lib/branchline/bl0 /etc/branchline/qos && "
        "touch /var/lib/branchline/bl0/node.key /etc/branchline/qos/wg0.json && "
        f"install -o {USER} -m 600 /dev/null /var/lib/branchline-coordinator/tls.key")
    return installed


@pytest.fixture(scope="module")
def upgraded(used, later_packages):
    used.run("dpkg --install " + " ".join(used.add(*later_packages.values())))
    return used


@pytest.fixture(scope="module")
def removed(upgraded):
    upgraded.run("dpkg --remove " + " ".join(PACKAGES))
    return upgraded


@pytest.fixture(scope="module")
def purged(removed):
    removed.run("dpkg --purge " + " ".join(PACKAGES))
    return removed


def files_of(root, package):
    listed = root.run(f"dpkg --listfiles {package}").splitlines()
    # Links to folders are those of a merged /usr.
    return [path for path in listed if not os.path.isdir(f"{root.path}{path}")]


@pytest.mark.parametrize("package", PACKAGES)
def test_files_belong_to_root_and_only_root_writes_them(installed, package):
    for path in files_of(installed, package):
        status = installed.status(path)
        assert (status.st_uid, status.st_gid) == (0, 0), path
        is_program = path.startswith(("/usr/bin/", "/usr/libexec/"))
        assert stat.S_IMODE(status.st_mode) == (0o755 if is_program else 0o644), path


@pytest.mark.parametrize("package", PACKAGES)
def test_settings_are_conffiles_and_nothing_else_is(installed, package):
    listed = installed.run(f"dpkg-query --show --showformat '${{Conffiles}}' {package}")
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == [DEFAULTS[package]]


def test_settings_change_nothing_unless_somebody_changes_them(installed):
    for path in DEFAULTS.values():
        lines = installed.text(path).splitlines()
        assert all(not line or line.startswith("#") for line in lines)


def test_coordinator_has_a_user_of_its_own_that_cannot_log_in(installed):
    _, _, number, _, _, home, shell = installed.users()[USER]
    assert 100 <= int(number) < 1000
    assert (home, shell) == (STATE["branchline-coordinator"], "/usr/sbin/nologin")
    password = installed.run(f"getent shadow {USER}").split(":")[1]
    assert password.startswith(("!", "*"))


def test_state_folders_are_there_for_whom_they_are(installed):
    nodes = installed.status(STATE["branchline"])
    assert (nodes.st_uid, stat.S_IMODE(nodes.st_mode)) == (0, 0o755)
    coordinator = installed.status(STATE["branchline-coordinator"])
    assert coordinator.st_uid == int(installed.users()[USER][2])
    assert stat.S_IMODE(coordinator.st_mode) == 0o700


def test_coordinator_starts_at_boot_and_tunnels_when_somebody_says_so(installed):
    wanted = installed.run("find /etc/systemd/system -name '*branchline*'").split()
    assert wanted == [
        "/etc/systemd/system/multi-user.target.wants/branchline-coordinator.service"]


@pytest.mark.parametrize("program", ["branchline", "branchlined", "branchline-coordinator"])
def test_programs_run(installed, programs, program):
    version = run(str(programs / program), "--version")
    assert installed.run(f"{program} --version") == version
    assert "USAGE" in installed.run(f"{program} --help")


def test_keys_are_made_with_the_libraries_that_were_installed(installed):
    key = installed.run("branchline genkey | branchline pubkey").strip()
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", key)


def test_coordinator_serves_as_its_user(installed):
    said = installed.run(
        f"setpriv --reuid {USER} --regid {USER} --clear-groups timeout 5 branchline-coordinator "
        f"serve --state {STATE['branchline-coordinator']} --listen 127.0.0.1:0 2>&1 || true")
    assert "Coordinator at https://" in said
    installed.run(f"rm {STATE['branchline-coordinator']}/*")


@pytest.mark.parametrize("package", PACKAGES)
def test_manual_pages_are_found_and_read_without_a_warning(installed, package):
    pages = [path for path in files_of(installed, package) if path.startswith("/usr/share/man/")]
    assert pages and all(path.endswith(".gz") for path in pages)
    for page in pages:
        path = f"{installed.path}{page}"
        name = page.rsplit("/", 1)[1].split(".")[0]
        assert f'"{name} - ' in run("lexgrog", path)
        done = subprocess.run(
            ["man", "--warnings", "--local-file", path], capture_output=True, text=True,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANROFFSEQ": "", "MANWIDTH": "80"})
        assert (done.returncode, done.stderr) == (0, ""), page
        assert "SYNOPSIS" in done.stdout and "SEE ALSO" in done.stdout


def test_each_command_has_a_manual_page(installed):
    listed = installed.run("branchline --help").split("SUBCOMMANDS:")[1]
    commands = re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)
    assert len(commands) > 20
    for command in commands:
        assert installed.exists(f"/usr/share/man/man1/branchline-{command}.1.gz"), command


@pytest.mark.parametrize("program", ["branchline", "branchlined", "branchline-coordinator"])
def test_completions_are_where_shells_look_and_are_read(installed, program):
    share = f"{installed.path}/usr/share"
    bash = f"{share}/bash-completion/completions/{program}"
    registered = run("bash", "-c", f"source {bash} && complete -p {program}")
    assert registered.strip().endswith(program)
    run("zsh", "--no-exec", f"{share}/zsh/vendor-completions/_{program}")
    run("fish", "--no-execute", f"{share}/fish/vendor_completions.d/{program}.fish")


def test_bash_completes_a_command(installed):
    script = f"""
        PATH={installed.path}/usr/bin:$PATH
        source {installed.path}/usr/share/bash-completion/completions/branchline
        COMP_WORDS=(branchline jo) COMP_CWORD=1 COMP_LINE='branchline jo' COMP_POINT=13
        $(complete -p branchline | grep -o -- '-F [^ ]*' | cut -d ' ' -f 2) branchline jo branchline
        echo "${{COMPREPLY[@]}}"
        """
    assert "join" in run("bash", "-c", script).split()


def test_upgrade_keeps_settings_state_and_user(upgraded):
    for package in PACKAGES:
        version = upgraded.run(f"dpkg-query --show --showformat '${{Version}}' {package}")
        assert version == LATER
        assert upgraded.text(DEFAULTS[package]).endswith("# changed\n")
    assert upgraded.exists("/var/lib/branchline/bl0/node.key")
    assert upgraded.exists("/var/lib/branchline-coordinator/tls.key")
    assert upgraded.users()[USER]


def test_what_is_removed_leaves_settings_and_state(removed):
    for package in PACKAGES:
        state = removed.run(f"dpkg-query --show --showformat '${{Status}}' {package}")
        assert state == "deinstall ok config-files"
        assert removed.text(DEFAULTS[package]).endswith("# changed\n")
    for program in ("branchline", "branchlined", "branchline-coordinator"):
        assert not removed.exists(f"/usr/bin/{program}")
    assert removed.exists("/var/lib/branchline/bl0/node.key")
    assert removed.exists("/var/lib/branchline-coordinator/tls.key")


def test_what_is_purged_leaves_nothing_but_a_user_without_files(purged, before):
    assert purged.files() == before
    # In Debian users stay: their numbers must not become somebody else's.
    assert purged.users()[USER]
    assert purged.run(f"find / -xdev -user {USER}") == ""


def test_configuration_of_tunnels_is_the_administrators_and_stays(purged, packages):
    package = purged.add(packages["branchline"])[0]
    purged.run(f"dpkg --install {package} && mkdir /etc/branchline && touch /etc/branchline/a.conf")
    purged.run("dpkg --purge branchline")
    assert purged.exists("/etc/branchline/a.conf")


def test_what_is_installed_after_a_purge_is_as_at_first(purged, packages):
    purged.run("dpkg --install " + " ".join(purged.add(*packages.values())))
    assert purged.run("branchline --version")
    assert purged.status(STATE["branchline-coordinator"]).st_uid == int(purged.users()[USER][2])
