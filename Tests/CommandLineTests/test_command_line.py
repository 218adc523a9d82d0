"""up, down, show and status against a daemon, in namespaces of their own."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import ip


class Pair:
    """Configurations of the two ends of one tunnel, as files and as keys."""

    def __init__(self, network, run, folder):
        self.network, self.run, self.folder = network, run, folder
        self.private = [run("genkey").stdout.strip() for _ in range(2)]
        self.public = [run("pubkey", input=key).stdout.strip() for key in self.private]
        self.preshared = run("genpsk").stdout.strip()

    def write(self, side, interface="", peer="", allowed=None, endpoint=None):
        other = 1 - side
        default = f"10.77.0.{other + 1}/32, fd77::{other + 1}/128"
        path = self.folder / f"{self.network.interfaces[side]}.conf"
        path.write_text(
            f"[Interface]\nPrivateKey = {self.private[side]}\nListenPort = 51820\n"
            f"Address = 10.77.0.{side + 1}/32, fd77::{side + 1}/128\n{interface}\n"
            f"[Peer]\nPublicKey = {self.public[other]}\nPresharedKey = {self.preshared}\n"
            f"AllowedIPs = {allowed or default}\n"
            f"Endpoint = {endpoint or f'192.0.2.{other + 1}:51820'}\n{peer}\n")
        path.chmod(0o600)
        return path

    def up(self, side, **settings):
        return self.call(side, "up", str(self.write(side, **settings)))

    def down(self, side):
        return self.call(side, "down", f"./{self.network.interfaces[side]}.conf")

    def call(self, side, *arguments, **options):
        return self.run(*arguments, namespace=self.network.namespaces[side], **options)

    def ping(self, side, address):
        return subprocess.run(
            ["ip", "netns", "exec", self.network.namespaces[side], "ping", "-c", "1", "-W", "30",
             address], capture_output=True).returncode == 0

    def ip(self, side, *arguments, check=True):
        return ip("-n", self.network.namespaces[side], *arguments, check=check)


@pytest.fixture
def pair(network, run, tmp_path):
    return Pair(network, run, tmp_path)


@pytest.fixture
def tunnel(pair):
    for side in range(2):
        result = pair.up(side)
        assert result.returncode == 0, result.stderr
    return pair


def test_traffic_passes_a_tunnel_that_up_made(tunnel):
    assert tunnel.ping(0, "10.77.0.2") and tunnel.ping(1, "fd77::1")
    for side in range(2):
        result = tunnel.down(side)
        assert result.returncode == 0, result.stderr
        interface = tunnel.network.interfaces[side]
        assert interface not in tunnel.ip(side, "link")
        assert interface not in tunnel.run("show", "interfaces").stdout.split()


def test_show_agrees_with_wg(tunnel):
    assert tunnel.ping(0, "10.77.0.2")
    interface = tunnel.network.interfaces[0]
    for command in (["show", interface], ["showconf", interface]):
        for _ in range(60):  # "seconds ago" may turn in between
            ours = tunnel.run(*command).stdout
            theirs = subprocess.run(["wg", *command], capture_output=True, text=True).stdout
            if ours == theirs:
                break
        assert ours == theirs
    assert "(hidden)" in tunnel.run("show", interface).stdout


@contextlib.contextmanager
def port_holder(namespace, port):
    """Another program that has a UDP port of the namespace."""
    program = (
        "import socket,time; s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n"
        "while True:\n"
        f" try: s.bind(('::',{port})); break\n"
        " except OSError: time.sleep(0.01)\n"
        "print('bound',flush=True); time.sleep(60)")
    holder = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "python3", "-c", program],
        stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "bound\n"
        yield
    finally:
        holder.kill()
        holder.wait()


def test_status_tells_that_the_port_is_taken(tunnel):
    interface = tunnel.network.interfaces[0]
    assert "socket_fault" not in tunnel.run("status", interface, "--json").stdout
    tunnel.ip(0, "link", "set", interface, "down")
    with port_holder(tunnel.network.namespaces[0], 51820):
        tunnel.ip(0, "link", "set", interface, "up")
        deadline = time.monotonic() + 30
        while "is in use" not in (text := tunnel.run("status", interface).stdout):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        (line,) = [line for line in text.splitlines() if line.startswith("  socket ")]
        assert "none: UDP port 51820 is in use" in line
        (report,) = json.loads(tunnel.run("status", interface, "--json").stdout)
        assert "UDP port 51820 is in use" in report["engine"]["socket_fault"]


def test_json_tells_the_peers_and_no_secrets(tunnel):
    assert tunnel.ping(0, "10.77.0.2")
    interface = tunnel.network.interfaces[0]
    for command in ("show", "status"):
        text = tunnel.run(command, interface, "--json").stdout
        for secret in tunnel.private + [tunnel.preshared]:
            assert secret not in text
        (report,) = json.loads(text)
        assert report["interface"] == interface and report["listen_port"] == 51820
        assert report["public_key"] == tunnel.public[0]
        (peer,) = report["peers"]
        assert peer["public_key"] == tunnel.public[1] and peer["has_preshared_key"]
        assert peer["endpoint"] == "192.0.2.2:51820"
        assert set(peer["allowed_ips"]) == {"10.77.0.2/32", "fd77::2/128"}
        assert abs(peer["latest_handshake_seconds"] - time.time()) < 60
        assert peer["received_bytes"] > 0 and peer["transmitted_bytes"] > 0


def test_status_is_a_table_without_secrets(tunnel):
    assert tunnel.ping(0, "10.77.0.2")
    interface = tunnel.network.interfaces[0]
    text = tunnel.call(0, "status", interface).stdout
    assert tunnel.public[0] in text and tunnel.public[1][:10] in text
    assert "51820" in text and "MTU" in text and "192.0.2.2:51820" in text
    assert all(secret not in text for secret in tunnel.private + [tunnel.preshared])
    assert interface in tunnel.run("status").stdout


def test_watch_repaints(tunnel, program, tmp_path):
    interface, shown = tunnel.network.interfaces[0], tmp_path / "shown"
    with open(shown, "w") as output:
        process = subprocess.Popen([program, "status", interface, "--watch"], stdout=output)
    try:
        deadline = time.monotonic() + 60
        while (text := shown.read_text()).count("\033[H\033[2J") < 2 or text.count(interface) < 2:
            assert process.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("outer, expected", [(1500, 1420), (1400, 1320), (9000, 8920)])
def test_mtu_follows_the_route_to_the_endpoint(pair, outer, expected):
    pair.ip(0, "link", "set", "outer", "mtu", str(outer))
    assert pair.up(0).returncode == 0
    assert f"mtu {expected} " in pair.ip(0, "link", "show", pair.network.interfaces[0])


def test_mtu_of_a_route_counts(pair):
    pair.ip(0, "route", "add", "192.0.2.2/32", "dev", "outer", "mtu", "1380")
    assert pair.up(0).returncode == 0
    assert "mtu 1300 " in pair.ip(0, "link", "show", pair.network.interfaces[0])


def test_settings_of_the_file_are_taken(pair):
    assert pair.up(0, interface="MTU = 1280\nFwMark = 0x1234\nTable = 777").returncode == 0
    interface = pair.network.interfaces[0]
    assert "mtu 1280 " in pair.ip(0, "link", "show", interface)
    assert interface in pair.ip(0, "route", "show", "table", "777")
    assert interface in pair.ip(0, "-6", "route", "show", "table", "777")
    assert "10.77.0.2" not in pair.ip(0, "route", "show")
    (report,) = json.loads(pair.run("show", interface, "--json").stdout)
    assert report["firewall_mark"] == 0x1234


def test_table_off_makes_no_routes(pair):
    assert pair.up(0, interface="Table = off").returncode == 0
    assert "10.77.0.2" not in pair.ip(0, "route", "show")


def test_hooks_run_in_order_and_know_the_interface(pair, tmp_path):
    log = tmp_path / "log"
    hooks = "\n".join(
        f"{kind} = echo {kind} %i $(test -e /sys/class/net/%i && echo there) >> {log}"
        for kind in ["PreUp", "PostUp", "PreDown", "PostDown"])
    assert pair.up(0, interface=hooks).returncode == 0
    assert pair.down(0).returncode == 0
    name = pair.network.interfaces[0]
    assert log.read_text().splitlines() == [
        f"PreUp {name}", f"PostUp {name} there", f"PreDown {name} there", f"PostDown {name}"]


def test_default_routes_spare_the_tunnels_own_datagrams(pair):
    assert pair.up(0, allowed="0.0.0.0/0, ::/0").returncode == 0
    assert pair.up(1).returncode == 0
    # Only the tunnel leads to an address that no interface has a route to.
    assert pair.ping(0, "10.77.0.2") and pair.ping(0, "fd77::2")
    for family in ("-4", "-6"):
        rules = pair.ip(0, family, "rule")
        assert "suppress_prefixlength 0" in rules and "not from all fwmark 0xca6c" in rules
    filters = subprocess.run(
        ["ip", "netns", "exec", pair.network.namespaces[0], "nft", "list", "ruleset"],
        capture_output=True, text=True).stdout
    assert "10.77.0.1" in filters and "fd77::1" in filters
    assert pair.down(0).returncode == 0
    for family in ("-4", "-6"):
        rules = pair.ip(0, family, "rule")
        assert "suppress_prefixlength" not in rules and "51820" not in rules
    filters = subprocess.run(
        ["ip", "netns", "exec", pair.network.namespaces[0], "nft", "list", "ruleset"],
        capture_output=True, text=True).stdout
    assert filters == ""


def policy(pair):
    """The routing rules and the packet filter of the left namespace.

    Without link-local addresses, which the kernel chooses anew for each interface.
    """
    filters = subprocess.run(
        ["ip", "netns", "exec", pair.network.namespaces[0], "nft", "list", "ruleset"],
        capture_output=True, text=True).stdout
    lines = [line for line in filters.splitlines() if "daddr fe80:" not in line]
    return pair.ip(0, "rule"), pair.ip(0, "-6", "rule"), lines


def kill_daemon(pair):
    """Ends the daemon of the left side with SIGKILL, and waits until its interface is gone."""
    name = pair.network.interfaces[0]
    # The socket's owner may be another namespace's process; the command line tells it.
    (process,) = [
        int(entry.name) for entry in pathlib.Path("/proc").iterdir()
        if entry.name.isdigit() and is_daemon_of(entry, name)]
    os.kill(process, signal.SIGKILL)
    for _ in range(600):
        if name not in pair.ip(0, "link"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} outlived its daemon")


def is_daemon_of(process, interface):
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:  # it has ended
        return False
    return len(words) >= 2 and words[-1] == interface.encode()


@pytest.mark.parametrize("mark", ["", "FwMark = 0x1234"])
def test_down_removes_what_a_killed_daemon_left(pair, mark):
    before = policy(pair)
    assert pair.up(0, allowed="0.0.0.0/0, ::/0", interface=mark).returncode == 0
    kill_daemon(pair)
    assert policy(pair) != before
    result = pair.down(0)
    assert result.returncode == 0, result.stderr
    assert "routing rules and packet filter rules" in result.stderr
    assert policy(pair) == before
    result = pair.down(0)
    assert result.returncode == 1 and "no interface named" in result.stderr


def test_up_replaces_what_a_killed_daemon_left(pair):
    before = policy(pair)
    path = pair.write(0, allowed="0.0.0.0/0, ::/0")
    assert pair.call(0, "up", str(path)).returncode == 0
    once = policy(pair)
    kill_daemon(pair)
    result = pair.call(0, "up", str(path))
    assert result.returncode == 0, result.stderr
    assert policy(pair) == once
    assert pair.down(0).returncode == 0
    assert policy(pair) == before


def test_down_removes_rules_that_are_there_twice(pair):
    before = policy(pair)
    assert pair.up(0, allowed="0.0.0.0/0, ::/0").returncode == 0
    for family in ("-4", "-6"):
        pair.ip(0, family, "rule", "add", "not", "fwmark", "51820", "table", "51820")
        pair.ip(0, family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
    assert pair.down(0).returncode == 0
    assert policy(pair) == before


@pytest.mark.parametrize("is_killed", [False, True])
def test_down_spares_the_rules_of_another_tunnel(pair, is_killed):
    assert pair.up(0, allowed="0.0.0.0/0, ::/0").returncode == 0
    # Another tunnel, younger than ours: its rules come before ours.
    theirs = ["60000", "table", "60000"]
    for family in ("-4", "-6"):
        pair.ip(0, family, "route", "add", "default", "dev", "outer", *theirs[1:])
        pair.ip(0, family, "rule", "add", "not", "fwmark", *theirs)
        pair.ip(0, family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
    if is_killed:
        kill_daemon(pair)
    assert pair.down(0).returncode == 0
    for family in ("-4", "-6"):
        rules = pair.ip(0, family, "rule")
        assert rules.index("suppress_prefixlength 0") < rules.index("lookup 60000")
        assert rules.count("suppress_prefixlength") == 1 and "51820" not in rules


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"interface": "PreUp = exit 3"}, "exit code 3"),
        ({"interface": "PostUp = exit 3"}, "exit code 3"),
        ({"allowed": "192.0.2.0/24"}, "routed elsewhere"),
        ({"endpoint": "no-such-host.invalid:1"}, "no-such-host.invalid"),
        ({"allowed": "0.0.0.0/0, ::/0", "interface": "PostUp = false"}, "exit code 1"),
    ])
def test_a_failed_up_leaves_nothing(pair, settings, reason):
    before = [pair.ip(0, *what) for what in (["route"], ["rule"], ["-6", "rule"])]
    if "192.0.2.0/24" in settings.get("allowed", ""):
        # wg-quick's order: routes come after addresses, so that this one exists already.
        pair.ip(0, "route", "replace", "192.0.2.0/24", "dev", "outer")
        before[0] = pair.ip(0, "route")
    result = pair.call(
        0, "up", str(pair.write(0, **settings)),
        environment={"WG_ENDPOINT_RESOLUTION_RETRIES": "0"})
    assert result.returncode == 1
    assert reason in result.stderr
    assert pair.private[0] not in result.stderr
    assert pair.network.interfaces[0] not in pair.ip(0, "link")
    assert [pair.ip(0, *what) for what in (["route"], ["rule"], ["-6", "rule"])] == before


def test_an_interrupted_up_leaves_nothing(pair, program, daemon):
    # Without touch: a shell whose child ends well just as Ctrl-C comes goes on with what follows.
    path = pair.write(0, interface="PostUp = : > up; exec sleep 90")
    process = subprocess.Popen(
        ["ip", "netns", "exec", pair.network.namespaces[0], "env", f"BRANCHLINED={daemon}",
         program, "up", str(path)], cwd=pair.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (pair.folder / "up").exists():
        assert time.monotonic() < deadline, "PostUp does not run"
        time.sleep(0.05)
    # As the terminal does on Ctrl-C: the whole foreground group is told. Never with kill(1): that
    # of Debian 12 reads one digit of a group's number, and -1 is every process there is.
    assert os.getpgid(process.pid) == process.pid
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 1
    assert pair.network.interfaces[0] not in pair.ip(0, "link")


def test_a_failed_up_spares_the_interface_of_another(pair, tmp_path):
    # Takes the name as another `up` would that is a little faster, then fails as a daemon does.
    loser = tmp_path / "loser"
    loser.write_text('#!/bin/sh\nip link add "$1" type veth peer name other\nexit 1\n')
    loser.chmod(0o755)
    result = pair.call(0, "up", str(pair.write(0)), "--daemon", str(loser))
    assert result.returncode == 1 and "did not start" in result.stderr
    assert pair.network.interfaces[0] in pair.ip(0, "link")


def test_a_hook_that_deletes_the_interface_fails_up(pair):
    result = pair.up(0, interface="PostUp = ip link delete %i")
    assert result.returncode == 1 and "gone after PostUp" in result.stderr
    assert " is up" not in result.stdout


def test_a_hook_may_move_the_interface_to_another_namespace(pair):
    inner = pair.network.namespaces[1]
    result = pair.up(0, interface=f"PostUp = ip link set %i netns {inner}")
    assert result.returncode == 0, result.stderr
    ip("-n", inner, "link", "delete", pair.network.interfaces[0])


def test_up_twice_names_the_remedy(tunnel):
    result = tunnel.call(0, "up", f"./{tunnel.network.interfaces[0]}.conf")
    assert result.returncode == 1 and "branchline down" in result.stderr


def test_save_config_keeps_what_the_file_said_and_what_changed(pair):
    assert pair.up(0, interface="SaveConfig = true\nPostUp = true # x\nMTU = 1300").returncode == 0
    interface = pair.network.interfaces[0]
    subprocess.run(
        ["wg", "set", interface, "listen-port", "51821", "peer", pair.public[1],
         "persistent-keepalive", "21", "allowed-ips", "10.77.0.2/32,10.5.0.0/16"], check=True)
    pair.ip(0, "address", "add", "10.6.0.1/24", "dev", interface)
    assert pair.down(0).returncode == 0
    path = pair.folder / f"{interface}.conf"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines()
    for line in ["SaveConfig = true", "PostUp = true", "MTU = 1300", "ListenPort = 51821",
                 "PersistentKeepalive = 21", "AllowedIPs = 10.77.0.2/32, 10.5.0.0/16",
                 "Address = 10.77.0.1/32", "Address = 10.6.0.1/24",
                 f"PrivateKey = {pair.private[0]}"]:
        assert line in lines
    assert not any("fe80" in line for line in lines)
    assert pair.call(0, "up", str(path)).returncode == 0


def test_wg_quick_strip_and_wg_read_our_files(pair):
    assert pair.up(0, interface="SaveConfig = true").returncode == 0
    assert pair.down(0).returncode == 0
    path = pair.folder / f"{pair.network.interfaces[0]}.conf"
    subprocess.run(["wg-quick", "strip", str(path)], check=True, capture_output=True)


def test_a_world_readable_file_is_noted(pair):
    path = pair.write(0)
    path.chmod(0o644)
    result = pair.call(0, "up", str(path))
    assert result.returncode == 0 and "chmod 600" in result.stderr


def test_dns_without_resolvconf_is_noted(pair, tmp_path):
    result = pair.up(0, interface="DNS = 10.77.0.2, corp.example")
    assert result.returncode == 0
    if "note: DNS" in result.stderr:
        assert "10.77.0.2, corp.example" in result.stderr


def test_a_daemon_that_fails_is_named(pair):
    result = pair.call(0, "up", str(pair.write(0)), "--daemon", "/bin/false")
    assert result.returncode == 1 and "/bin/false did not start" in result.stderr
    result = pair.call(0, "up", str(pair.write(0)), "--daemon", "/no/such")
    assert result.returncode == 2


def test_a_port_in_use_is_explained(tunnel):
    with port_holder(tunnel.network.namespaces[0], 40404):
        assert tunnel.down(0).returncode == 0
        path = tunnel.write(0)
        path.write_text(path.read_text().replace("ListenPort = 51820", "ListenPort = 40404"))
        result = tunnel.call(0, "up", str(path))
        assert result.returncode == 1 and "ListenPort" in result.stderr


def test_down_from_another_namespace_says_so(tunnel):
    result = tunnel.call(1, "down", f"./{tunnel.network.interfaces[0]}.conf")
    assert result.returncode == 1 and "namespace" in result.stderr


def test_keys_that_cannot_be_written_are_a_failure(tunnel, program):
    with open("/dev/full", "w") as full:
        for command in ("showconf", "show", "status"):
            result = subprocess.run(
                [program, command, tunnel.network.interfaces[0]], stdout=full,
                stderr=subprocess.PIPE, text=True)
            assert result.returncode == 1 and "cannot write" in result.stderr


def test_down_runs_the_hooks_of_a_tunnel_whose_daemon_was_killed(pair, tmp_path):
    log = tmp_path / "log"
    hooks = f"PreDown = false\nPreDown = echo PreDown >> {log}\nPostDown = echo PostDown >> {log}"
    assert pair.up(0, interface=hooks).returncode == 0
    kill_daemon(pair)
    socket = pathlib.Path(f"/var/run/wireguard/{pair.network.interfaces[0]}.sock")
    assert socket.exists()
    result = pair.down(0)
    assert result.returncode == 0, result.stderr
    assert "its daemon has ended; removed the socket that it left" in result.stderr
    assert "note: the PreDown command ended with exit code 1: false" in result.stderr
    assert log.read_text().splitlines() == ["PreDown", "PostDown"]
    assert not socket.exists()
    assert pair.down(0).returncode == 1
    assert log.read_text().count("Down") == 2


def test_ipv6_needs_its_least_mtu(pair):
    result = pair.up(0, interface="MTU = 1279")
    assert result.returncode == 2
    assert "IPv6 needs an MTU of at least 1280" in result.stderr and "fd77::1" in result.stderr
    assert pair.network.interfaces[0] not in pair.ip(0, "link")


def test_a_configuration_socket_that_is_none_is_named(pair, daemon):
    result = subprocess.run(
        ["ip", "netns", "exec", pair.network.namespaces[0], daemon, "-f",
         pair.network.interfaces[0]],
        capture_output=True, text=True, env={**os.environ, "WG_UAPI_FD": "999"}, timeout=180)
    assert result.returncode != 0
    assert "WG_UAPI_FD names descriptor 999, which is no listening socket" in result.stderr


@pytest.mark.parametrize("outer, is_noted", [(1359, True), (1360, False)])
def test_ipv6_lost_to_the_mtu_of_the_route_is_noted(pair, outer, is_noted):
    pair.ip(0, "link", "set", "outer", "mtu", str(outer))
    # Routes of IPv6 could not be made without an address of it.
    result = pair.up(0, allowed="10.77.0.2/32")
    assert result.returncode == 0, result.stderr
    assert ("note: Address = fd77::1/128 is not in effect" in result.stderr) == is_noted
    there = pair.ip(0, "-6", "address", "show", pair.network.interfaces[0])
    assert ("fd77::1" in there) != is_noted


@pytest.mark.parametrize("address", ["ff02::5/64", "::/0"])
def test_an_address_that_the_kernel_refuses_is_named(pair, address):
    result = pair.up(0, interface=f"Address = {address}")
    interface = pair.network.interfaces[0]
    assert result.returncode == 1
    assert f"branchline: the kernel refuses Address = {address} for {interface}: " in result.stderr
    assert "IFA_F" not in result.stderr
    assert interface not in pair.ip(0, "link")


@pytest.mark.parametrize(
    "prepare, advice",
    [
        ("touch /run/wireguard", "remove what is at /var/run/wireguard"),
        ("mkdir /run/wireguard && mount -t tmpfs -o ro none /run/wireguard",
         "make /var/run/wireguard writable"),
    ])
def test_a_socket_folder_that_cannot_be_used_is_explained(
        pair, program, daemon, prepare, advice):
    path = pair.write(0)
    result = subprocess.run(
        ["ip", "netns", "exec", pair.network.namespaces[0], "unshare", "-m", "sh", "-c",
         f'mount -t tmpfs none /run && {prepare} && exec "$@"', "sh", program, "up", str(path)],
        capture_output=True, text=True, env={**os.environ, "BRANCHLINED": daemon}, timeout=180)
    assert result.returncode == 1
    assert advice in result.stderr
    assert pair.network.interfaces[0] not in pair.ip(0, "link")


def test_down_of_a_renamed_interface_tells_the_remedy(pair):
    name = pair.network.interfaces[0]
    result = pair.up(
        0, interface="PostUp = ip link set %i down; ip link set %i name q%i; ip link set q%i up")
    assert result.returncode == 0, result.stderr
    result = pair.down(0)
    assert result.returncode == 1 and f"ip link set NEW name {name}" in result.stderr
    pair.ip(0, "link", "set", f"q{name}", "down")
    pair.ip(0, "link", "set", f"q{name}", "name", name)
    assert pair.down(0).returncode == 0


@pytest.mark.parametrize("number", ["KILL", "TERM"])
def test_a_hook_that_ends_the_daemon_fails_up(pair, number):
    name = pair.network.interfaces[0]
    # The brackets keep the shell that runs the hook from finding itself.
    result = pair.up(0, interface=f"PostUp = pkill -{number} -f '[b]ranchlined {name}$'")
    assert result.returncode == 1, result.stdout
    assert "gone after PostUp" in result.stderr and " is up" not in result.stdout
    assert name not in pair.ip(0, "link")
