"""Three tenants that share every inner address, behind one gateway, all in namespaces.

    site a --.                       .-- domain a: TUN, cluster0 -- server a
    site b ---- bridge -- gateway ---+-- domain b: TUN, cluster0 -- server b
    site c --'                       '-- domain c: TUN, cluster0 -- server c

Each tenant has 10.0.0.0/24 and fd10::/64 for its branches, 10.0.1.0/24 and fd11::/64 for its
servers, and the gateway is 10.0.0.1 and fd10::1 in all of them. Branches are Python peers: 1 and
2 shake hands themselves, 3 waits until the gateway does. Branch 1 also has networks that no other
tenant uses, 10.101.0.0/24 and fd01::/64 for tenant a and so on, to which all domains have routes
through their TUN device. The domain lets branches speak to servers and to each other; from the
server's side only what belongs to a known flow passes.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from hostilepeer import HostilePeer
from lab import Daemon, Key, Lab, Namespace, branchlined, run, wait_until

OUTER = {4: "192.0.2.1", 6: "fd00:2::1"}
LISTEN_PORT = 51820
GATEWAY = {4: "10.0.0.1", 6: "fd10::1"}
CLUSTER = {4: "10.0.1.1", 6: "fd11::1"}
SERVER = {4: "10.0.1.10", 6: "fd11::10"}
BROADCAST = "10.0.0.255"
SERVICE_PORT, BRANCH_PORT = 7, 4000
LETTERS = "abc"
BRANCHES = (1, 2, 3)
# What a gateway to a cluster lets through: nothing from the cluster's side that pretends to come
# from elsewhere or that no branch has asked for.
DOMAIN_RULES = """
table inet domain {
    chain arriving {
        type filter hook prerouting priority raw; policy accept;
        iifname "cluster0" ip6 saddr :: icmpv6 type nd-neighbor-solicit accept
        iifname "cluster0" fib saddr . iif oif missing drop
    }
    chain inwards {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iifname "cluster0" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        iifname "cluster0" drop
    }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "%(tun)s" oifname { "cluster0", "%(tun)s" } accept
    }
}
"""


def branch(number: int, family: int = 4) -> str:
    """The inner address of a branch, the same in every tenant."""
    return f"10.0.0.{10 + number}" if family == 4 else f"fd10::{10 + number}"


class Interface(Daemon):
    """A tenant's UAPI socket; the process behind it is the gateway's."""

    def __init__(self, lab: Lab, namespace: Namespace, name: str):
        super().__init__(lab, namespace, branchlined(), name)

    def is_up(self) -> bool:
        try:
            return bool(self.get())
        except OSError:
            return False


class Tenant:
    """One tenant: its domain on the gateway, its server, its site and its branches."""

    def __init__(self, headquarters: "Headquarters", letter: str):
        self.headquarters, self.letter = headquarters, letter
        self.number = 1 + LETTERS.index(letter)
        lab = headquarters.lab
        self.domain, self.server, self.site = (lab.namespace() for _ in range(3))
        self.key, self.interface = Key(), lab.interface_name()
        self.port = LISTEN_PORT
        self.uapi: Daemon | None = None
        self.peers: dict[int, HostilePeer] = {}
        self._connect()
        self.services = {family: self._service(family) for family in (4, 6)}

    def _connect(self):
        """Joins the domain to its server and the site to the outer network."""
        lab = self.headquarters.lab
        lab.link(self.domain, self.server, "cluster0", "eth0")
        self.domain.configure(
            f"address add {CLUSTER[4]}/24 dev cluster0",
            f"address add {CLUSTER[6]}/64 dev cluster0 nodad")
        self.server.configure(
            f"address add {SERVER[4]}/24 dev eth0",
            f"address add {SERVER[6]}/64 dev eth0 nodad",
            f"route add default via {CLUSTER[4]}", f"route add default via {CLUSTER[6]}")
        # Redirects would quote what one branch sends to another.
        self.domain.run(
            "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0")
        self.domain.run("nft", "-f", "-", text=DOMAIN_RULES % {"tun": self.interface})
        self.headquarters.attach(self.site, 10 + self.number, f"site-{self.letter}")

    def _service(self, family: int) -> socket.socket:
        """The server's real socket, so that a datagram to it is no error."""
        made = self.server.socket(
            socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        made.bind((SERVER[family], SERVICE_PORT))
        self.headquarters.lab.closing.callback(made.close)
        return made

    def __str__(self) -> str:
        return self.letter

    def outer(self, family: int = 4) -> str:
        return f"192.0.2.{10 + self.number}" if family == 4 else f"fd00:2::{10 + self.number}"

    def own(self, family: int = 4, host: int = 9) -> str:
        """An address behind branch 1 that no other tenant has."""
        return (f"10.{100 + self.number}.0.{host}" if family == 4
                else f"fd0{self.number}::{host}")

    def allowed_ips(self, number: int) -> list[str]:
        networks = [f"{branch(number)}/32", f"{branch(number, 6)}/128"]
        if number == 1:
            networks += [f"10.{100 + self.number}.0.0/24", f"fd0{self.number}::/64"]
        return networks

    def add_peers(self):
        """Makes the branches and tells the gateway about them."""
        for number in BRANCHES:
            if number not in self.peers:
                family = 6 if (self.letter, number) == ("c", 2) else 4
                self.peers[number] = HostilePeer(
                    self.site, (OUTER[family], self.port), self.key.public, family=family,
                    place=f"{self.letter}.{number}")
                self.headquarters.lab.closing.callback(self.peers[number].close)
            peer = self.peers[number]
            peer.remote, peer.remote_public = (peer.remote[0], self.port), self.key.public
            self.uapi.set(*self.peer_lines(number))

    def await_service(self):
        """Waits until the gateway has noticed that the device is up."""
        wait_until(lambda: self.peers[1].ask(0.5), 10, f"tenant {self} answers initiations")

    def peer_lines(self, number: int) -> list[str]:
        peer = self.peers[number]
        lines = [f"public_key={peer.key.public.hex()}"]
        lines += [f"allowed_ip={network}" for network in self.allowed_ips(number)]
        if number == 3:
            lines.append(f"endpoint={self.outer()}:{peer.port}")
        return lines

    def prepare_device(self, has_addresses: bool = False):
        """Brings the TUN device up in its domain, with routes to all tenants' networks."""
        commands = [] if has_addresses else [
            f"address add {GATEWAY[4]}/24 dev {self.interface}",
            f"address add {GATEWAY[6]}/64 dev {self.interface} nodad",
            f"link set {self.interface} mtu 1420 up"]
        for number in range(1, 1 + len(LETTERS)):
            commands.append(f"route replace 10.{100 + number}.0.0/24 dev {self.interface}")
            commands.append(f"route replace fd0{number}::/64 dev {self.interface}")
        self.domain.configure(*commands)


class Headquarters:
    """The outer network, the gateway's own namespace and the tenants behind it."""

    def __init__(self, lab: Lab, kind: str | None = None):
        self.lab = lab
        self.underlay = lab.namespace()
        self.underlay.configure("link add bridge0 type bridge", "link set bridge0 up")
        self.host = lab.namespace()
        self.attach(self.host, 1, "gateway")
        # A forged redirect would send one tenant's datagrams by way of another's site.
        self.host.run("sysctl", "-qw", *(
            f"net.{family}.conf.{name}.accept_redirects=0" for family in ("ipv4", "ipv6")
            for name in ("all", "default", "veth0")))
        self.tenants = [Tenant(self, letter) for letter in LETTERS]
        kind = kind or ("shared" if has_gateway() else "separate")
        self.gateway = {"shared": GatewayProcess, "separate": SeparateDaemons}[kind](self)
        for tenant in self.tenants:
            self.gateway.add(tenant)
            tenant.add_peers()
        for tenant in self.tenants:
            tenant.await_service()

    def attach(self, namespace: Namespace, number: int, port: str):
        self.lab.link(namespace, self.underlay, "veth0", port)
        self.underlay.configure(f"link set {port} master bridge0")
        namespace.configure(
            f"address add 192.0.2.{number}/24 dev veth0",
            f"address add fd00:2::{number}/64 dev veth0 nodad")


def has_gateway() -> bool:
    """Whether the daemon under test can be a gateway for several tenants."""
    return "--gateway" in run(branchlined(), "--help", check=False).stdout


class Gateway:
    """What serves the tenants."""

    @contextlib.contextmanager
    def held(self):
        """Stops the gateway's processes meanwhile, so that everything meets in its queues."""
        for process in self.processes():
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in self.processes():
                process.send_signal(signal.SIGCONT)

    def is_alive(self) -> bool:
        return all(process.poll() is None for process in self.processes())

    def can_be_upgraded(self) -> bool:
        return False


class SeparateDaemons(Gateway):
    """A daemon and a port for each tenant: what isolation by processes gives."""

    def __init__(self, headquarters: Headquarters):
        self.headquarters = headquarters

    def add(self, tenant: Tenant):
        tenant.port = LISTEN_PORT + tenant.number - 1
        lab = self.headquarters.lab
        daemon = Daemon(lab, self.headquarters.host, branchlined(), tenant.interface)
        lab.daemons.append(daemon)
        tenant.uapi = daemon.start()
        daemon.set(f"private_key={tenant.key.private.hex()}", f"listen_port={tenant.port}")
        self.headquarters.host.configure(
            f"link set {tenant.interface} netns {tenant.domain.name}")
        tenant.prepare_device()

    def dismiss(self, tenant: Tenant):
        """Removes a tenant, and waits for nothing."""
        tenant.uapi.process.send_signal(signal.SIGTERM)

    def await_removal(self, tenant: Tenant):
        tenant.uapi.process.wait(30)
        wait_until(lambda: tenant.interface not in tenant.domain.interfaces(), 5, "no device")

    def processes(self) -> list[subprocess.Popen]:
        return [tenant.uapi.process for tenant in self.headquarters.tenants]


class GatewayProcess(Gateway):
    """One `branchlined --gateway` with a file for each tenant, one port for all."""

    def __init__(self, headquarters: Headquarters):
        self.headquarters = headquarters
        lab = headquarters.lab
        self.folder = lab.folder / "gateway"
        self.folder.mkdir(mode=0o700)
        self._write("gateway", {"listenPort": LISTEN_PORT, "workers": 2})
        self.log_path = lab.folder / "gateway.log"
        self.process = self._launch()
        lab.closing.callback(self._stop)
        # Before it listens to signals, one to read the folder again would end it.
        wait_until(self._has_read, 15, "the gateway has read its folder")

    def _launch(self, *arguments: str) -> subprocess.Popen:
        with open(self.log_path, "ab") as log:
            return self.headquarters.host.popen(
                branchlined(), *arguments, "--gateway", str(self.folder), "--foreground",
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "LOG_LEVEL": os.environ.get("LOG_LEVEL", "info")})

    def _has_read(self) -> bool:
        assert self.is_alive(), f"the gateway ended at start:\n{self._log()}"
        try:
            status = json.loads(self._path("status").read_text())
            return status["processIdentifier"] == self.process.pid
        except (OSError, ValueError, KeyError):
            return False

    def can_be_upgraded(self) -> bool:
        return "--take-over" in run(branchlined(), "--help", check=False).stdout

    def upgrade(self):
        """Lets another process take over, with sockets, devices and sessions."""
        before, self.process = self.process, self._launch("--take-over")
        wait_until(lambda: before.poll() is not None, 15, f"the handover\n{self._log()}")
        wait_until(self._has_read, 15, "the new gateway has read its folder")

    def _stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _write(self, name: str, fields: dict):
        draft = self.folder / f".{name}.draft"
        draft.write_text(json.dumps(fields))
        draft.chmod(0o600)
        draft.rename(self._path(name))

    def add(self, tenant: Tenant):
        self._write(tenant.letter, {
            "tenant": tenant.letter, "interface": tenant.interface,
            "place": {"namespace": tenant.domain.name},
            "addresses": [f"{GATEWAY[4]}/24", f"{GATEWAY[6]}/64"]})
        self.process.send_signal(signal.SIGHUP)
        tenant.uapi = Interface(self.headquarters.lab, tenant.domain, tenant.interface)
        try:
            wait_until(tenant.uapi.is_up, 10, f"tenant {tenant} is served")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._log()}") from None
        tenant.uapi.set(f"private_key={tenant.key.private.hex()}")
        wait_until(lambda: tenant.interface in tenant.domain.interfaces(), 10, "its device")
        tenant.prepare_device(has_addresses=True)

    def dismiss(self, tenant: Tenant):
        """Removes a tenant, and waits for nothing."""
        self._path(tenant.letter).unlink()
        self.process.send_signal(signal.SIGHUP)

    def await_removal(self, tenant: Tenant):
        wait_until(lambda: not tenant.uapi.is_up(), 10, f"tenant {tenant} is gone")

    def _log(self) -> str:
        return self.log_path.read_text(errors="replace")[-2000:]

    def processes(self) -> list[subprocess.Popen]:
        return [self.process]
