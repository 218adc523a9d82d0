"""Nodes that join a network: a coordinator, gateways and branches behind one bridge."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from fakecoordinator import Coordinator
from lab import REPOSITORY, UAPI_FOLDER, Lab, branchlined, wait_until

GATEWAY_PORT = 51820


def branchline() -> str:
    """Returns the command line under test: BRANCHLINE, or this repository's release build."""
    chosen = os.environ.get("BRANCHLINE", str(REPOSITORY / ".build/release/branchline"))
    return os.path.abspath(shutil.which(chosen) or chosen)


class Node:
    """A machine that may join; `number` is the last part of its outer address."""

    def __init__(self, site: "Site", number: int):
        self.site, self.number, self.lab = site, number, site.lab
        self.namespace = self.lab.namespace()
        self.interface = self.lab.interface_name()
        self.state_folder = self.lab.folder / f"state-{number}"
        self.addresses: list[str] = []
        self.outer = f"192.0.2.{number}"
        site.attach(self.namespace, number)
        self.lab.closing.callback(self.discard)

    @property
    def folder(self) -> Path:
        return self.state_folder / self.interface

    @property
    def environment(self) -> dict[str, str]:
        return {"BRANCHLINED": branchlined(), "BRANCHLINE_STATE": str(self.state_folder),
                "LOG_LEVEL": "debug"}

    def command(self, *words: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Runs `branchline` in the node's namespace; the daemon keeps the log that it is given."""
        # Files rather than pipes, whose end would come with the daemon's.
        output = self.lab.folder / f"node-{self.number}.out"
        with open(output, "wb") as results, open(self.log_path, "ab") as log:
            done = subprocess.run(
                ["ip", "netns", "exec", self.namespace.name, branchline(), *words],
                stdout=results, stderr=log, text=True, timeout=180,
                env={**os.environ, **self.environment}, **options)
        done.stdout = output.read_text()
        if check and done.returncode != 0:
            raise AssertionError(
                f"branchline {words[0]} ended with {done.returncode}\n{done.stdout}{self.log}")
        return done

    @property
    def log_path(self) -> Path:
        return self.lab.folder / f"node-{self.number}.log"

    @property
    def log(self) -> str:
        """The end of what commands and daemon wrote to standard error."""
        return self.log_path.read_text(errors="replace")[-6000:] if self.log_path.exists() else ""

    def join(self, token, *options: str, check: bool = True) -> subprocess.CompletedProcess:
        claims = getattr(token, "claims", {})
        self.addresses = [a.split("/")[0] for a in claims.get("addresses", [])]
        if claims.get("role") == "gateway" and "--endpoint" not in options:
            options = ("--endpoint", f"{self.outer}:{GATEWAY_PORT}", *options)
        text = getattr(token, "join_text", token)
        done = self.command(
            "join", "-", "--interface", self.interface, "--name", f"node-{self.number}",
            *options, input=text + "\n", check=check)
        return done

    def status(self) -> dict:
        """Returns what `branchline status --json` says of the interface."""
        return json.loads(self.command("status", self.interface, "--json").stdout)[0]

    def agent(self) -> dict:
        """Returns the agent's own words, from its file."""
        for _ in range(50):
            with contextlib.suppress(OSError, ValueError):
                return json.loads((self.folder / "status.json").read_text())
            time.sleep(0.02)
        return {}

    def await_agent(self, condition, seconds: float = 10, what: str = "") -> dict:
        def met():
            status = self.agent()
            return status if status and condition(status) else None
        try:
            return wait_until(met, seconds, what or "the agent's status")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.agent()}\n{self.log}") from None

    def peers(self) -> list[dict]:
        return self.status()["peers"]

    @property
    def pid(self) -> int | None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                except OSError:
                    continue
                is_ours = b"--agent" in words or b"--take-over" in words
                if (self.interface.encode() in words and is_ours and state != "Z"
                        and words[0].split(b"/")[-1] == b"branchlined"):
                    return int(entry.name)
        return None

    def kill(self):
        """Ends the daemon as a loss of power does."""
        pid = self.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.pid is None, 5, "the daemon is gone")
        wait_until(lambda: self.interface not in self.namespace.interfaces(), 5, "no interface")

    def reaches(self, address: str, seconds: float = 20) -> float:
        """Pings until an answer comes; returns the seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            done = self.namespace.run(
                "ping", "-n", "-c", "1", "-W", "1", "-i", "0.2", address, check=False)
            if done.returncode == 0:
                return time.monotonic() - began
        raise AssertionError(f"{self.interface} does not reach {address}\n{self.log}")

    def is_cut_off(self, address: str, count: int = 3) -> bool:
        done = self.namespace.run(
            "ping", "-n", "-c", str(count), "-W", "1", "-i", "0.2", address, check=False)
        return " 0 received" in done.stdout or done.returncode != 0

    def discard(self):
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 3
            while self.pid and time.monotonic() < deadline:
                time.sleep(0.02)
            with contextlib.suppress(ProcessLookupError):
                if self.pid:
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            (UAPI_FOLDER / f"{self.interface}.sock").unlink()


class Ping:
    """Pings in the background; tells how many were lost and when the last answer came."""

    # What is under way at the end is no loss. Less than what tests wait before it.
    UNDER_WAY_SECONDS_MAX = 0.5

    def __init__(self, node: Node, address: str, interval: float = 0.02):
        self.interval = interval
        self.process = node.namespace.popen(
            "ping", "-n", "-D", "-i", str(interval), address, stdout=subprocess.PIPE, text=True)
        wait_until(self.is_counting, 10, "ping runs")

    def is_counting(self) -> bool:
        """Tells whether ping would say at a SIGINT what it has counted."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(re.search(r"SigCgt:\s+(\w+)", text)[1], 16)
        return text.startswith("Name:\tping\n") and bool(caught >> signal.SIGINT - 1 & 1)

    def finish(self) -> tuple[int, int, float]:
        """Returns sent, received and the time of the last answer in seconds since 1970."""
        self.process.send_signal(signal.SIGINT)
        output = self.process.communicate(timeout=60)[0]
        sent, received = map(int, re.search(
            r"(\d+) packets transmitted, (\d+) received", output).groups())
        newest = max(map(int, re.findall(r"icmp_seq=(\d+) .*time=", output)), default=0)
        if newest and (sent - newest) * self.interval <= self.UNDER_WAY_SECONDS_MAX:
            sent = newest
        times = re.findall(r"^\[([\d.]+)\].*time=", output, re.MULTILINE)
        return sent, received, float(times[-1]) if times else 0.0


class Site:
    """A bridge with a coordinator on it; nodes are attached as they are made."""

    COORDINATOR = 250

    def __init__(self, lab: Lab, has_coordinator: bool = True):
        self.lab = lab
        self.switch = lab.namespace()
        self.switch.configure("link add bridge0 type bridge", "link set bridge0 up")
        self.home = lab.namespace()
        self.attach(self.home, self.COORDINATOR)
        self.address = f"192.0.2.{self.COORDINATOR}"
        self.coordinator = Coordinator(lab, self.home, self.address) if has_coordinator else None

    def attach(self, namespace, number: int):
        self.lab.link(namespace, self.switch, "veth0", f"port{number}")
        self.switch.configure(f"link set port{number} master bridge0")
        namespace.configure(
            f"address add 192.0.2.{number}/24 dev veth0",
            f"address add fd00:2::{number}/64 dev veth0 nodad")

    def node(self, number: int) -> Node:
        return Node(self, number)

    def token(self, number: int, role: str = "branch", **claims):
        return self.coordinator.token(
            role, [f"10.64.0.{number}/32", f"fd00:64::{number:x}/128"], **claims)

    def gateway(self, number: int = 1, **claims) -> Node:
        node = self.node(number)
        node.join(self.token(number, "gateway", **claims))
        return node

    def branch(self, number: int = 2, *options: str, **claims) -> Node:
        node = self.node(number)
        node.join(self.token(number, **claims), *options)
        return node

    def member(self, node: Node):
        return self.coordinator.named(f"node-{node.number}")


def inner(number: int, family: int = 4) -> str:
    return f"10.64.0.{number}" if family == 4 else f"fd00:64::{number:x}"
