"""A gateway with many tenants: side by side, coming and going, each with its own faults."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from gatewaylab import PORT, Gateway, Undisturbed
from joined import Site, inner
from lab import branchlined, run, wait_until, wireguard_go

pytestmark = pytest.mark.branchline_only


@pytest.fixture
def gateway(lab):
    return Gateway(lab)


def with_steady(gateway: Gateway):
    """Starts the gateway with one tenant whose branch is connected."""
    steady = gateway.add("steady").add_branch()
    gateway.start().settle()
    steady.reaches()
    return steady


# Side by side


def test_three_tenants_with_the_same_addresses(gateway):
    """One process, one port; the third tenant's branch is wireguard-go."""
    tenants = [gateway.add(name) for name in ("acme", "beta", "gamma")]
    for tenant in tenants:
        tenant.add_branch(wireguard_go() if tenant.name == "gamma" else None)
    gateway.start().settle()
    for tenant in tenants:
        tenant.reaches()
        tenant.reaches("fd00:9::1")
        tenant.serve()
    for tenant in tenants:
        assert tenant.ask() == tenant.name
        done = tenant.inner.run("ping", "-n", "-c", "1", "-W", "15", "10.0.0.2", check=False)
        assert done.returncode == 0, done.stdout
    ports = gateway.namespace.run("ss", "-Hlun").stdout
    assert {line.split()[3].rsplit(":", 1)[1] for line in ports.splitlines()} == {str(PORT)}, ports
    assert len(gateway.namespace.interfaces() & {t.interface for t in tenants}) == 0
    shown = json.loads(gateway.command("gateway", "show", "--json").stdout)
    assert shown["is_running"] and shown["listen_port"] == PORT
    assert [(t["tenant"], t["state"], t["peer_count"], t["live_peer_count"])
            for t in shown["tenants"]] == [(n, "up", 1, 1) for n in ("acme", "beta", "gamma")]


def test_two_tenants_may_have_the_same_branch_key(gateway):
    """A peer belongs to the tenant whose key its handshake is for."""
    acme, beta = gateway.add("acme"), gateway.add("beta", is_defined=False)
    beta.branch_key = acme.branch_key
    beta.write_configuration(
        f"[Peer]\nPublicKey = {acme.branch_key.public_base64}\nAllowedIPs = 10.0.0.2/32\n")
    beta.define()
    acme.add_branch()
    beta.add_branch()
    gateway.start().settle()
    for tenant in (acme, beta):
        tenant.reaches()
        tenant.serve()
    assert (acme.ask(), beta.ask()) == ("acme", "beta")


def test_tenants_come_and_go_beside_a_stream(gateway):
    steady = with_steady(gateway)
    other = gateway.add("other", is_defined=False).add_branch()
    with Undisturbed(steady):
        for _ in range(3):
            other.define()
            gateway.reload()
            other.await_up()
            other.reaches()
            gateway.remove("other")
            gateway.reload()
            wait_until(lambda: gateway.tenant("other") is None, 5, "it is gone")
            assert other.is_cut_off()
            assert not Path(f"/run/netns/{other.inner.name}").exists()
            assert not Path(f"/var/run/wireguard/{other.interface}.sock").exists()
    assert steady.status()["restarts"] == 0


def test_peers_and_limits_change_without_an_interruption(gateway):
    steady = with_steady(gateway)
    with Undisturbed(steady):
        for weight in (2, 5, 1):
            steady.define(limits={"weight": weight, "maximumRate": 500_000_000})
            gateway.reload()
        other = "A" * 42 + "E="
        steady.write_configuration(
            f"[Peer]\nPublicKey = {steady.branch_key.public_base64}\n"
            "AllowedIPs = 10.0.0.2/32, fd00:9::2/128\n"
            f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.7.0.0/16\n")
        gateway.reload()
        wait_until(lambda: "10.7.0.0/16" in steady.inner.run("ip", "route").stdout, 5, "a route")
        steady.define(addresses=["10.0.0.1/24", "fd00:9::1/64", "10.0.5.1/32"])
        gateway.reload()
        wait_until(lambda: "10.0.5.1" in steady.inner.run("ip", "address").stdout, 5, "address")
    assert steady.status()["restarts"] == 0
    peers = json.loads(gateway.command("status", "--tenant", "steady", "--json").stdout)
    assert peers["peer_count"] == 2 and peers["device"]["peers"][0]["received_bytes"] > 0


def test_commands_change_a_running_gateway(gateway):
    steady = with_steady(gateway)
    other = gateway.add("other", is_defined=False).add_branch()
    with Undisturbed(steady):
        done = gateway.command(
            "gateway", "add", "other", "--interface", other.interface, "--namespace",
            other.inner.name, "--configuration", str(other.configuration), "--address",
            "10.0.0.1/24", "--maximum-rate", "100M")
        assert "is served" in done.stdout
        other.reaches()
        gateway.command("gateway", "set", "other", "--weight", "3")
        shown = json.loads(gateway.command("tenant", "show", "other", "--json").stdout)
        assert shown["limits"]["weight"] == 3 and shown["state"] == "up"
        assert shown["restarts"] == 0 and shown["live_peer_count"] == 1
        text = gateway.command("status", "--tenant", "other").stdout
        for word in ("tenant other", "up for", "weight 3", "100.00 Mbit/s", other.interface):
            assert word in text, text
        # What cannot be served is not left behind.
        taken = gateway.command(
            "gateway", "add", "third", "--address", "10.0.0.1/24", "--namespace",
            "/proc/1/comm", check=False)
        assert taken.returncode == 1 and gateway.tenant("third") is None
        assert not (gateway.folder / "third.json").exists()
        gateway.command("gateway", "remove", "other", "--yes")
        assert other.is_cut_off()


def test_route_hook_hears_of_branches(gateway):
    heard = gateway.lab.folder / "heard"
    hook = gateway.lab.folder / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >> {heard}\n')
    hook.chmod(0o755)
    tenant = gateway.add("acme", routeHook=str(hook)).add_branch()
    gateway.start().settle()
    tenant.reaches()
    up = f"up 10.0.0.2/32 {tenant.interface} acme"
    wait_until(lambda: heard.exists() and up in heard.read_text(), 10, "the hook is told")
    gateway.remove("acme")
    gateway.reload()
    wait_until(lambda: up.replace("up", "down") in heard.read_text(), 10, "and told of the end")


# Bad input


def broken_file(tenant):
    tenant.gateway.write(tenant.name, '{"tenant": "bad",')


def unknown_member(tenant):
    tenant.define(limit={"weight": 2})


def no_addresses(tenant):
    tenant.define(addresses=None)


def contradicting_limits(tenant):
    tenant.define(limits={"minimumRate": 2_000_000, "maximumRate": 1_000_000})


def overlapping_routes(tenant):
    tenant.write_configuration(
        f"[Peer]\nPublicKey = {tenant.branch_key.public_base64}\nAllowedIPs = 10.5.0.0/16\n"
        f"[Peer]\nPublicKey = {'A' * 42}E=\nAllowedIPs = 10.5.7.0/24\n")


def other_port(tenant):
    tenant.write_configuration("", "ListenPort = 1234")


def same_key(tenant):
    tenant.key = tenant.gateway.tenants[0].key
    tenant.write_configuration("")


def same_interface(tenant):
    tenant.define(interface=tenant.gateway.tenants[0].interface)


def same_namespace(tenant):
    tenant.define(place=tenant.gateway.tenants[0].definition["place"])


def open_file(tenant):
    tenant.gateway.write(tenant.name, json.dumps(tenant.definition), mode=0o644)


def no_configuration(tenant):
    tenant.configuration.unlink()


def no_membership(tenant):
    tenant.define(configuration=None, membership=str(tenant.lab.folder / "nowhere"))


def no_namespace(tenant):
    tenant.define(place={"namespace": "/proc/1/comm"})


def no_vrf(tenant):
    tenant.define(place={"vrf": "nodev7"})


@pytest.mark.parametrize("spoil, kind", [
    (broken_file, "fileBroken"), (unknown_member, "unknownMember"),
    (no_addresses, "noAddresses"), (contradicting_limits, "contradictingLimits"),
    (overlapping_routes, "overlappingRoutes"), (other_port, "configurationUnusable"),
    (same_key, "duplicateKey"), (same_interface, "duplicateInterface"),
    (same_namespace, "duplicatePlace"), (open_file, "fileUnreadable"),
    (no_configuration, "configurationUnusable"), (no_membership, "membershipUnusable"),
    (no_namespace, "namespaceUnusable"), (no_vrf, "networkUnusable"),
], ids=lambda value: getattr(value, "__name__", value))
def test_bad_tenant_is_named_and_touches_nobody(gateway, spoil, kind):
    steady = with_steady(gateway)
    bad = gateway.add("bad", is_defined=False)
    good = (dict(bad.definition), bad.key)
    with Undisturbed(steady):
        bad.define()
        spoil(bad)
        gateway.reload()
        words = bad.await_fault(kind)
        assert words and bad.status()["state"] == "faulty"
        assert kind in gateway.command("gateway", "show").stdout
        # Put right, it is served at once.
        bad.definition, bad.key = good
        bad.write_configuration("")
        bad.define()
        gateway.reload()
        bad.await_up()
    assert steady.status()["state"] == "up" and steady.status()["restarts"] == 0


def test_broken_edit_leaves_a_tenant_as_it_was(gateway):
    steady = with_steady(gateway)
    with Undisturbed(steady):
        gateway.write("steady", "{")
        gateway.reload()
        assert "steady.json" in steady.await_fault("fileBroken")
        assert steady.status()["state"] == "up"
        steady.define()
        gateway.reload()
        steady.await_status(lambda s: not s.get("fault"))
    assert steady.status()["restarts"] == 0


def test_namespace_that_vanishes_is_named_and_made_again(gateway):
    steady = with_steady(gateway)
    other = gateway.add("other").add_branch()
    gateway.reload()
    other.reaches()
    with Undisturbed(steady):
        run("ip", "netns", "del", other.inner.name)
        assert other.inner.name in other.await_fault("namespaceGone")
        other.await_up()
        other.reaches()


def test_interface_deleted_by_hand_is_named_and_made_again(gateway):
    steady = with_steady(gateway)
    other = gateway.add("other").add_branch()
    gateway.reload()
    other.reaches()
    with Undisturbed(steady):
        other.inner.configure(f"link del {other.interface}")
        assert other.interface in other.await_fault("deviceRemoved")
        other.await_up()
        other.reaches()
    assert other.status()["restarts"] == 1


def test_socket_of_another_process_is_named(gateway):
    """An interface of the same name in another namespace is somebody else's."""
    steady = with_steady(gateway)
    foreign = gateway.lab.daemon(gateway.lab.namespace(), branchlined()).start()
    bad = gateway.add("bad", interface=foreign.name)
    gateway.reload()
    assert foreign.name in bad.await_fault("socketUnusable")
    assert foreign.is_alive and foreign.get()
    steady.reaches()


def test_descriptors_that_run_out_are_named(gateway):
    """Those that are served stay so, and commands still get their answers."""
    tenants = [gateway.add(f"t{number:02}") for number in range(20)]
    # The sockets of one worker, and what a dozen tenants need.
    gateway.start("prlimit", "--nofile=290:290", arguments=("--workers", "1")).settle()
    states = {t["tenant"]: t for t in gateway.status()["tenants"]}
    out = [t for t in states.values() if t["state"] == "faulty"]
    assert out and {t["fault"]["kind"] for t in out} == {"descriptorsExhausted"}, out
    assert "LimitNOFILE" in out[0]["fault"]["detail"]
    up = [t for t in states.values() if t["state"] == "up"]
    assert up
    first = next(t for t in tenants if t.name == up[0]["tenant"]).add_branch()
    with Undisturbed(first):
        shown = json.loads(gateway.command("gateway", "show", "--json").stdout)
        # Those that started together reserved more than they needed: some come later.
        assert sum(t["state"] == "up" for t in shown["tenants"]) >= len(up)
        # One that goes makes room for one that waits.
        gateway.remove(up[-1]["tenant"])
        gateway.reload()
        wait_until(lambda: sum(
            t["state"] == "up" for t in gateway.status()["tenants"]) >= len(up), 45, "room")
    assert len(os.listdir(f"/proc/{gateway.process.pid}/fd")) < 290


def test_gateway_without_descriptors_says_so(gateway):
    gateway.add("acme")
    with pytest.raises(AssertionError):
        gateway.start("prlimit", "--nofile=100:100")
    assert "file descriptors before the first tenant" in gateway.log


# Restarts


def test_killed_gateway_comes_back_with_all_peers(gateway):
    tenants = [gateway.add(name).add_branch() for name in ("acme", "beta")]
    gateway.start().settle()
    for tenant in tenants:
        tenant.reaches()
    gateway.end(signal.SIGKILL)
    gateway.start().settle()
    began = time.monotonic()
    for tenant in tenants:
        tenant.reaches(seconds=60, by_itself=True)
    print(f"all peers after a kill: {time.monotonic() - began:.1f} s")
    gateway.remove("beta")
    gateway.reload()
    # What an earlier process made is still the gateway's to remove.
    wait_until(lambda: not Path(f"/run/netns/{tenants[1].inner.name}").exists(), 5, "it is gone")


def test_killed_gateway_speaks_to_silent_branches_first(gateway):
    """It remembers where they were; they would not notice before they have something to say."""
    tenant = gateway.add("acme").add_branch(keepalive=0)
    gateway.start().settle()
    tenant.reaches()
    places = gateway.folder / "acme.peers"
    wait_until(places.exists, 15, "the branch's place is kept")
    assert places.stat().st_mode & 0o777 == 0o600
    gateway.end(signal.SIGKILL)
    gateway.start().settle()
    began = time.monotonic()
    done = tenant.inner.run("ping", "-n", "-c", "1", "-w", "30", "10.0.0.2", check=False)
    assert done.returncode == 0, done.stdout + gateway.log
    print(f"a silent branch after a kill: {time.monotonic() - began:.1f} s")
    gateway.command("gateway", "remove", "acme", "--yes")
    assert not places.exists()


def test_gateway_ends_with_nothing_left(gateway):
    tenant = gateway.add("acme").add_branch()
    gateway.start().settle()
    tenant.reaches()
    assert gateway.end() == 0, gateway.log
    assert tenant.interface not in tenant.inner.interfaces()
    assert not Path(f"/var/run/wireguard/{tenant.interface}.sock").exists()


def test_second_gateway_of_a_folder_is_refused(gateway):
    steady = with_steady(gateway)
    done = gateway.command("gateway", "start", "--listen-port", "4000", check=False)
    assert done.returncode == 1 and "runs already" in gateway.log
    assert not (gateway.folder / "gateway.json").exists()
    steady.reaches()


def test_start_and_stop_by_command(gateway):
    tenant = gateway.add("acme").add_branch()
    done = gateway.command("gateway", "start", "--workers", "2")
    assert "1 tenant: 1 up" in done.stdout, done.stdout
    tenant.reaches()
    assert "1 up" in gateway.command("gateway", "reload").stdout
    written = tenant.configuration.read_text()
    tenant.configuration.write_text("[Interface]\nPrivateKey = no\n")
    gateway.write("broken", "{")
    assert gateway.command("gateway", "reload", check=False).returncode == 1
    assert "broken: fileBroken: " in gateway.log and "acme: " in gateway.log
    tenant.configuration.write_text(written)
    gateway.remove("broken")
    assert "1 tenant: 1 up" in gateway.command("gateway", "reload").stdout
    tenant.reaches()
    text = gateway.command("status").stdout
    assert "the gateway runs on UDP port" in text and tenant.interface in text
    assert f"interface {tenant.interface}" not in text, "a table line of its own is enough"
    gateway.command("gateway", "stop")
    assert gateway.pid is None and tenant.is_cut_off()


def test_namespace_of_its_own_goes_when_the_tenant_moves(gateway):
    tenant = gateway.add("acme")
    other = f"{gateway.lab.tag}-other"
    gateway.lab.closing.callback(lambda: run("ip", "netns", "del", other, check=False))
    gateway.start().settle()
    assert Path(f"/run/netns/{tenant.inner.name}").exists()
    gateway.command("gateway", "set", "acme", "--namespace", other)
    assert Path(f"/run/netns/{other}").exists()
    assert not Path(f"/run/netns/{tenant.inner.name}").exists()
    gateway.command("gateway", "remove", "acme", "--yes")
    assert not Path(f"/run/netns/{other}").exists()


def test_start_with_the_port_taken_says_so(gateway):
    """The gateway goes on trying, and is reached once the port is free."""
    tenant = gateway.add("acme").add_branch()
    with gateway.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", PORT))
        assert gateway.command("gateway", "start", check=False).returncode == 1
        assert f"nothing reaches it: UDP port {PORT} is in use" in gateway.log
        shown = json.loads(gateway.command("gateway", "show", "--json").stdout)
        assert str(PORT) in shown["socket_fault"] and shown["is_running"]
        for command in (("gateway", "show"), ("status",)):
            assert f"nothing reaches it: UDP port {PORT}" in gateway.command(*command).stdout
    wait_until(lambda: "socketFault" not in gateway.status(), 15, "the port is open")
    tenant.reaches()


# Memberships


def test_join_as_a_tenant_beside_one_with_the_same_addresses(lab):
    """`join TOKEN --namespace` makes a tenant of the gateway, started where it does not run."""
    site = Site(lab)
    gateway = Gateway(lab, site)
    namespace = f"{lab.tag}-joined"
    lab.closing.callback(lambda: run("ip", "netns", "del", namespace, check=False))
    interface = lab.interface_name()
    done = gateway.command(
        "join", "-", "--namespace", namespace, "--interface", interface, "--name", "node-1",
        "--endpoint", f"{gateway.outer}:{PORT}",
        input=site.token(1, "gateway").join_text + "\n")
    assert "has joined acme" in done.stdout
    branch = site.branch(2)
    branch.reaches(inner(1))
    branch.reaches(inner(1, 6))
    beta = gateway.add("beta", addresses=["10.64.0.1/24"])
    gateway.command("gateway", "reload")
    beta.await_up()
    branch.reaches(inner(1))
    assert gateway.tenant("acme")["state"] == "up"
    shown = json.loads(gateway.command("status", "--tenant", "acme", "--json").stdout)
    assert shown["membership"].endswith(interface) and shown["live_peer_count"] == 1
    assert shown["device"]["agent"]["tenant"] == "acme"
    for command, word in ((("down", interface), "gateway remove"), (("up", interface), "gateway")):
        assert gateway.command(*command, check=False).returncode == 1
        assert word in gateway.log
    # After a kill it finds its way back, without the coordinator.
    pid = gateway.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gateway.pid is None, 5, "it is gone")
    gateway.command("gateway", "start")
    branch.reaches(inner(1), seconds=60)
    # One that was removed does not start by itself, and can be put back.
    removed = gateway.command("gateway", "remove", "acme", "--yes")
    back = f"gateway add acme --membership {interface}"
    assert back in removed.stdout
    assert gateway.command("up", interface, check=False).returncode == 1 and back in gateway.log
    assert gateway.command(
        "gateway", "add", "other", "--membership", interface, check=False).returncode == 2
    gateway.command(
        "gateway", "add", "acme", "--membership", interface, "--namespace", namespace)
    branch.reaches(inner(1), seconds=60)
    gateway.command("leave", interface, "--yes")
    assert gateway.tenant("acme") is None and not (gateway.state_folder / interface).exists()
    assert not Path(f"/run/netns/{namespace}").exists()
    assert gateway.tenant("beta")["state"] == "up"


def test_failed_join_leaves_nothing(lab):
    site = Site(lab)
    gateway = Gateway(lab, site)
    steady = gateway.add("steady").add_branch()
    gateway.start().settle()
    with Undisturbed(steady):
        done = gateway.command(
            "join", "-", "--namespace", "/proc/1/comm", "--name", "node-1", "--endpoint",
            f"{gateway.outer}:4000", check=False,
            input=site.token(1, "gateway").join_text + "\n")
        assert done.returncode == 1 and "undoing" in gateway.log
        assert f"share UDP port {PORT}, and --endpoint tells others port 4000" in gateway.log
        assert gateway.tenant("acme") is None
        assert {entry.name for entry in gateway.state_folder.iterdir()} == {"gateway"}
        branch = gateway.command(
            "join", "-", "--namespace", "x", check=False, input=site.token(2).join_text + "\n")
        assert branch.returncode == 2 and "only gateways have tenants" in gateway.log
