"""Tenants whose interfaces stay on the host, each with a routing table of its own."""

import contextlib
import socket
import threading

import pytest

from gatewaylab import Gateway
from lab import run, wait_until
from test_ways import connect

SERVER, PORT = "10.9.0.130", 8000
FIRST_TABLE, OFFICE = 100, "10.30.0.2"


class Cluster:
    """A tenant's server behind an interface of the host, and the operator's routes to it."""

    def __init__(self, tenant, number: int, stack: contextlib.ExitStack):
        self.tenant, self.table = tenant, FIRST_TABLE + number
        host, self.server = tenant.gateway.namespace, tenant.lab.namespace()
        device = f"to{number}"
        tenant.lab.link(host, self.server, device, "eth0")
        own = f"10.{20 + number}.0.0/24"
        host.configure(
            f"route add 10.9.0.0/24 dev {device} table {self.table}",
            f"route add {own} dev {device} table {self.table}",
            f"rule add iif {device} lookup {self.table} priority 2000")
        # The server asks for the host by an address that only this link has.
        host.configure(f"address add 10.9.{number + 1}.1/24 dev {device} noprefixroute")
        self.server.configure(
            f"address add {SERVER}/32 dev eth0", f"address add 10.{20 + number}.0.5/32 dev eth0",
            f"route add 10.9.{number + 1}.1 dev eth0",
            f"route add default via 10.9.{number + 1}.1 src {SERVER}")
        self.listener = self.server.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("0.0.0.0", PORT))
        self.listener.listen(16)
        self.listener.settimeout(None)
        stack.enter_context(self.listener)
        stack.callback(self.listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    connection.sendall(self.tenant.name.encode())


@pytest.fixture
def host(lab):
    """A gateway with two tenants at the same addresses, in tables 100 and 101."""
    gateway = Gateway(lab)
    # A host that forwards, with routes of its own that are no tenant's.
    gateway.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    gateway.office = lab.namespace()
    lab.link(gateway.namespace, gateway.office, "office", "eth0")
    gateway.namespace.configure("address add 10.30.0.1/24 dev office")
    gateway.office.configure(
        f"address add {OFFICE}/24 dev eth0", "route add default via 10.30.0.1")
    tenants = [
        gateway.add(name, place={"table": FIRST_TABLE + number}, addresses=["10.0.0.1/24"])
        for number, name in enumerate(("acme", "beta"))]
    gateway.start()
    for tenant in tenants:
        tenant.await_up()
        tenant.add_branch()
        tenant.branch.set(
            f"public_key={tenant.key.public.hex()}", "allowed_ip=10.9.0.0/24",
            "allowed_ip=10.16.0.0/12")
        tenant.namespace.configure(
            f"route add 10.9.0.0/24 dev {tenant.branch.name}",
            f"route add 10.16.0.0/12 dev {tenant.branch.name}")
    yield gateway


class Ear:
    """Hears datagrams at a port of a namespace, whoever they are addressed to."""

    def __init__(self, namespace, stack: contextlib.ExitStack):
        self.socket = stack.enter_context(namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.socket.bind(("0.0.0.0", PORT))

    def words(self, first_seconds: float = 15) -> set[str]:
        heard = set()
        self.socket.settimeout(first_seconds)
        with contextlib.suppress(TimeoutError):
            while True:
                heard.add(self.socket.recv(100).decode())
                self.socket.settimeout(0.5)
        return heard


def say(tenant, address: str):
    """Sends the tenant's name from its branch."""
    with tenant.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(tenant.name.encode(), (address, PORT))


def test_tenants_at_the_same_addresses_are_kept_apart(host):
    with contextlib.ExitStack() as stack:
        clusters = [Cluster(tenant, n, stack) for n, tenant in enumerate(host.tenants)]
        for tenant in host.tenants * 2:
            assert connect(tenant.namespace, SERVER, PORT, 30) == tenant.name
        ears = [Ear(cluster.server, stack) for cluster in clusters]
        office = Ear(host.office, stack)
        # Its own server, either's network, and what only the host's main table leads to.
        for tenant in host.tenants:
            for address in (SERVER, "10.20.0.5", "10.21.0.5", OFFICE):
                say(tenant, address)
        for ear, tenant in zip(ears, host.tenants):
            assert ear.words() == {tenant.name}
        assert office.words(0.5) == set()
        # The host's own networks know no tenant.
        routes = run("ip", "-n", host.namespace.name, "route").stdout
        assert "10.0.0.0/24" not in routes, routes
        # What the table does not route would go on to the main table.
        host.namespace.configure(f"route del unreachable default table {FIRST_TABLE}")
        say(host.tenants[0], OFFICE)
        assert office.words() == {"acme"}


def test_removed_tenant_leaves_no_rule(host):
    def rules(table: int) -> str:
        listing = run("ip", "-n", host.namespace.name, "rule", "show", "table", str(table)).stdout
        return listing + run(
            "ip", "-n", host.namespace.name, "route", "show", "table", str(table),
            check=False).stdout

    with contextlib.ExitStack() as stack:
        Cluster(host.tenants[1], 1, stack)
        assert connect(host.tenants[1].namespace, SERVER, PORT, 30) == "beta"
        assert "unreachable default" in rules(FIRST_TABLE)
        host.remove("acme")
        host.reload()
        wait_until(lambda: not rules(FIRST_TABLE), 10, "nothing of table 100 is left")
        assert connect(host.tenants[1].namespace, SERVER, PORT, 30) == "beta"
