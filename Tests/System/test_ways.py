"""Ways from a tenant's domain to the cluster: Examples/gateway/ways.

Two tenants with the same addresses, each with a tunnel of its own into a namespace of its own, and
a way of the same kind to its own server, which has the same address as the other tenant's.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import threading

import pytest

from lab import REPOSITORY, Lab, Namespace, branchlined, run, wait_until
from tunnel import End

WAYS = REPOSITORY / "Examples/gateway/ways"
SERVER, PORT, CLOSED_PORT = "10.0.0.130", 8000, 8001
CLIENT, GATEWAY = "10.0.0.2", "10.0.0.1"
SECONDS_OF_SILENCE = 0.7


class Tenant:
    """A client, its tunnel into the domain, and a server that is only this tenant's."""

    def __init__(self, lab: Lab, outer: Namespace, number: int, cluster: Namespace):
        self.lab, self.number, self.cluster = lab, number, cluster
        # The bridge of the cluster that the server is at; 0 is everybody's.
        self.bridge = 0
        self.target, self.inside = SERVER, "10.0.0.129"
        self.client, self.domain = lab.namespace(), lab.namespace()
        self.server: Namespace | None = None
        lab.link(self.client, outer, "veth0", f"t{number}")
        gateway_outer, client_outer = f"192.0.{number}.1", f"192.0.{number}.2"
        outer.configure(f"address add {gateway_outer}/24 dev t{number}")
        self.client.configure(f"address add {client_outer}/24 dev veth0")
        self.near = End(self.client, lab.daemon(self.client, branchlined()), 2)
        self.far = End(outer, lab.daemon(outer, branchlined()), 1, port=51820 + number)
        for end in (self.near, self.far):
            end.daemon.start()
            end.daemon.set(f"private_key={end.key.private.hex()}", f"listen_port={end.port}")
        self.tunnel = self.far.daemon.name
        outer.configure(f"link set {self.tunnel} netns {self.domain.name}")
        self.domain.configure(
            f"address add {GATEWAY}/24 dev {self.tunnel}", f"link set {self.tunnel} mtu 1420 up")
        self.client.configure(
            f"address add {CLIENT}/24 dev {self.near.daemon.name}",
            f"link set {self.near.daemon.name} mtu 1420 up",
            f"route add 172.20.0.0/16 dev {self.near.daemon.name}")
        self.near.add_peer(
            self.far, endpoint=f"{gateway_outer}:{self.far.port}",
            allowed=("10.0.0.0/24", "172.20.0.0/16"))
        self.far.add_peer(self.near, allowed=(f"{CLIENT}/32",))

    @property
    def name(self) -> str:
        return f"tenant {self.number}"

    def make_way(self, kind: str):
        """Makes the cluster's side of this kind of way, and runs its script."""
        arguments = getattr(self, f"_{kind}")()
        self.script(
            kind, "up", "--to", self.target, "--port", f"tcp/{PORT}", *arguments)

    def script(self, kind: str, action: str, *arguments: str, check: bool = True):
        tunnel = ("--tunnel", self.tunnel) if action == "up" else ()
        return run(
            "nsenter", f"--net=/run/netns/{self.cluster.name}", str(WAYS / f"{kind}.sh"), action,
            self.domain.name, *tunnel, *arguments, check=check)

    def _veth(self):
        self.server = self.lab.namespace()
        return ("--address", f"{self.inside}/25", "--cluster", self.server.name,
                "--peer", "eth0", "--peer-address", f"{SERVER}/25")

    def _snat(self):
        """Both tenants' servers are in one network, where the tenants' addresses mean nothing."""
        self.target, self.inside = f"172.20.0.{130 + self.number}", f"172.20.0.{self.number}"
        self._join_bridge(self.target)
        return ("--address", f"{self.inside}/24", "--bridge", "bridge0",
                "--map", f"{SERVER}={self.target}", "--peer", f"way{self.number}")

    def _macvlan(self):
        """One interface leads to a switch that both tenants' servers are at."""
        self.inside = f"10.0.0.{190 + self.number}"
        self._join_bridge(SERVER)
        return ("--address", f"{self.inside}/25", "--parent", self._trunk())

    def _vlan(self):
        self.server = self.lab.namespace()
        self.lab.link(self.server, self.cluster, "trunk", f"trunk{self.number}")
        run("ip", "-n", self.server.name, "link", "add", "link", "trunk", "name", "eth0", "type",
            "vlan", "id", str(100 + self.number))
        self.server.configure(f"address add {SERVER}/25 dev eth0", "link set eth0 up")
        return ("--address", f"{self.inside}/25", "--parent", f"trunk{self.number}",
                "--id", str(100 + self.number))

    def _trunk(self) -> str:
        """An interface of the host at a bridge, as a switch would be behind it."""
        name = f"trunk{self.number}"
        run("ip", "-n", self.cluster.name, "link", "add", name, "type", "veth", "peer", "name",
            f"at{name}")
        self.cluster.configure(
            f"link set at{name} master bridge{self.bridge}", f"link set at{name} up",
            f"link set {name} up")
        return name

    def _join_bridge(self, address: str):
        self.server = self.lab.namespace()
        self.lab.link(self.server, self.cluster, "eth0", f"server{self.number}")
        length = 24 if address.startswith("172") else 25
        self.cluster.configure(f"link set server{self.number} master bridge{self.bridge}")
        self.server.configure(f"address add {address}/{length} dev eth0")

    def serve(self, stack: contextlib.ExitStack):
        """Runs a server that tells whose it is and who asked, on both ports."""
        if self.inside.startswith("10."):
            self.server.configure(f"route add default via {self.inside}")
        for port in (PORT, CLOSED_PORT):
            listener = stack.enter_context(self.server.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("0.0.0.0", port))
            listener.listen(16)
            listener.settimeout(None)
            threading.Thread(target=self.answer, args=(listener,), daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)

    def answer(self, listener: socket.socket):
        with contextlib.suppress(OSError):
            while True:
                connection, source = listener.accept()
                with connection:
                    connection.sendall(f"{self.name} to {source[0]}".encode())

    def ask(self, address: str = SERVER, port: int = PORT, seconds: float = 30.0) -> str:
        """Returns what the server at an address says to this tenant's client."""
        return connect(self.client, address, port, seconds)

    def counter(self, name: str) -> int:
        text = self.domain.run(
            "nft", "list", "counter", "inet", "way_way0", name).stdout
        return int(text.split("packets ")[1].split()[0])


def connect(namespace: Namespace, address: str, port: int, seconds: float) -> str:
    with namespace.socket(family_of(address), socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect((address, port))
        return client.recv(100).decode()


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_unreachable(namespace: Namespace, address: str, port: int = PORT) -> bool:
    """Tells whether a connection to an address fails."""
    try:
        connect(namespace, address, port, SECONDS_OF_SILENCE)
        return False
    except OSError:
        return True


def has_vlans() -> bool:
    """Tells whether the kernel makes VLAN devices."""
    name = f"bl{os.getpid()}-vlan"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "add", "near", "type", "veth", "peer", "name", "far")
        made = run("ip", "-n", name, "link", "add", "link", "near", "name", "way", "type", "vlan",
                   "id", "5", check=False)
        return made.returncode == 0
    finally:
        run("ip", "netns", "del", name)


@contextlib.contextmanager
def tenants(lab: Lab, kind: str):
    """Two tenants with ways of one kind, their servers answering."""
    if kind == "vlan" and not has_vlans():
        pytest.skip("this kernel has no VLANs (8021q)")
    outer, cluster = lab.namespace(), lab.namespace()
    for number in (0, 1, 2):
        cluster.configure(f"link add bridge{number} type bridge", f"link set bridge{number} up")
    # A cluster that forwards whatever it can: only the domains' filters are in its way.
    cluster.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    made = [Tenant(lab, outer, number, cluster) for number in (1, 2)]
    with contextlib.ExitStack() as stack:
        for tenant in made:
            # Tenants with the same servers' addresses cannot share a network.
            tenant.bridge = 0 if kind == "snat" else tenant.number
            tenant.make_way(kind)
            tenant.serve(stack)
        yield made


KINDS = ("veth", "vlan", "macvlan", "snat")


@pytest.mark.parametrize("kind", KINDS)
def test_each_tenant_reaches_its_own_server_at_the_same_address(lab, kind):
    with tenants(lab, kind) as both:
        for tenant in (*both, *both):
            seen = tenant.inside if kind == "snat" else CLIENT
            assert tenant.ask() == f"{tenant.name} to {seen}"


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_named_is_reached(lab, kind):
    with tenants(lab, kind) as both:
        one = both[0]
        one.ask()
        assert is_unreachable(one.client, SERVER, CLOSED_PORT)
        assert one.counter("denied_outwards") > 0
        if kind != "snat":
            assert is_unreachable(one.client, "10.0.0.200")


@pytest.mark.parametrize("kind", KINDS)
def test_cluster_side_reaches_nothing_by_itself(lab, kind):
    with tenants(lab, kind) as both:
        one = both[0]
        one.ask()
        with one.client.socket(socket.AF_INET, socket.SOCK_STREAM) as listener, \
                one.domain.socket(socket.AF_INET, socket.SOCK_STREAM) as inside:
            for server in (listener, inside):
                server.bind(("0.0.0.0", PORT))
                server.listen(4)
            assert not is_silent(one.client, CLIENT, 30)
            if kind == "snat":
                one.server.configure(f"route add 10.0.0.0/25 via {one.inside}")
            before = one.counter("denied_inwards")
            for address in (CLIENT, GATEWAY, one.inside):
                assert is_silent(one.server, address), address
            assert one.counter("denied_inwards") > before
        assert one.ask().startswith(one.name)


def is_silent(namespace: Namespace, address: str,
              seconds: float = SECONDS_OF_SILENCE) -> bool:
    """Tells whether a connection is neither accepted nor refused."""
    with namespace.socket(family_of(address), socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            client.connect((address, PORT))
            return False
        except TimeoutError:
            return True


@pytest.mark.parametrize("kind", KINDS)
def test_forged_source_from_the_cluster_is_refused(lab, kind):
    """A server that speaks as another client of the tenant, or as the gateway."""
    with tenants(lab, kind) as both:
        one = both[0]
        one.ask()
        if kind == "snat":
            one.server.configure(f"route add 10.0.0.0/25 via {one.inside}")
        with one.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("0.0.0.0", 9000))
            listener.settimeout(SECONDS_OF_SILENCE)
            for number, forged in enumerate(("10.0.0.3", GATEWAY)):
                one.server.configure(f"address add {forged}/32 dev eth0")
                with one.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind((forged, 0))
                    sender.sendto(b"forged", (CLIENT, 9000))
                with pytest.raises(TimeoutError):
                    listener.recvfrom(100)
                assert one.counter("forged") == number + 1
                one.server.configure(f"address del {forged}/32 dev eth0")


@pytest.mark.parametrize("kind", KINDS)
def test_no_way_leads_to_another_tenants_domain(lab, kind):
    with tenants(lab, kind) as (one, other):
        for tenant in (one, other):
            tenant.ask()
        if kind == "snat":
            # One network: the other's way has an address that this tenant can name.
            attempts = [(one.client, other.inside), (one.client, other.target),
                        (one.domain, other.inside)]
        else:
            # Whatever it names is its own: the other's addresses lead nowhere else.
            attempts = [(one.client, "10.0.0.200"), (one.domain, "10.0.0.200")]
        for namespace, address in attempts:
            assert is_unreachable(namespace, address), address
        # Even a tenant that is root in its domain, and its server, find no neighbour.
        seen = neighbours(one)
        assert not seen & hardware(other.domain), seen
        assert other.ask() == f"{other.name} to {other.inside if kind == 'snat' else CLIENT}"


def test_macvlan_devices_of_one_interface_do_not_meet(lab):
    with tenants(lab, "macvlan") as both:
        for tenant in both:
            tenant.script(
                "macvlan", "up", "--parent", "trunk1", "--device", "way1", "--address",
                f"10.9.0.{tenant.number}/24", "--to", "10.9.0.0/24")
        assert neighbours(both[0], "way1", "10.9.0") == set()
        # The first way is as it was.
        assert both[0].ask() == f"{both[0].name} to {CLIENT}"


def neighbours(tenant: Tenant, device: str = "way0", prefix: str | None = None) -> set[str]:
    """Hardware addresses that a way's device hears of when it asks for many addresses."""
    prefix = prefix or tenant.inside.rsplit(".", 1)[0]
    for number in itertools.chain(range(1, 5), range(129, 135), range(190, 194)):
        with tenant.domain.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            with contextlib.suppress(OSError):
                sender.sendto(b"", (f"{prefix}.{number}", 9))

    def table() -> str:
        return run("ip", "-n", tenant.domain.name, "neighbour", "show", "dev", device).stdout

    wait_until(lambda: "INCOMPLETE" not in table(), 10, "neighbours are known")
    return {line.split("lladdr ")[1].split()[0] for line in table().splitlines()
            if "lladdr" in line}


def hardware(namespace: Namespace) -> set[str]:
    lines = run("ip", "-n", namespace.name, "-o", "link", "show", "dev", "way0").stdout
    return {lines.split("link/ether ")[1].split()[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_way_is_taken_down_without_trace_and_made_again(lab, kind):
    with tenants(lab, kind) as both:
        one, other = both
        one.ask()
        for _ in range(2):
            one.script(kind, "down")
        assert one.domain.interfaces() == {"lo", one.tunnel}
        assert "way_" not in one.domain.run("nft", "list", "tables").stdout
        assert is_unreachable(one.client, SERVER)
        assert other.ask().startswith(other.name)
        arguments = {
            "veth": ("--cluster", one.server.name, "--peer", "eth0", "--peer-address",
                     f"{SERVER}/25"),
            "snat": ("--bridge", "bridge0", "--map", f"{SERVER}={one.target}"),
            "macvlan": ("--parent", "trunk1"),
            "vlan": ("--parent", "trunk1", "--id", "101"),
        }[kind]
        one.script(kind, "up", "--to", one.target, "--address", f"{one.inside}/25", *arguments)
        if kind == "veth":
            one.server.configure(f"route add default via {one.inside}")
        # Without --port every port of the server is open.
        for port in (PORT, CLOSED_PORT):
            assert one.ask(port=port).startswith(one.name)


def test_ways_carry_ipv6(lab):
    with tenants(lab, "veth") as both:
        for tenant in both:
            near, far = tenant.near.daemon, tenant.far.daemon
            tenant.client.configure(
                f"address add fd00:10::2/64 dev {near.name} nodad",
                f"route add fd00:10:0:1::/64 dev {near.name}")
            tenant.domain.configure(f"address add fd00:10::1/64 dev {tenant.tunnel} nodad")
            near.set(f"public_key={tenant.far.key.public.hex()}", "allowed_ip=fd00:10::/32")
            far.set(f"public_key={tenant.near.key.public.hex()}", "allowed_ip=fd00:10::2/128")
            tenant.script(
                "veth", "up", "--device", "way6", "--address", "fd00:10:0:1::1/64", "--to",
                "fd00:10:0:1::130", "--port", f"tcp/{PORT}", "--cluster", tenant.server.name,
                "--peer", "eth6", "--peer-address", "fd00:10:0:1::130/64")
            tenant.server.configure("route add default via fd00:10:0:1::1")
        with contextlib.ExitStack() as stack:
            for tenant, port in itertools.product(both, (PORT, CLOSED_PORT)):
                listener = listen6(tenant.server, port)
                stack.enter_context(listener)
                threading.Thread(target=tenant.answer, args=(listener,), daemon=True).start()
                stack.callback(listener.shutdown, socket.SHUT_RDWR)
            for tenant in both:
                text = connect(tenant.client, "fd00:10:0:1::130", PORT, 30)
                assert text == f"{tenant.name} to fd00:10::2"
            one = both[0]
            assert is_unreachable(one.client, "fd00:10:0:1::130", CLOSED_PORT)
            with listen6(one.client, PORT), listen6(one.domain, PORT):
                assert not is_silent(one.client, "fd00:10::2", 30)
                for address in ("fd00:10::2", "fd00:10::1", "fd00:10:0:1::1"):
                    assert is_silent(one.server, address), address
            # The first way is as it was.
            assert one.ask() == f"{one.name} to {CLIENT}"


def listen6(namespace: Namespace, port: int) -> socket.socket:
    made = namespace.socket(socket.AF_INET6, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("::", port))
    made.listen(16)
    made.settimeout(None)
    return made


def test_servers_beyond_a_router_are_reached(lab):
    with tenants(lab, "veth") as both:
        one = both[0]
        beyond, router = lab.namespace(), lab.namespace()
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        lab.link(router, beyond, "inner", "eth0")
        one.script(
            "veth", "up", "--device", "way1", "--address", "10.0.0.69/30", "--to", "10.0.0.64/30",
            "--port", f"tcp/{PORT}", "--via", "10.0.0.70", "--cluster", router.name, "--peer",
            "outer", "--peer-address", "10.0.0.70/30")
        router.configure("address add 10.0.0.66/30 dev inner", f"route add {CLIENT} via 10.0.0.69")
        beyond.configure("address add 10.0.0.65/30 dev eth0", "route add default via 10.0.0.66")
        with beyond.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("0.0.0.0", PORT))
            listener.listen(4)
            listener.settimeout(None)
            threading.Thread(target=one.answer, args=(listener,), daemon=True).start()
            assert one.ask("10.0.0.65") == f"{one.name} to {CLIENT}"
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("arguments, message", [
    (("up",), "say what to do and in which domain"),
    (("up", "absent-domain", "--address", "10.0.0.129/25", "--to", "10.0.0.130"),
     "no network namespace absent-domain"),
    (("up", "a b", "--address", "10.0.0.129/25", "--to", "10.0.0.130"),
     "cannot name a network namespace"),
    (("up", "acme", "--to", "10.0.0.130"), "--address is missing"),
    (("up", "acme", "--address", "10.0.0.129/25"), "--to is missing"),
    (("up", "acme", "--address", "10.0.0.129/25", "--to", "x; drop"), "is no address"),
    (("up", "acme", "--address", "10.0.0.129/25", "--to", "10.0.0.130", "--port", "8000"),
     "not like tcp/8000"),
    (("up", "acme", "--device", 'a"b'), "cannot name a way"),
    (("up", "acme", "--nonsense", "1"), "unknown option"),
    (("up", "acme", "--to"), "needs a value"),
])
def test_bad_arguments_are_refused_by_name(arguments, message):
    done = subprocess.run(
        [str(WAYS / "veth.sh"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and message in done.stderr, done


def test_failed_way_leaves_nothing(lab):
    outer, cluster = lab.namespace(), lab.namespace()
    one = Tenant(lab, outer, 1, cluster)
    done = one.script(
        "veth", "up", "--to", SERVER, "--address", "10.0.0.129/25", "--cluster", "absent-cluster",
        check=False)
    assert done.returncode != 0
    assert one.domain.interfaces() == {"lo", one.tunnel}
    assert "way_" not in one.domain.run("nft", "list", "tables").stdout


def test_missing_vlans_are_named_and_leave_nothing(lab):
    if has_vlans():
        pytest.skip("this kernel has VLANs")
    outer, cluster = lab.namespace(), lab.namespace()
    one = Tenant(lab, outer, 1, cluster)
    cluster.configure("link add trunk type veth peer name far")
    done = one.script(
        "vlan", "up", "--to", SERVER, "--address", "10.0.0.129/25", "--parent", "trunk", "--id",
        "7", check=False)
    assert done.returncode == 1 and "modprobe 8021q" in done.stderr, done
    assert one.domain.interfaces() == {"lo", one.tunnel}
    assert cluster.interfaces() == {"lo", "trunk", "far"}
    assert "way_" not in one.domain.run("nft", "list", "tables").stdout


def test_every_way_has_help():
    for kind in KINDS:
        shown = run(str(WAYS / f"{kind}.sh"), "--help").stdout
        assert shown.startswith(f"{kind}.sh up") and "Example:" in shown
