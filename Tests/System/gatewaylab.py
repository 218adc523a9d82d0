"""A gateway with tenants, and a branch of each, behind one bridge.

All tenants have the same addresses: the gateway is 10.0.0.1 and fd00:9::1, the branch .2.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from joined import Ping, Site, branchline
from lab import Key, Lab, Namespace, branchlined, run, wait_until

PORT = 51820
GATEWAY_NUMBER = 1


def existing(name: str) -> Namespace:
    """A namespace that somebody else has made."""
    namespace = Namespace.__new__(Namespace)
    namespace.name = name
    return namespace


class Tenant:
    """A tenant's definition on the gateway and its branch elsewhere."""

    def __init__(self, gateway: "Gateway", name: str, number: int, **definition):
        self.gateway, self.name, self.number, self.lab = gateway, name, number, gateway.lab
        self.key, self.branch_key = Key(), Key()
        self.interface = definition.pop("interface", None) or self.lab.interface_name()
        self.inner = existing(f"{self.lab.tag}-{name}")
        self.configuration = self.lab.folder / f"{name}.conf"
        self.definition = {
            "tenant": name, "interface": self.interface, "place": {"namespace": self.inner.name},
            "addresses": ["10.0.0.1/24", "fd00:9::1/64"],
            "configuration": str(self.configuration), **definition}
        self.namespace = self.branch = None
        self.write_configuration(f"[Peer]\nPublicKey = {self.branch_key.public_base64}\n"
                                 "AllowedIPs = 10.0.0.2/32, fd00:9::2/128\n")
        self.lab.closing.callback(self.discard)

    def write_configuration(self, peers: str, interface: str = ""):
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(
            f"[Interface]\nPrivateKey = {self.key.private_base64}\n{interface}\n{peers}")

    def define(self, **changes) -> "Tenant":
        """Writes the tenant's file; a value of `None` leaves a member out."""
        self.definition.update(changes)
        self.gateway.write(
            self.name, json.dumps({k: v for k, v in self.definition.items() if v is not None}))
        return self

    def add_branch(self, program: str | None = None, keepalive: int = 1) -> "Tenant":
        """Starts the branch's daemon, by default with a keepalive so that it comes by itself."""
        self.namespace = self.lab.namespace()
        self.gateway.site.attach(self.namespace, self.number)
        self.branch = self.lab.daemon(self.namespace, program or branchlined()).start()
        self.branch.set(
            f"private_key={self.branch_key.private.hex()}",
            f"public_key={self.key.public.hex()}",
            f"endpoint={self.gateway.outer}:{PORT}", f"persistent_keepalive_interval={keepalive}",
            "allowed_ip=10.0.0.0/24", "allowed_ip=fd00:9::/64")
        self.namespace.configure(
            f"address add 10.0.0.2/24 dev {self.branch.name}",
            f"address add fd00:9::2/64 dev {self.branch.name} nodad",
            f"link set {self.branch.name} mtu 1420 up")
        return self

    def status(self) -> dict:
        return self.gateway.tenant(self.name)

    def await_status(self, condition, seconds: float = 15, what: str = "") -> dict:
        def met():
            status = self.status()
            return status if status and condition(status) else None
        try:
            return wait_until(met, seconds, what or f"the status of {self.name}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.status()}\n{self.gateway.log}") from None

    def await_up(self, seconds: float = 15) -> dict:
        return self.await_status(lambda s: s["state"] == "up", seconds, f"{self.name} is up")

    def await_fault(self, kind: str, seconds: float = 15) -> str:
        """Waits until that fault is told, be it that it has passed since; returns its words."""
        status = self.await_status(
            lambda s: (s.get("lastFault") or {}).get("kind") == kind, seconds, f"fault {kind}")
        return status["lastFault"]["detail"]

    def reaches(self, address: str = "10.0.0.1", seconds: float = 25, by_itself: bool = False):
        """Pings from the branch until an answer comes.

        By itself a branch notices after 15 s that its session is no more (KEEPALIVE +
        REKEY_TIMEOUT); else its interface is switched off and on for it to begin anew.
        """
        deadline = time.monotonic() + seconds
        for attempt in itertools.count():
            done = self.namespace.run(
                "ping", "-n", "-c", "1", "-W", "1", address, check=False)
            if done.returncode == 0:
                return
            if not by_itself and attempt % 3 == 0:
                self.namespace.configure(
                    f"link set {self.branch.name} down", f"link set {self.branch.name} up",
                    f"address replace fd00:9::2/64 dev {self.branch.name} nodad")
            assert time.monotonic() < deadline, (
                f"{self.name}: no answer from {address}\n{self.status()}\n{self.gateway.log}")

    def is_cut_off(self, address: str = "10.0.0.1") -> bool:
        done = self.namespace.run(
            "ping", "-n", "-c", "2", "-W", "1", "-i", "0.2", address, check=False)
        return done.returncode != 0

    def serve(self, port: int = 8000):
        """Answers each TCP client of 10.0.0.1 in the tenant's domain with the tenant's name."""
        listener = self.inner.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("10.0.0.1", port))
        listener.listen()
        listener.settimeout(None)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.sendall(self.name.encode())

        threading.Thread(target=accept, daemon=True).start()
        # A socket keeps its namespace alive.
        self.lab.closing.callback(listener.close)
        self.lab.closing.callback(lambda: listener.shutdown(socket.SHUT_RDWR))

    def ask(self, port: int = 8000) -> str:
        """Connects from the branch; returns what the server says."""
        client = self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        with client:
            client.connect(("10.0.0.1", port))
            answer = b""
            while piece := client.recv(100):
                answer += piece
        return answer.decode()

    def discard(self):
        run("ip", "netns", "del", self.inner.name, check=False)
        with contextlib.suppress(OSError):
            Path(f"/var/run/wireguard/{self.interface}.sock").unlink()


class Gateway:
    """One `branchlined --gateway`, its folder and its tenants."""

    def __init__(self, lab: Lab, site: Site | None = None):
        self.lab = lab
        self.site = site or Site(lab, has_coordinator=False)
        self.namespace = lab.namespace()
        self.site.attach(self.namespace, GATEWAY_NUMBER)
        self.outer = f"192.0.2.{GATEWAY_NUMBER}"
        self.state_folder = lab.folder / "gateway-state"
        self.folder = self.state_folder / "gateway"
        self.folder.mkdir(parents=True, mode=0o700)
        self.log_path = lab.folder / "gateway.log"
        self.process: subprocess.Popen | None = None
        self.tenants: list[Tenant] = []
        lab.closing.callback(self.discard)

    def add(self, name: str, is_defined: bool = True, **definition) -> Tenant:
        tenant = Tenant(self, name, 10 + len(self.tenants), **definition)
        self.tenants.append(tenant)
        return tenant.define() if is_defined else tenant

    def write(self, name: str, text: str, mode: int = 0o600):
        """Replaces a file in one step, as the gateway's own tools do."""
        draft = self.folder / f".{name}.draft"
        draft.write_text(text)
        draft.chmod(mode)
        draft.rename(self.folder / f"{name}.json")

    def remove(self, name: str):
        (self.folder / f"{name}.json").unlink()

    # The daemon. nsenter rather than ip netns exec, which would hide the namespaces it makes.

    def start(self, *prefix: str, arguments: tuple[str, ...] = ()) -> "Gateway":
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace.name}", *prefix, branchlined(),
                 *arguments, "-f", "--gateway", str(self.folder)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "LOG_LEVEL": "debug"})

        def is_ready() -> bool:
            assert self.process.poll() is None, f"the gateway ended at start:\n{self.log}"
            status = self.status()
            return (status.get("processIdentifier") == self.process.pid
                    and status["readings"] > 0)

        wait_until(is_ready, 15, "the gateway has read its folder")
        return self

    def settle(self) -> "Gateway":
        """Waits until every tenant is served or faulty."""
        for tenant in self.tenants:
            tenant.await_status(lambda s: s["state"] != "waiting")
        return self

    def reload(self):
        before = self.status()["readings"]
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.status()["readings"] > before, 15, "the folder is read again")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def command(self, *words: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Runs `branchline` where the gateway runs."""
        output = self.lab.folder / "command.out"
        with open(output, "wb") as results, open(self.log_path, "ab") as log:
            done = subprocess.run(
                ["nsenter", f"--net=/run/netns/{self.namespace.name}", branchline(), *words],
                stdout=results, stderr=log, text=True, timeout=180,
                env={**os.environ, "BRANCHLINED": branchlined(), "LOG_LEVEL": "debug",
                     "BRANCHLINE_STATE": str(self.state_folder)}, **options)
        done.stdout = output.read_text()
        if check and done.returncode != 0:
            raise AssertionError(f"branchline {words} ended with {done.returncode}\n{self.log}")
        return done

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-8000:] if self.log_path.exists() else ""

    def status(self) -> dict:
        for _ in range(20):
            with contextlib.suppress(OSError, ValueError):
                return json.loads((self.folder / "status.json").read_text())
            time.sleep(0.01)
        return {}

    def tenant(self, name: str) -> dict | None:
        return next((t for t in self.status().get("tenants", []) if t["tenant"] == name), None)

    @property
    def pid(self) -> int | None:
        """Also of a daemon that a command has started."""
        if self.process and self.process.poll() is None:
            return self.process.pid
        pid = self.status().get("processIdentifier")
        with contextlib.suppress(OSError):
            if pid and b"--gateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def discard(self):
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 5
            while self.pid and time.monotonic() < deadline:
                time.sleep(0.02)
            if pid := self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(30)


class Undisturbed:
    """A stream of small packets of one tenant, of which none may be lost or late."""

    GAP_SECONDS_MAX = 0.5

    def __init__(self, tenant: Tenant):
        self.tenant = tenant

    def __enter__(self):
        self.tenant.reaches()
        self.ping = Ping(self.tenant, "10.0.0.1", interval=0.01)
        time.sleep(0.2)
        return self

    def __exit__(self, kind, *_):
        time.sleep(2 * Ping.UNDER_WAY_SECONDS_MAX)
        sent, received, _ = self.ping.finish()
        if kind is None:
            assert sent > 20 and sent - received <= 1, f"{sent - received} of {sent} lost"
