"""A branch with two gateways that carry the same network, and a server behind both.

Each gateway translates addresses on the server's side, so that the server sees which gateway a
flow came through, and its answers go back the same way.
"""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest

from joined import Node, Site, inner
from lab import wait_until

pytestmark = pytest.mark.branchline_only

NETWORK, SERVER, PORT = "10.200.0.0/24", "10.200.0.5", 7000
# The figure, under a second, is taken by Tests/Benchmarks/tenants.sh; a busy machine is slower.
FAILOVER_SECONDS_MAX = float(os.environ.get("BRANCHLINE_FAILOVER_SECONDS_MAX", "8.0"))


class Server:
    """Echoes datagrams, and tells both datagrams and connections whom it sees."""

    def __init__(self, namespace):
        self.datagrams = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.listener = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for made in (self.datagrams, self.listener):
            made.bind((SERVER, PORT))
            made.settimeout(None)
        self.listener.listen(256)
        for body in (self.echo, self.accept):
            threading.Thread(target=body, daemon=True).start()

    def echo(self):
        with contextlib.suppress(OSError):
            while True:
                data, (address, port) = self.datagrams.recvfrom(2048)
                self.datagrams.sendto(data[:8] + address.encode(), (address, port))

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, (address, _) = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(address.encode())

    def close(self):
        self.datagrams.close()
        self.listener.close()


class Flow:
    """One inner UDP flow at a steady rate; remembers when which gateway's answers came."""

    def __init__(self, branch: Node, per_second: int = 100):
        self.socket = branch.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((SERVER, PORT))
        self.socket.settimeout(0.2)
        self.answers: list[tuple[float, str]] = []
        self.is_stopped = False
        self.interval = 1 / per_second
        self.threads = [threading.Thread(target=body, daemon=True)
                        for body in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        number = 0
        while not self.is_stopped:
            with contextlib.suppress(OSError):
                self.socket.send(struct.pack("<Q", number) + bytes(100))
            number += 1
            time.sleep(self.interval)

    def receive(self):
        while not self.is_stopped:
            with contextlib.suppress(OSError):
                data = self.socket.recv(2048)
                self.answers.append((time.monotonic(), data[8:].decode()))

    @property
    def gateway(self) -> str:
        """The gateway of the newest answer."""
        return self.answers[-1][1]

    def gap(self, since: float) -> float:
        """Returns the longest time without an answer after `since`."""
        times = [since] + [at for at, _ in self.answers if at > since]
        return max(b - a for a, b in zip(times, times[1:] + [time.monotonic()]))

    def stop(self):
        self.is_stopped = True
        for thread in self.threads:
            thread.join(2)
        self.socket.close()


class TwoGateways:
    """Gateways 1 and 2, a server on the network behind both, and branch 3."""

    def __init__(self, lab, **preferences):
        self.lab = lab
        self.site = site = Site(lab)
        self.switch = lab.namespace()
        self.switch.configure("link add bridge0 type bridge", "link set bridge0 up")
        home = lab.namespace()
        self.attach(home, "lan0", 5)
        self.server = Server(home)
        lab.closing.callback(self.server.close)
        self.gateways = {number: self.gateway(number) for number in (1, 2)}
        for number in self.gateways:
            self.set(number, **preferences)
        self.branch = site.branch(3)
        self.branch.reaches(inner(1))
        self.branch.reaches(inner(2))
        self.branch.reaches(SERVER)

    def attach(self, namespace, device: str, number: int):
        self.lab.link(namespace, self.switch, device, f"port{number}")
        self.switch.configure(f"link set port{number} master bridge0")
        namespace.configure(f"address add 10.200.0.{number}/24 dev {device}")

    def gateway(self, number: int) -> Node:
        node = self.site.node(number)
        self.attach(node.namespace, "lan0", number)
        node.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        node.namespace.run("nft", "-f", "-", text="""
            table ip way {
                chain out {
                    type nat hook postrouting priority srcnat
                    oifname "lan0" masquerade
                }
            }
        """)
        node.join(self.site.token(number, "gateway", routes=[NETWORK]))
        return node

    def set(self, number: int, **preference):
        member = self.site.member(self.gateways[number])
        member.preference.update(preference)
        self.site.coordinator.announce(member)

    def address(self, number: int) -> str:
        """The gateway as the server sees it."""
        return f"10.200.0.{number}"

    def health(self) -> dict[str, str]:
        told = self.branch.agent().get("gateway_health") or []
        return {one["name"]: one["health"] for one in told}

    def await_health(self, seconds: float = 10, **wanted: str):
        expected = {name.replace("_", "-"): health for name, health in wanted.items()}
        try:
            wait_until(lambda: self.health() == expected, seconds, f"{expected}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.health()}\n{self.branch.log}") from None

    def flow(self) -> Flow:
        flow = Flow(self.branch)
        self.lab.closing.callback(flow.stop)
        wait_until(lambda: len(flow.answers) > 20, 5, "answers of the server")
        return flow

    def connect(self, seconds: float = 0.2) -> str | None:
        """Makes a new connection; returns the gateway that it went through."""
        with self.branch.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(seconds)
            with contextlib.suppress(OSError):
                client.connect((SERVER, PORT))
                return client.recv(64).decode() or None
        return None

    def new_flows(self, count: int) -> dict[int, int]:
        """Returns how many of new UDP flows went through each gateway."""
        seen = {1: 0, 2: 0}
        for _ in range(count):
            with self.branch.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(15)
                client.connect((SERVER, PORT))
                client.send(bytes(8))
                seen[int(client.recv(64)[8:].decode().split(".")[-1])] += 1
        return seen

    def seconds_to_connect(self, since: float) -> float:
        """Tries new connections one after the other until one is made; seconds after `since`."""
        while time.monotonic() - since < 30:
            if self.connect():
                return time.monotonic() - since
        raise AssertionError(f"no connection within 30 s\n{self.branch.log}")


def measured(two: TwoGateways, flow: Flow, since: float, what: str) -> tuple[float, float]:
    """Waits until both flow again; returns and shows the gap and the seconds to a connection."""
    connected = two.seconds_to_connect(since)
    wait_until(lambda: flow.answers[-1][0] > since + 0.02 and
               time.monotonic() - flow.answers[-1][0] < 0.1, 10, "the flow goes on")
    time.sleep(0.5)
    gap = flow.gap(since)
    print(f"{what}: inner UDP gap {gap * 1000:.0f} ms, new TCP connection after "
          f"{connected * 1000:.0f} ms")
    return gap, connected


def test_failover_to_the_other_gateway_and_back(lab):
    """(a) A gateway is killed, and (c) comes back: new flows follow, live ones stay."""
    two = TwoGateways(lab, health=[f"tcp:{SERVER}:{PORT}"])
    two.set(1, priority=10)
    two.set(2, priority=20)
    two.await_health(node_1="up", node_2="up")
    wait_until(lambda: two.connect() == two.address(1), 5, "new flows go by priority")
    flow = two.flow()
    assert flow.gateway == two.address(1)
    time.sleep(0.5)
    since = time.monotonic()
    two.gateways[1].kill()
    gap, connected = measured(two, flow, since, "gateway killed")
    assert flow.gateway == two.address(2)
    assert gap < FAILOVER_SECONDS_MAX and connected < FAILOVER_SECONDS_MAX
    two.await_health(node_1="down", node_2="up")
    shown = two.branch.command("status", two.branch.interface).stdout
    assert "node-1, down" in shown and "node-2, up" in shown, shown

    two.gateways[1].command("up", two.gateways[1].interface)
    two.await_health(30, node_1="up", node_2="up")
    wait_until(lambda: two.connect() == two.address(1), 5, "new flows go back")
    since = time.monotonic()
    time.sleep(4)
    assert flow.gateway == two.address(2), "a live flow stays while its gateway is well"
    assert flow.gap(since) < 2


def test_failover_when_only_the_destination_dies(lab):
    """(b) The gateway lives, and what is behind it is gone."""
    two = TwoGateways(lab, health=[f"icmp:{SERVER}"])
    two.set(1, priority=10)
    two.set(2, priority=20)
    two.await_health(node_1="up", node_2="up")
    wait_until(lambda: two.connect() == two.address(1), 5, "new flows go by priority")
    flow = two.flow()
    assert flow.gateway == two.address(1)
    time.sleep(0.5)
    since = time.monotonic()
    two.switch.configure("link set port1 down")
    gap, connected = measured(two, flow, since, "destination died")
    assert flow.gateway == two.address(2)
    assert gap < FAILOVER_SECONDS_MAX and connected < FAILOVER_SECONDS_MAX
    two.branch.reaches(inner(1))
    two.switch.configure("link set port1 up")
    two.await_health(10, node_1="up", node_2="up")
    assert flow.gateway == two.address(2)


def test_a_closed_port_is_a_dead_destination(lab):
    """What refuses connections is not served, whatever else the host answers."""
    two = TwoGateways(lab, health=[f"tcp:{SERVER}:{PORT}"])
    two.await_health(node_1="up", node_2="up")
    two.set(1, health=[f"tcp:{SERVER}:{PORT + 1}"])
    two.await_health(node_1="down", node_2="up")
    assert two.new_flows(20) == {1: 0, 2: 20}
    two.set(1, health=[f"tcp:{SERVER}:{PORT}"])
    two.await_health(node_1="up", node_2="up")


def test_new_flows_follow_weights_and_live_ones_stay(lab):
    two = TwoGateways(lab)
    two.await_health(node_1="up", node_2="up")
    flows = [two.flow() for _ in range(6)]
    before = [flow.gateway for flow in flows]
    two.set(1, weight=1)
    two.set(2, weight=3)

    def shares():
        seen = two.new_flows(200)
        return 110 <= seen[2] <= 185 and seen[1] >= 15
    wait_until(shares, 10, "a quarter and three quarters")
    # A gateway without weight is drained: its flows stay, and no new ones come.
    two.set(2, weight=0)
    wait_until(lambda: two.new_flows(50) == {1: 50, 2: 0}, 10, "no new flows")
    two.set(1, priority=200)
    two.set(2, weight=1)
    wait_until(lambda: two.new_flows(50) == {1: 0, 2: 50}, 10, "all new flows")
    assert [flow.gateway for flow in flows] == before


def test_if_all_are_dead_packets_still_go_their_way(lab):
    """Health says nothing where nobody answers: targets that never did take no network down."""
    two = TwoGateways(lab, health=["icmp:10.200.0.99"])
    two.await_health(node_1="down", node_2="down")
    seen = two.new_flows(40)
    assert seen[1] > 0 and seen[2] > 0


def test_gateways_share_networks_with_each_other_only(lab):
    """A prefix that is given to another peer moves, for wg(8) as ever."""
    two = TwoGateways(lab)
    wg = two.branch.namespace.run("wg", "show", two.branch.interface, "allowed-ips").stdout
    assert wg.count(NETWORK) == 2, wg
    stranger = "A" * 42 + "E="
    two.branch.namespace.run(
        "wg", "set", two.branch.interface, "peer", stranger, "allowed-ips", NETWORK)
    wg = two.branch.namespace.run("wg", "show", two.branch.interface, "allowed-ips").stdout
    assert [line for line in wg.splitlines() if NETWORK in line] == [f"{stranger}\t{NETWORK}"]


def test_routes_of_headquarters_follow_the_branches(lab):
    """The gateway's hook hears of every branch that comes and goes."""
    site = Site(lab)
    calls, hook = lab.folder / "calls", lab.folder / "route-hook"
    hook.write_text(f"#!/bin/sh\necho \"$*\" >> {calls}\n")
    hook.chmod(0o755)
    gateway = site.node(1)
    gateway.join(site.token(1, "gateway"), "--route-hook", str(hook))

    def heard() -> list[str]:
        return calls.read_text().splitlines() if calls.exists() else []

    def lines(action: str, *prefixes: str) -> list[str]:
        return [f"{action} {prefix} {gateway.interface} acme" for prefix in prefixes]

    three = ("10.64.0.3/32", "10.90.0.0/16", "fd00:64::3/128")
    branch = site.branch(3, routes=["10.90.0.0/16"])
    wait_until(lambda: heard() == lines("up", *three), 10, f"the branch is up: {heard()}")
    site.branch(4)
    wait_until(lambda: len(heard()) == 5, 10, "another branch is up")
    site.coordinator.revoke(site.member(branch).node)
    wait_until(lambda: heard()[5:] == lines("down", *three), 10, f"it is down: {heard()}")
    gateway.command("down", gateway.interface)
    wait_until(lambda: sorted(heard()[8:]) == lines("down", "10.64.0.4/32", "fd00:64::4/128"),
               5, f"all are down: {heard()}")


def test_a_hook_is_a_gateways_and_must_be_there(lab):
    site = Site(lab)
    branch, gateway = site.node(3), site.node(1)
    refused = branch.join(site.token(3), "--route-hook", "/bin/true", check=False)
    assert refused.returncode != 0 and "only gateways" in branch.log
    refused = gateway.join(
        site.token(1, "gateway"), "--route-hook", "/nowhere/hook", check=False)
    assert refused.returncode != 0 and "/nowhere/hook" in gateway.log
