"""Joining a network, and staying in it: with the coordinator, without it, across restarts."""

import json
import os
import stat
import threading
import time

import pytest

from fakecoordinator import Problem, claims_of, grant_of
from joined import GATEWAY_PORT, Ping, Site, branchline, inner
from lab import wait_until

pytestmark = pytest.mark.branchline_only


def test_join_to_first_packet(lab):
    """From the command to the first packet through the tunnel, both families, both ways."""
    site = Site(lab)
    gateway = site.gateway()
    branch = site.node(2)
    token = site.token(2)
    began = time.monotonic()
    done = branch.join(token)
    branch.reaches(inner(1))
    took = time.monotonic() - began
    print(f"join to first packet: {took:.2f} s")
    assert took < 20, took
    for word in ("acme", "node-2", "10.64.0.2/32", "fd00:64::2/128", "node-1"):
        assert word in done.stdout, done.stdout
    branch.reaches(inner(1, 6))
    gateway.reaches(inner(2))
    gateway.reaches(inner(2, 6))


def test_status_tells_of_the_agent(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.await_agent(lambda status: status.get("connected_since"))
    agent = branch.status()["agent"]
    assert agent["state"] == "active" and agent["tenant"] == "acme"
    assert agent["role"] == "branch" and agent["accepted_peers"] == 1
    assert agent["coordinator"] == site.coordinator.url
    assert agent["grant_expires_at"] > time.time()
    text = branch.command("status", branch.interface).stdout
    for word in ("tenant", "acme", "active", "connected since", "1 accepted", "node-1  "):
        assert word in text, text
    assert [peer["name"] for peer in branch.peers()] == ["node-1"]
    assert "peer_names" not in agent
    chain = site.coordinator.revoke("A" * 43)
    assert chain
    listed = branch.await_agent(lambda status: status["revocation_lists"])["revocation_lists"]
    assert listed[0]["realm"] == "acme" and listed[0]["entry_count"] == 1
    shown = branch.command("status", branch.interface).stdout
    assert "acme: list " in shown and " ago, 1 entry" in shown, shown
    secret = (branch.folder / "secret").read_text().strip()
    everything = json.dumps(branch.status()) + text + branch.log + gateway.log
    assert secret not in everything and "bln_" not in everything


def test_membership_is_closed_to_others(lab):
    site = Site(lab)
    branch = site.branch()
    assert stat.S_IMODE(branch.folder.stat().st_mode) == 0o700
    for file in branch.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    branch.command("down", branch.interface)
    key = branch.folder / "wireguard.key"
    key.chmod(0o644)
    done = branch.command("up", branch.interface, check=False)
    assert done.returncode == 1 and "has mode 644" in branch.log
    key.chmod(0o600)
    os.chown(branch.folder, 1, 1)
    assert branch.command("up", branch.interface, check=False).returncode == 1
    assert "belongs to user 1" in branch.log
    os.chown(branch.folder, 0, 0)
    (branch.folder / "trust.json").write_text('{"version":1,')
    assert branch.command("up", branch.interface, check=False).returncode == 1
    assert "trust.json is damaged" in branch.log
    branch.command("leave", branch.interface, "--yes", "--force")
    assert not branch.folder.exists()


def test_networks_behind_nodes_are_routed(lab):
    site = Site(lab)
    gateway = site.gateway(routes=["10.99.0.0/16", "fd00:99::/64"])
    branch = site.branch(routes=["192.168.7.0/24"])
    routes = branch.namespace.run("ip", "route").stdout
    assert f"10.99.0.0/16 dev {branch.interface}" in routes, routes
    assert f"fd00:99::/64 dev {branch.interface}" in branch.namespace.run(
        "ip", "-6", "route").stdout
    routes = gateway.namespace.run("ip", "route").stdout
    assert f"192.168.7.0/24 dev {gateway.interface}" in routes, routes
    gateway.namespace.configure(
        "link add lan0 type bridge", "address add 10.99.0.1/16 dev lan0 noprefixroute",
        "link set lan0 up")
    branch.reaches("10.99.0.1")
    member = site.member(branch)
    site.coordinator.set_chain(
        member, site.coordinator.grant(member, routes=["192.168.8.0/24"]))

    def is_moved() -> bool:
        routes = gateway.namespace.run("ip", "route").stdout
        return "192.168.8.0/24" in routes and "192.168.7.0/24" not in routes

    wait_until(is_moved, 5, "the gateway follows the new grant")
    branch.reaches("10.99.0.1")


def test_grant_with_other_addresses_moves_the_node(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    member = site.member(branch)
    site.coordinator.set_chain(
        member, site.coordinator.grant(member, addresses=["10.64.0.77/32"]))
    wait_until(lambda: "10.64.0.77/32" in branch.namespace.run(
        "ip", "address", "show", branch.interface).stdout, 5, "the new address")
    addresses = branch.namespace.run("ip", "address", "show", branch.interface).stdout
    assert "10.64.0.2/32" not in addresses and "fd00:64::2" not in addresses
    gateway.reaches("10.64.0.77")


def test_unchanged_peers_are_not_touched(lab):
    """Of three branches one is revoked and one joins; the third keeps its session and packets."""
    site = Site(lab)
    gateway, steady, leaving = site.gateway(), site.branch(2), site.branch(3)
    steady.reaches(inner(1))
    leaving.reaches(inner(1))
    ping = Ping(steady, inner(1), interval=0.01)
    time.sleep(0.3)
    site.branch(4).reaches(inner(1))
    site.coordinator.revoke(site.member(leaving).node)
    wait_until(lambda: len(gateway.peers()) == 2, 5, "the revoked peer is gone")
    time.sleep(1)
    sent, received, _ = ping.finish()
    assert sent == received, (sent, received)
    assert leaving.is_cut_off(inner(1))


def test_revocation_cuts_packets_within_a_second(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    ping = Ping(branch, inner(1))
    time.sleep(0.5)
    # The branch does not hear of it, as a thief would not listen.
    node = site.member(branch).node
    site.coordinator.tenant_revocations = chain = site.coordinator.revoke(node, is_told=False)
    revoked_at = time.time()
    site.coordinator.tell("gateways", {"revocations": chain})
    time.sleep(5)
    last = ping.finish()[2]
    print(f"last answer {1000 * (last - revoked_at):.1f} ms after the revocation")
    assert last - revoked_at < 4, "a second, and what a busy machine adds"
    assert gateway.peers() == []
    # Once it hears, it takes its own tunnel down.
    site.coordinator.tell("others", {"revocations": chain})
    branch.await_agent(lambda status: status["state"] == "revoked")
    wait_until(lambda: branch.peers() == [], 5, "the revoked node has no peers")
    shown = branch.command("status", branch.interface).stdout
    assert "revoked by an admin (nodeRevoked: " in shown, shown
    assert "grant " not in shown, shown
    told = gateway.command("status", gateway.interface).stdout
    assert "node-2, node " in told and "revoked or suspended by an admin, " in told, told
    assert inner(2) not in branch.namespace.run(
        "ip", "address", "show", branch.interface).stdout


def test_suspended_node_comes_back_with_a_new_grant(lab):
    site = Site(lab)
    site.gateway()
    branch = site.branch()
    branch.reaches(inner(1))
    member = site.member(branch)
    serial = grant_of(member.chain)["serial"]
    site.coordinator.revoke(member.node, serials={member.node: serial})
    branch.await_agent(lambda status: status["state"] == "suspended")
    shown = branch.command("status", branch.interface).stdout
    assert "suspended by an admin (nodeRevoked: " in shown, shown
    assert branch.is_cut_off(inner(1))
    site.coordinator.set_chain(member, site.coordinator.grant(member))
    branch.await_agent(lambda status: status["state"] == "active")
    took = branch.reaches(inner(1))
    print(f"first answer after a new grant: {took:.2f} s")
    assert took < 14, took


def test_approval_is_waited_for_in_the_background(lab):
    site = Site(lab)
    site.gateway()
    branch = site.node(2)
    done = branch.join(site.token(2, approval=True))
    assert "approve" in done.stdout and done.returncode == 0
    assert branch.agent()["state"] == "pending"
    shown = branch.command("status", branch.interface).stdout
    assert "approval: `branchline node approve node-2 --tenant acme`" in shown, shown
    assert branch.status()["peers"] == []
    member = site.member(branch)
    site.coordinator.set_chain(member, site.coordinator.grant(member))
    branch.await_agent(lambda status: status["is_in_force"])
    branch.reaches(inner(1))


def test_restart_from_disk_without_the_coordinator(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    wait_until(lambda: json.loads(
        (gateway.folder / "network.json").read_text())["peers"], 5, "the gateway keeps its peer")
    site.coordinator.stop()
    for node in (gateway, branch):
        node.command("down", node.interface)
        node.command("up", node.interface)
    branch.reaches(inner(1))
    branch.kill()
    branch.command("up", branch.interface)
    branch.reaches(inner(1, 6))
    agent = branch.agent()
    assert agent["state"] == "active" and agent.get("connected_since") is None
    site.coordinator.start()
    branch.await_agent(lambda status: status.get("connected_since"), 20)


def test_gateway_restart_costs_a_branch_no_more_than_a_moment(lab):
    """The gateway begins: a branch would find out only by silence, after 15 seconds."""
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    gateway.command("down", gateway.interface)
    kept = gateway.folder / "endpoints.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(json.loads(kept.read_text())["endpoints"]) == [site.member(branch).node]
    for is_alone in (False, True):
        if is_alone:
            site.coordinator.stop()
            gateway.command("down", gateway.interface)
        gateway.command("up", gateway.interface)
        took = branch.reaches(inner(1))
        print(f"first answer after down and up: {took:.2f} s")
        assert took < 14, took
    # The keepalive that began it is off again.
    wait_until(lambda: gateway.peers()[0]["persistent_keepalive_seconds"] == 0, 5, "no keepalive")
    gateway.kill()
    gateway.command("up", gateway.interface)
    took = branch.reaches(inner(1))
    print(f"first answer after a kill: {took:.2f} s")
    assert took < 14, took


def test_damaged_endpoints_are_done_without(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    kept, node = gateway.folder / "endpoints.json", site.member(branch).node
    for text in ("{", '{"version":1,"endpoints":{"x":"y"}}',
                 json.dumps({"version": 1, "endpoints": {node: "192.0.2.99:9"}})):
        gateway.command("down", gateway.interface)
        kept.write_text(text)
        gateway.command("up", gateway.interface)
        assert gateway.agent()["is_in_force"]
    # A wrong endpoint is a hint only: the branch's own handshake corrects it.
    branch.command("down", branch.interface)
    branch.command("up", branch.interface)
    branch.reaches(inner(1))
    assert gateway.peers()[0]["endpoint"].startswith(branch.outer)


@pytest.mark.long
def test_tunnels_rekey_while_the_coordinator_is_away(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    site.coordinator.stop()
    ping = Ping(branch, inner(1), interval=0.1)
    time.sleep(260)
    sent, received, _ = ping.finish()
    assert received == sent, (sent, received)
    assert time.time() - branch.peers()[0]["latest_handshake_seconds"] < 140
    gateway.reaches(inner(2))


def test_stream_that_ends_is_resumed(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    reports = site.member(gateway).reports
    wait_until(lambda: reports and reports[-1]["applied_number"] == site.coordinator.number, 10,
               "the gateway has reported")
    before = len(reports)
    for _ in range(3):
        site.coordinator.hang_up()
        for member in site.coordinator.members.values():
            wait_until(lambda: member.streams, 10, f"{member.name} is back")
    # A coordinator that began anew does not know what is in force here.
    wait_until(lambda: len(reports) > before, 10, "the gateway reports again")
    other = site.branch(3)
    other.reaches(inner(1))
    branch.reaches(inner(1))


def test_key_rotation_loses_no_packet(lab):
    site = Site(lab)
    gateway = site.gateway()
    branch = site.branch(2, "--rotate-every", "3s")
    branch.reaches(inner(1))
    first = branch.status()["public_key"]
    ping = Ping(branch, inner(1), interval=0.005)
    keys = {first}
    deadline = time.monotonic() + 75
    while len(keys) < 4 and time.monotonic() < deadline:
        keys.add(branch.status()["public_key"])
        time.sleep(0.2)
    time.sleep(1)
    sent, received, _ = ping.finish()
    assert len(keys) >= 4, branch.log
    assert sent == received, (sent, received)
    # A key may come between two questions.
    wait_until(lambda: not (branch.folder / "wireguard.next").exists()
               or branch.agent()["is_rotating"], 10, "no key is left over")
    wait_until(lambda: gateway.peers()[0]["public_key"] == branch.status()["public_key"], 20,
               "both know the same key")
    # The new keys are good for handshakes.
    branch.command("down", branch.interface)
    branch.command("up", branch.interface)
    branch.reaches(inner(1))


def test_rotation_survives_kills(lab):
    site = Site(lab)
    site.gateway()
    branch = site.branch(2, "--rotate-every", "1s")
    branch.reaches(inner(1))
    for attempt in range(8):
        time.sleep(0.4 + 0.13 * attempt)
        branch.kill()
        branch.command("up", branch.interface)
        branch.reaches(inner(1), 45)


def test_kill_loop_while_changes_arrive(lab):
    """Whenever the gateway dies, its next start is a good one with what it was told so far."""
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    member, stopping = site.member(branch), threading.Event()

    def churn():
        number = 0
        while not stopping.is_set():
            number += 1
            member.name = f"node-2-{number}"
            site.coordinator.announce(member)
            if number % 20 == 0:
                site.coordinator.revoke(
                    "A" * 43, number=int(time.time()) - 100 + number // 20)
            time.sleep(0.005)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for attempt in range(12):
            time.sleep(0.1 + 0.05 * attempt)
            gateway.kill()
            gateway.command("up", gateway.interface)
            assert gateway.agent()["is_in_force"] and len(gateway.peers()) == 1
    finally:
        stopping.set()
        thread.join()
    # A branch finds out only by silence that a gateway has lost its session.
    branch.reaches(inner(1), 60)


def test_leave_wipes_and_tells(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    assert branch.command("leave", branch.interface, check=False).returncode == 2
    branch.command("leave", branch.interface, "--yes")
    assert site.coordinator.members and not branch.folder.exists()
    assert branch.interface not in branch.namespace.interfaces()
    wait_until(lambda: gateway.peers() == [], 5, "the gateway forgets it")


def test_revoked_node_leaves_without_anybody_to_tell(lab):
    site = Site(lab)
    branch = site.branch()
    site.member(branch).state = "revoked"
    done = branch.command("leave", branch.interface, "--yes")
    assert "has left acme" in done.stdout and not branch.folder.exists()
    assert "revoked this node already" in branch.log and "Problem(" not in branch.log


def test_second_join_of_a_tenant_needs_a_name(lab):
    site = Site(lab)
    node = site.branch()
    done = node.command("join", "-", input=site.token(3).join_text, check=False)
    assert done.returncode == 1
    assert f"already joined acme as {node.interface}; " in node.log
    assert "name another --interface to join twice" in node.log
    assert len(site.coordinator.members) == 1


def test_port_of_an_own_interface_is_said_once(lab):
    site = Site(lab)
    gateway = site.gateway()
    done = gateway.command(
        "join", "-", "--interface", lab.interface_name(), "--endpoint",
        f"{gateway.outer}:{GATEWAY_PORT}", input=site.token(3, "gateway").join_text, check=False)
    assert done.returncode == 1
    assert f"UDP port {GATEWAY_PORT} is that of {gateway.interface}; choose" in gateway.log


def test_leave_without_the_coordinator_takes_force(lab):
    site = Site(lab)
    branch = site.branch()
    site.coordinator.stop()
    done = branch.command("leave", branch.interface, "--yes", check=False)
    assert done.returncode == 1 and "--force" in branch.log and branch.folder.exists()
    branch.command("leave", branch.interface, "--yes", "--force")
    assert not branch.folder.exists() and branch.pid is None


def expect_refusal(node, token, words: str, *options: str):
    done = node.join(token, *options, check=False)
    assert done.returncode in (1, 2), done.stdout
    assert words in node.log, node.log
    assert not node.folder.exists() and node.pid is None
    assert not node.state_folder.exists() or not any(node.state_folder.iterdir())
    assert node.interface not in node.namespace.interfaces()


def test_tokens_that_let_nobody_in(lab):
    site = Site(lab)
    node, now = site.node(2), int(time.time())
    expect_refusal(node, "bl1~hello", "that is not a token")
    expect_refusal(node, "", "standard input is empty")
    expect_refusal(node, site.token(2, nbf=now - 9000, exp=now - 3600), "has expired")
    expect_refusal(node, site.token(2, nbf=now + 3600, exp=now + 7200), "clock")
    expect_refusal(
        node, site.token(2), "only gateways have an --endpoint", "--endpoint", "192.0.2.2:1")
    text = site.token(2).join_text
    other = site.token(2).join_text.split("~")
    parts = text.split("~")
    expect_refusal(node, "~".join(parts[:2] + other[2:3] + parts[3:]), "was changed on its way")
    used = site.token(2)
    site.node(4).join(used)
    expect_refusal(node, used, "was used already")
    site.coordinator.enrolment_problem = Problem(404, "token_unknown", "never heard of it")
    expect_refusal(node, site.token(2), "does not know the token")
    site.coordinator.enrolment_problem = None
    expect_refusal(node, site.token(2, serverPin="A" * 43), "not the pinned one")
    site.coordinator.stop()
    expect_refusal(node, site.token(2), "cannot be reached")
    assert claims_of(used.link)["uses"] == 1


def test_join_undoes_itself_where_the_daemon_fails(lab):
    site = Site(lab)
    node = site.node(2)
    done = node.command(
        "join", "-", "--interface", node.interface, "--daemon", "/bin/false",
        input=site.token(2).join_text, check=False)
    assert done.returncode == 1 and not node.folder.exists()
    member = next(iter(site.coordinator.members.values()))
    assert member.state == "left"


def test_join_warns_where_no_gateway_answers(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.node(2)
    gateway.command("down", gateway.interface)
    done = branch.join(site.token(2))
    assert "has joined acme" in done.stdout and branch.pid
    assert f"warning: {branch.interface} has joined, but no gateway (node-1)" in branch.log
    gateway.command("up", gateway.interface)
    branch.reaches(inner(1))
    other = site.node(3)
    other.join(site.token(3))
    assert "warning" not in other.log


def test_token_file_is_removed_once_used(lab):
    site = Site(lab)
    node, path = site.node(2), lab.folder / "token"
    path.write_text(site.token(2).join_text + "\n")
    node.command("join", "--token-file", str(path), "--interface", node.interface)
    assert not path.exists()


def test_free_name_is_found(lab):
    site = Site(lab)
    node = site.node(2)
    done = node.command("join", "-", input=site.token(2).join_text)
    node.interface = done.stdout.split()[0]
    assert node.interface.startswith("bl") and node.interface in node.namespace.interfaces()
    assert branchline()
