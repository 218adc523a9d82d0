"""The real programs together: coordinator, admin's commands, gateway and branch."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from joined import GATEWAY_PORT, Node, Ping, Site, branchline
from lab import REPOSITORY, wait_until

PORT = 8443


def program() -> str:
    """Returns the coordinator under test: COORDINATOR, or the release build."""
    chosen = os.environ.get(
        "COORDINATOR", str(REPOSITORY / ".build/release/branchline-coordinator"))
    return os.path.abspath(shutil.which(chosen) or chosen)


pytestmark = pytest.mark.branchline_only


class Headquarters:
    """A coordinator of its own, and a security admin beside it."""

    def __init__(self, site: Site):
        self.site, self.lab, self.namespace = site, site.lab, site.home
        self.url = f"https://{site.address}:{PORT}"
        self.state = self.lab.folder / "coordinator"
        self.log = self.lab.folder / "coordinator.log"
        self.process = None
        self.lab.closing.callback(self.stop)
        self.start()
        wait_until(self.is_listening, 20, "the coordinator listens")
        setup = wait_until(self.setup_command, 10, "the coordinator says how to begin")
        self.admin(*setup, "--no-passphrase")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = self.namespace.popen(
                program(), "serve", "--state", str(self.state), "--listen",
                f"{self.site.address}:{PORT}", "--public-url", self.url, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)

    def stop(self, number: int = signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def is_listening(self) -> bool:
        with self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            return connection.connect_ex((self.site.address, PORT)) == 0

    def setup_command(self) -> list[str] | None:
        match = re.search(r"branchline (admin init .*)", self.log.read_text())
        if not match:
            return None
        code = (self.state / "setup-code").read_text().strip()
        return match.group(1).replace("CODE", code).split()

    def admin(self, *words: str, check: bool = True) -> str:
        done = self.namespace.run(
            branchline(), *words, check=False,
            environment={"BRANCHLINE_CONFIG": str(self.lab.folder / "admin")})
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}\n{self.log.read_text()}")
        return done.stdout

    def token(self, role: str, *options: str) -> str:
        return self.admin(
            "token", "create", "--tenant", "acme", "--role", role, "--expires", "1h",
            *options).strip()

    def nodes(self) -> list[dict]:
        answer = json.loads(self.admin("node", "list", "--tenant", "acme", "--json"))
        return answer["items"] if isinstance(answer, dict) else answer


def join(node: Node, headquarters: Headquarters, role: str, *options: str) -> str:
    text = headquarters.token(role, *options)
    reach = ("--endpoint", f"{node.outer}:{GATEWAY_PORT}") if role == "gateway" else ()
    node.join(text, *reach)
    status = node.agent()
    return status["addresses"][0].split("/")[0]


@pytest.mark.skipif(not os.access(program(), os.X_OK), reason="no coordinator is built")
def test_tokens_joins_and_revocation(lab):
    site = Site(lab, has_coordinator=False)
    headquarters = Headquarters(site)
    headquarters.admin("tenant", "add", "acme", "--pool", "10.64.0.0/16", "--pool", "fd00:64::/64")
    gateway, branch, other = site.node(1), site.node(2), site.node(3)
    hub = join(gateway, headquarters, "gateway")
    token = headquarters.token("branch")
    began = time.monotonic()
    branch.join(token)
    branch.reaches(hub)
    took = time.monotonic() - began
    print(f"join to first packet: {took:.2f} s")
    assert took < 20
    join(other, headquarters, "branch")
    other.reaches(hub)
    assert len(headquarters.nodes()) == 3
    ping, steady = Ping(branch, hub), Ping(other, hub)
    time.sleep(0.5)
    headquarters.admin("node", "revoke", "node-2", "--tenant", "acme", "--yes")
    answered = time.time()
    time.sleep(5)
    last = ping.finish()[2]
    print(f"last answer {1000 * (last - answered):.0f} ms after the API's answer")
    assert last - answered < 4, "a second, and what a busy machine adds"
    branch.await_agent(lambda status: status["state"] == "revoked")
    # It stays cut off by what is on disk.
    headquarters.stop(signal.SIGKILL)
    for node in (gateway, branch):
        node.command("down", node.interface)
        node.command("up", node.interface, check=False)
    assert branch.peers() == [] and len(gateway.peers()) == 1
    other.reaches(hub, 60)
    sent, received, _ = steady.finish()
    assert received > 0 and sent > 0
    headquarters.start()
    gateway.await_agent(lambda status: status.get("connected_since"), 30)
    # Who was revoked has nothing to tell any more.
    branch.command("leave", branch.interface, "--yes")


@pytest.mark.skipif(not os.access(program(), os.X_OK), reason="no coordinator is built")
def test_suspension_approval_and_rotation(lab):
    site = Site(lab, has_coordinator=False)
    headquarters = Headquarters(site)
    headquarters.admin("tenant", "add", "acme", "--pool", "10.64.0.0/16")
    gateway, branch = site.node(1), site.node(2)
    hub = join(gateway, headquarters, "gateway")
    done = branch.join(headquarters.token("branch", "--approval"), "--rotate-every", "4s")
    assert "approve" in done.stdout
    headquarters.admin("node", "approve", "node-2", "--tenant", "acme", "--yes")
    branch.await_agent(lambda status: status["is_in_force"], 15)
    branch.reaches(hub)
    first = branch.status()["public_key"]
    ping = Ping(branch, hub)
    wait_until(lambda: branch.status()["public_key"] != first, 20, "another key")
    time.sleep(1)
    sent, received, _ = ping.finish()
    assert sent == received
    headquarters.admin("node", "suspend", "node-2", "--tenant", "acme", "--yes")
    branch.await_agent(lambda status: status["state"] == "suspended")
    assert branch.is_cut_off(hub)
    headquarters.admin("node", "resume", "node-2", "--tenant", "acme")
    branch.await_agent(lambda status: status["is_in_force"], 15)
    branch.reaches(hub, 60)
    branch.command("leave", branch.interface, "--yes")
    wait_until(lambda: gateway.peers() == [], 10, "the gateway forgets it")
