"""QoS policy from its author to both ends of a tunnel: coordinator, grants and local files."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from joined import Node, Site, inner
from lab import UAPI_FOLDER, branchlined, run, wait_until
from test_network import Headquarters, join, program

pytestmark = pytest.mark.branchline_only

LOCAL_FOLDER = Path("/etc/branchline/qos")
PORT = 8000


def ask(interface: str, request: str) -> list[tuple[str, str]]:
    """Returns the answer to a request on the configuration socket, line by line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(UAPI_FOLDER / f"{interface}.sock"))
        connection.sendall(request.encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            piece = connection.recv(1 << 16)
            assert piece, f"{request!r}: {answer!r}"
            answer += piece
    pairs = [tuple(line.split("=", 1)) for line in answer.decode().split("\n") if line]
    assert ("errno", "0") in pairs, pairs
    return pairs


def lines(interface: str) -> dict[str, str]:
    """Returns the rates of the lines that a tunnel knows: its own, and by the peer's key."""
    found = {}
    for key, value in ask(interface, "qos=1\n\n"):
        if key == "link":
            found["link"] = value
        elif key == "path":
            peer, rest = value.split(" ", 1)
            found[peer] = rest
    return found


def flow(node: Node, port: int = PORT) -> dict[str, str]:
    """Returns what a node knows of the flow to a port."""
    pairs = ask(node.interface, f"flows=1\nport={port}\n\n")
    return dict(pairs)


def await_lines(node: Node, wanted: dict[str, str], seconds: float = 10):
    try:
        wait_until(lambda: lines(node.interface) == wanted, seconds, "the lines of the policy")
    except AssertionError as error:
        raise AssertionError(f"{error}: {lines(node.interface)}\n{node.log}") from None


def key_of(gateway: Node) -> str:
    """Returns the only peer's public key as the configuration socket writes it."""
    return next(value for key, value in ask(gateway.interface, "get=1\n\n")
                if key == "public_key")


@contextlib.contextmanager
def conversation(client: Node, server: Node, address: str):
    """A connection with a byte each way."""
    with contextlib.ExitStack() as closing:
        listener = closing.enter_context(
            server.namespace.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1)
        caller = closing.enter_context(
            client.namespace.socket(socket.AF_INET, socket.SOCK_STREAM))
        caller.settimeout(30)
        caller.connect((address, PORT))
        listener.settimeout(30)
        answerer = closing.enter_context(listener.accept()[0])
        answerer.settimeout(30)
        caller.sendall(b"?")
        assert answerer.recv(1) == b"?"
        answerer.sendall(b"!")
        assert caller.recv(1) == b"!"
        yield


@contextlib.contextmanager
def local_file(node: Node, policy: dict | str):
    """A local policy of the node's interface, where the daemon looks for it."""
    LOCAL_FOLDER.mkdir(parents=True, exist_ok=True)
    path = LOCAL_FOLDER / f"{node.interface}.json"
    path.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.skipif(not os.access(program(), os.X_OK), reason="no coordinator is built")
def test_a_policy_is_in_force_on_both_ends(lab):
    site = Site(lab, has_coordinator=False)
    headquarters = Headquarters(site)
    headquarters.admin("tenant", "add", "acme", "--pool", "10.64.0.0/16")
    gateway, branch = site.node(1), site.node(2)
    hub = join(gateway, headquarters, "gateway")
    join(branch, headquarters, "branch")
    branch.reaches(hub)
    assert lines(branch.interface) == {} and lines(gateway.interface) == {}
    policy = {
        "services": [{"name": "archive", "destination": hub, "transport": "tcp",
                      "ports": [str(PORT)], "traffic_class": "bulk"}],
        "links": {"node-2": {"uplink_rate": 4_000_000, "downlink_rate": 6_000_000,
                             "overhead_bytes": 22}}}
    file = lab.folder / "qos.json"

    def set_policy(policy: dict):
        file.write_text(json.dumps(policy))
        headquarters.admin("qos", "set", str(file), "--tenant", "acme")

    set_policy(policy)
    peer = key_of(gateway)
    await_lines(branch, {"link": "4000000 22"})
    await_lines(gateway, {peer: "6000000 22"})
    with conversation(branch, gateway, hub):
        for node in (branch, gateway):
            seen = flow(node)
            assert (seen["class"], seen["evidence"], seen["service"]) == (
                "bulk", "policy", "archive"), seen
    # Another name, and so another line.
    headquarters.admin("node", "rename", "node-2", "plant-seven", "--tenant", "acme")
    await_lines(branch, {})
    await_lines(gateway, {})
    policy["links"] = {"plant-seven": {"uplink_rate": 3_000_000, "downlink_rate": 5_000_000}}
    set_policy(policy)
    await_lines(branch, {"link": "3000000 14"})
    await_lines(gateway, {peer: "5000000 14"})
    # It outlives the coordinator, and the daemon.
    headquarters.stop()
    branch.kill()
    branch.command("up", branch.interface, check=False)
    await_lines(branch, {"link": "3000000 14"})
    headquarters.start()
    gateway.await_agent(lambda status: status.get("connected_since"), 30)
    wait_until(headquarters.is_listening, 20, "the coordinator listens")
    set_policy({})
    await_lines(branch, {}, 30)
    await_lines(gateway, {}, 30)


def test_a_grants_ceiling_holds_whatever_the_policy_says(lab):
    site = Site(lab)
    service = {"name": "chat", "destination": inner(1), "transport": "tcp",
               "ports": [str(PORT)], "traffic_class": "token"}
    policy = {"services": [service], "weights": {}}
    site.coordinator.change_state = lambda member, state: {**state, "qos": policy}
    gateway = site.gateway()
    branch = site.branch(2, **{"class": "bulk"})
    other = site.branch(3)
    for node in (branch, other):
        node.reaches(inner(1))
    with conversation(other, gateway, inner(1)):
        assert flow(gateway)["class"] == flow(other)["class"] == "token"
    with conversation(branch, gateway, inner(1)):
        for node in (branch, gateway):
            seen = [dict(pairs) for pairs in flows(node) if dict(pairs)["class"] == "bulk"]
            assert seen and seen[0]["limit"] == "ceiling", flows(node)


def flows(node: Node) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for key, value in ask(node.interface, f"flows=1\nport={PORT}\n\n"):
        if key == "flow":
            found.append([])
        if found and key != "errno":
            found[-1].append((key, value))
    return found


def test_a_local_file_says_what_the_policy_leaves_open(lab):
    site = Site(lab)
    policy = {"services": [], "weights": {}, "links": {"node-2": {"uplink_rate": 4_000_000}}}
    site.coordinator.change_state = lambda member, state: {
        **state, "qos": policy, "name": member.name}
    site.gateway()
    branch = site.node(2)
    with local_file(branch, {"link": {"rate": 2_000_000, "overhead_bytes": 0}}) as path:
        branch.join(site.token(2))
        branch.reaches(inner(1))
        await_lines(branch, {"link": "2000000 0"})
        path.write_text(json.dumps({"link": {"rate": 2_500_000}}))
        await_lines(branch, {"link": "2500000 14"}, 15)
        # What is wrong is told, and what was right before it stays.
        path.write_text('{"link": {"rate": 7}}')
        branch.await_agent(lambda status: any(
            str(path) in note and "link: rate" in note for note in status["notes"]), 15)
        assert lines(branch.interface) == {"link": "2500000 14"}
        path.unlink()
        await_lines(branch, {"link": "4000000 14"}, 15)
        branch.await_agent(lambda status: not status["notes"])


def test_a_tunnel_without_an_agent_reads_its_file(lab, tmp_path):
    file = tmp_path / "qos.json"
    file.write_text(json.dumps({"link": {"rate": 3_000_000}, "classify": False}))
    daemon = lab.daemon(
        lab.namespace(), branchlined(), arguments=("--qos", str(file))).start()
    name = daemon.name
    wait_until(lambda: lines(name) == {"link": "3000000 14"}, 5, "the file's line")
    assert ("classify", "false") in ask(name, "qos=1\n\n")
    daemon.end()
    file.write_text('{"link": {"rat": 3000000}}')
    daemon.start()
    assert lines(name) == {}
    wait_until(lambda: f"{file} is not used: link.rate is missing" in daemon.log, 5, "the reason")
    daemon.end()
    file.unlink()
    refused = run(branchlined(), "--qos", str(file), name, check=False)
    assert refused.returncode == 64 and f"there is no QoS policy {file}" in refused.stderr
