"""The tenant's rules in the data plane: who may reach which service, and what is cut."""

import contextlib
import json
import re
import socket
import time

import pytest

from joined import Site, inner
from lab import wait_until

pytestmark = pytest.mark.branchline_only

SERVER, OPEN, CLOSED, NAMES = "10.9.0.5", 8000, 2222, 5353
PLANT, OFFICE = 2, 3

POLICY = {
    "services": [{"name": "models", "destinations": ["10.9.0.0/24"]}],
    "rules": [
        {"name": "plants-ask", "from": ["plants"], "to": ["models"], "transport": "tcp",
         "ports": [str(OPEN)]},
        {"name": "names", "from": ["plants", "offices"], "to": ["models"], "transport": "udp",
         "ports": [str(NAMES)]},
        {"name": "ping", "from": ["*"], "to": ["hq"], "transport": "icmp", "ports": []}],
    "tests": []}


class Cluster:
    """A gateway with a server behind it, and two branches in different groups."""

    def __init__(self, lab, policy: dict | None = POLICY):
        self.site = Site(lab)
        self.policy = policy
        self.site.coordinator.change_state = self.with_policy
        self.gateway = self.site.gateway(groups=["hq"], routes=["10.9.0.0/16"])
        self.plant = self.site.branch(PLANT, groups=["plants"])
        self.office = self.site.branch(OFFICE, groups=["offices"])
        self.server = lab.namespace()
        lab.link(self.gateway.namespace, self.server, "cluster", "veth0")
        self.gateway.namespace.configure("address add 10.9.0.1/16 dev cluster")
        self.gateway.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.server.configure(
            f"address add {SERVER}/16 dev veth0", "route add default via 10.9.0.1")
        self.listeners = [self.listen(port) for port in (OPEN, CLOSED)]
        self.plant.reaches(inner(1))
        self.office.reaches(inner(1))

    def with_policy(self, member, state):
        return {**state, "policy": self.policy} if self.policy else state

    def listen(self, port: int) -> socket.socket:
        made = self.server.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((SERVER, port))
        made.listen(16)
        return made

    def set_policy(self, policy: dict):
        self.policy = policy
        self.site.coordinator.tell("all", {"policy": policy})

    def connect(self, node, port: int, seconds: float = 2) -> socket.socket | None:
        made = node.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(seconds)
        try:
            made.connect((SERVER, port))
            return made
        except OSError:
            made.close()
            return None

    def accept(self, port: int = OPEN) -> socket.socket:
        listener = self.listeners[0 if port == OPEN else 1]
        listener.settimeout(30)
        accepted, _ = listener.accept()
        accepted.settimeout(2)
        return accepted

    def conversation(self, node=None) -> tuple[socket.socket, socket.socket]:
        client = self.connect(node or self.plant, OPEN, 30)
        assert client
        return client, self.accept()


def denials(node) -> dict[str, int]:
    return node.status()["engine"].get("access", {}).get("denials", {})


def carries(sender: socket.socket, receiver: socket.socket, text: bytes = b"token",
            seconds: float = 20) -> bool:
    try:
        sender.sendall(text)
        receiver.settimeout(seconds)
        return receiver.recv(100) == text
    except OSError:
        return False


def test_one_group_reaches_the_service_and_the_other_does_not(lab):
    cluster = Cluster(lab)
    client, server = cluster.conversation()
    assert carries(client, server) and carries(server, client), "answers need no rule"
    assert cluster.connect(cluster.plant, CLOSED) is None
    assert cluster.connect(cluster.office, OPEN) is None
    for node in (cluster.plant, cluster.office):
        with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            with cluster.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as names:
                names.bind((SERVER, NAMES))
                asker.sendto(b"name?", (SERVER, NAMES))
                question, place = names.recvfrom(100)
                names.sendto(b"here", place)
                assert question == b"name?" and asker.recv(100) == b"here"


def test_the_server_opens_nothing_inwards(lab):
    cluster = Cluster(lab)
    client, server = cluster.conversation()
    branch = cluster.plant.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    branch.bind(("0.0.0.0", 7000))
    branch.listen(4)
    for port in (0, OPEN + 1):
        attacker = cluster.server.socket(socket.AF_INET, socket.SOCK_STREAM)
        attacker.bind((SERVER, port))
        attacker.settimeout(0.7)
        with pytest.raises(OSError):
            attacker.connect((inner(PLANT), 7000))
        attacker.close()
    branch.settimeout(0.1)
    with pytest.raises(TimeoutError):
        branch.accept()
    wait_until(lambda: denials(cluster.gateway).get("no rule", 0) >= 2, 5, "denials")
    done = cluster.server.run("ping", "-c", "1", "-W", "1", inner(PLANT), check=False)
    assert done.returncode != 0
    assert cluster.plant.reaches(SERVER) < 10, "while the branch may ask"
    assert carries(server, client)


def test_gateways_answer_pings_under_every_policy(lab):
    """Branches with two gateways ask them so whether they are there."""
    cluster = Cluster(lab, {"rules": [], "tests": []})
    assert cluster.plant.is_cut_off(SERVER, 1)
    assert cluster.connect(cluster.plant, OPEN, 0.5) is None


def test_denials_are_shown_by_rule(lab):
    cluster = Cluster(lab)
    assert cluster.connect(cluster.plant, CLOSED, 0.5) is None
    assert cluster.connect(cluster.office, OPEN, 0.5) is None
    wait_until(lambda: denials(cluster.plant).keys() == {"plants-ask"}, 5, "plants' denials")
    wait_until(lambda: denials(cluster.office).keys() == {"names"}, 5, "the office's denials")
    text = cluster.plant.command("status", cluster.plant.interface).stdout
    assert re.search(r"access rules +enforced; \d+ of 16384 connections known", text), text
    assert "DENIED, NEAREST RULE" in text and re.search(r"plants-ask +\d+", text), text


def test_a_change_takes_effect_at_once_and_cuts(lab):
    cluster = Cluster(lab)
    kept, kept_server = cluster.conversation()
    assert carries(kept, kept_server)
    narrow = {**POLICY, "rules": POLICY["rules"][1:]}
    began = time.monotonic()
    cluster.set_policy(narrow)
    wait_until(lambda: cluster.connect(cluster.plant, OPEN, 2) is None, 5, "cut", 0)
    took = time.monotonic() - began
    print(f"policy in force after {took:.2f} s")
    assert took < 10
    assert not carries(kept, kept_server, seconds=1.5), "what was open is cut, too"
    assert not carries(kept_server, kept, b"more", 1.5)
    # Another rule, under which the conversation is allowed again, and goes on.
    cluster.set_policy(POLICY)
    kept_server.settimeout(30)
    assert kept_server.recv(100).startswith(b"token")


def test_a_change_leaves_what_it_allows_alone(lab):
    """A stream whose server speaks alone goes on over changes of the rules and of others."""
    cluster = Cluster(lab)
    client, server = cluster.conversation()
    for number in range(3):
        rules = [{"name": f"new-{number}", "from": ["offices"], "to": ["models"],
                  "transport": "tcp", "ports": ["1"]}, *POLICY["rules"]]
        cluster.set_policy({**POLICY, "rules": rules})
        time.sleep(0.3)
        assert carries(server, client), number
    cluster.site.branch(4, groups=["plants"]).reaches(inner(1))
    assert carries(server, client)


def test_a_new_group_gives_and_takes_at_once(lab):
    cluster = Cluster(lab)
    coordinator = cluster.site.coordinator
    assert cluster.connect(cluster.office, OPEN, 0.5) is None
    member = cluster.site.member(cluster.office)
    coordinator.set_chain(member, coordinator.grant(member, groups=["plants"]))
    client = wait_until(lambda: cluster.connect(cluster.office, OPEN, 5), 5, "let in")
    server = cluster.accept()
    assert carries(client, server)
    coordinator.set_chain(member, coordinator.grant(member, groups=["offices"]))
    wait_until(lambda: cluster.connect(cluster.office, OPEN, 2) is None, 5, "cut", 0)
    assert not carries(server, client, seconds=1.5)


def test_the_first_policy_finds_streams_running(lab):
    """Before it everything is allowed; what it allows goes on, the rest ends."""
    cluster = Cluster(lab, policy=None)
    client, server = cluster.conversation()
    stranger, stranger_server = cluster.conversation(cluster.office)
    assert "access" not in cluster.plant.status()["engine"]
    cluster.set_policy(POLICY)
    wait_until(lambda: cluster.connect(cluster.plant, CLOSED, 2) is None, 5, "in force", 0)
    assert carries(server, client), "the server speaks first"
    wait_until(lambda: not carries(stranger_server, stranger, seconds=1.5), 5,
               "in force there, too", 0)


def test_a_restart_keeps_rules_and_streams(lab):
    """Without the coordinator, the rules come from disk and hold before the first packet."""
    cluster = Cluster(lab)
    client, server = cluster.conversation()
    cluster.plant.await_agent(lambda status: status.get("connected_since"))
    kept = cluster.gateway.folder / "network.json"
    wait_until(lambda: len(json.loads(kept.read_text())["peers"]) == 2, 5, "peers are kept")
    time.sleep(1.5)
    cluster.site.coordinator.stop()
    cluster.gateway.kill()
    cluster.gateway.command("up", cluster.gateway.interface)
    cluster.plant.reaches(inner(1), 60)
    assert cluster.connect(cluster.office, OPEN, 0.5) is None
    wait_until(lambda: denials(cluster.office), 5, "the office's denials")
    assert carries(server, client), "the server speaks first, to a gateway without memory"
    assert carries(client, server)
    with contextlib.closing(cluster.connect(cluster.plant, OPEN, 30)) as second:
        assert second
