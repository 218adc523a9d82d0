"""A branch, a wide-area network and headquarters: three namespaces that vanish with their owner.

    branch ── wan0 ═ branch ──┐ wan ┌── hq ═ wan0 ── hq
                     relay-branch   relay-hq
                              └relay┘

What the branch sends is routed into the device relay-branch, whose queueing discipline is the
uplink: a token bucket before a byte FIFO of a chosen size. The relay takes it from there with the
path's delay and faults, and hands it to the kernel through relay-hq, which routes it to
headquarters; the way back is the same. The bottlenecks stand in a namespace of their own, since a
queue on the sender's own device would push back on the sender's socket, which no modem does.
"""

import atexit
import contextlib
import ctypes
import dataclasses
import itertools
import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 10.0
DEVICES = {"up": "relay-branch", "down": "relay-hq"}
PACKET_BYTES_MAX = 1500
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)
_serial = itertools.count()
_live: set["Wan"] = set()


class WanError(Exception):
    """The network could not be built or asked; the text says what failed and why."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A bottleneck: bits a second (None for none) and the bytes that wait before it at most.

    `overhead_bytes` are added to each IP packet before it is counted, as by a link layer.
    `burst_bytes` may leave at once after a pause; by default what the line sends in a
    millisecond, and two packets at least.
    """

    rate: int | None = None
    queue_bytes: int = 1_500_000
    overhead_bytes: int = 0
    burst_bytes: int | None = None

    def discipline(self) -> list[str]:
        """Returns what tc-tbf(8) is to be told."""
        largest = PACKET_BYTES_MAX + self.overhead_bytes
        burst = self.burst_bytes or max(2 * largest, self.rate // 8 // 1000)
        counted = ["stab", "overhead", str(self.overhead_bytes), "linklayer", "ethernet"]
        return [*(counted if self.overhead_bytes else []), "tbf", "rate", f"{self.rate}bit",
                "burst", str(burst), "limit", str(max(self.queue_bytes, largest))]


class Wan:
    """The three namespaces with the relay between them; a context manager.

    `branch` and `hq` name namespaces that exist already and stay; by default they are made and
    removed with the network. Faults are single numbers or (up, down): `delay_ms`, `jitter_ms`,
    `loss`, `reorder`, `reorder_by_ms`, `ce`. `options` are passed on to the relay.
    """

    BRANCH_ADDRESS, HQ_ADDRESS = "10.77.1.2", "10.77.2.2"
    BRANCH_ADDRESS6, HQ_ADDRESS6 = "fd77:1::2", "fd77:2::2"

    def __init__(self, up: Line = Line(), down: Line = Line(), *, relay: str | None = None,
                 branch: str | None = None, hq: str | None = None, seed: int = 0,
                 options: tuple[str, ...] = (), **faults):
        self._program = str(relay or os.environ.get(
            "WAN_RELAY", REPOSITORY / ".build/release/wan-relay"))
        self._arguments = [f"--seed={seed}", *options] + [
            f"--{name.replace('_', '-')}={_both(value)}" for name, value in faults.items()]
        tag = f"wan{os.getpid()}x{next(_serial)}"
        self.wan = f"{tag}-wan"
        self.branch = branch or f"{tag}-branch"
        self.hq = hq or f"{tag}-hq"
        self._made = [self.wan] + [
            name for name, given in ((self.branch, branch), (self.hq, hq)) if not given]
        self._lines = {"up": up, "down": down}
        self._relay: subprocess.Popen | None = None
        self._pending = b""
        self.final_statistics: dict | None = None

    def __enter__(self) -> "Wan":
        return self.open()

    def __exit__(self, *_):
        self.close()

    def open(self) -> "Wan":
        """Builds everything; what is half built when something fails is removed."""
        _live.add(self)
        try:
            self._make_namespaces()
            self._start_relay()
            self._make_routes()
            for way, line in self._lines.items():
                self.set_line(way, line)
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        """Ends the relay and removes what this network made. Further calls do nothing."""
        if self not in _live:
            return
        _live.discard(self)
        with contextlib.suppress(WanError, OSError):
            self._end_relay()
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def set_line(self, way: str, line: Line):
        """Sets the bottleneck of `up` or `down`; one that has a rate already keeps its queue."""
        device, former = DEVICES[way], self._lines[way]
        if line.rate is None:
            subprocess.run(["tc", "-n", self.wan, "qdisc", "del", "dev", device, "root"],
                           capture_output=True, check=False)
        else:
            same_kind = former.overhead_bytes == line.overhead_bytes
            verb = "change" if self._has_line(way) and same_kind else "replace"
            _run("tc", "-n", self.wan, "qdisc", verb, "dev", device, "root", *line.discipline())
        self._lines[way] = line

    def line_counts(self, way: str) -> dict[str, int]:
        """Returns what the bottleneck of `up` or `down` counted so far."""
        text = _run("tc", "-n", self.wan, "-s", "qdisc", "show", "dev", DEVICES[way], "root")
        sent = re.search(r"Sent (\d+) bytes (\d+) pkt \(dropped (\d+), overlimits (\d+)", text)
        backlog = re.search(r"backlog (\d+)([KM]?)b", text)
        if not sent or not backlog:
            raise WanError(f"tc -s qdisc says: {text!r}")
        unit = {"": 1, "K": 1 << 10, "M": 1 << 20}[backlog[2]]
        names = ("sent_bytes", "sent_packets", "dropped", "overlimits")
        return {**dict(zip(names, map(int, sent.groups()))),
                "backlog_bytes": int(backlog[1]) * unit}

    def statistics(self) -> dict:
        """Returns what the relay counted so far."""
        self._relay.send_signal(signal.SIGUSR1)
        return json.loads(self._line())

    @property
    def pid(self) -> int:
        return self._relay.pid

    # Steps of building

    def _make_namespaces(self):
        for name in self._made:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "netns", "exec", self.wan, "sysctl", "-qw", "net.ipv4.ip_forward=1",
             "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
             "net.ipv4.conf.default.rp_filter=0")
        for number, (here, name) in enumerate((("branch", self.branch), ("hq", self.hq)), 1):
            _run("ip", "-n", self.wan, "link", "add", here, "type", "veth",
                 "peer", "name", "wan0", "netns", name)
            for namespace, device in ((self.wan, here), (name, "wan0")):
                # Nobody else has these addresses, and looking for them takes seconds.
                _run("ip", "netns", "exec", namespace, "sysctl", "-qw",
                     f"net.ipv6.conf.{device}.accept_dad=0")
            _batch(self.wan,
                   f"address add 10.77.{number}.1/24 dev {here}",
                   f"address add fd77:{number}::1/64 dev {here} nodad",
                   f"link set {here} up")
            _batch(name,
                   f"address add 10.77.{number}.2/24 dev wan0",
                   f"address add fd77:{number}::2/64 dev wan0 nodad",
                   "link set wan0 up",
                   f"route add 10.77.0.0/16 via 10.77.{number}.1",
                   f"route add fd77::/16 via fd77:{number}::1")

    def _start_relay(self):
        command = ["ip", "netns", "exec", self.wan, self._program, *self._arguments]
        try:
            # ip(8) becomes the relay, so that the process id is the relay's own.
            self._relay = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, preexec_fn=_die_with_parent)
        except OSError as error:
            raise WanError(f"cannot start {self._program}: {error}") from error
        if self._line() != "ready":
            raise WanError("the relay did not say that it is ready")

    def _make_routes(self):
        """Sends what comes by each link through the relay, and what the relay lets go onwards."""
        lines = []
        for table, (here, device) in enumerate((("branch", "relay-branch"), ("hq", "relay-hq")),
                                               100):
            lines += [f"link set {device} addrgenmode none",
                      f"link set {device} txqueuelen 4000 up"]
            for family in ("-4", "-6"):
                lines += [f"{family} route add default dev {device} table {table}",
                          f"{family} rule add iif {here} lookup {table}"]
        for line in lines:
            family, words = (line[:2], line[3:]) if line[0] == "-" else ("-4", line)
            _run("ip", "-n", self.wan, family, *words.split())

    def _has_line(self, way: str) -> bool:
        return "qdisc tbf" in _run(
            "tc", "-n", self.wan, "qdisc", "show", "dev", DEVICES[way], "root")

    # The relay's output

    def _line(self) -> str:
        deadline = time.monotonic() + START_SECONDS_MAX
        output = self._relay.stdout.fileno()
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            ready = select.select([output], [], [], max(left, 0))[0]
            piece = os.read(output, 1 << 16) if ready else b""
            if not piece:
                raise WanError(self._why_silent(bool(ready)))
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def _why_silent(self, has_ended: bool) -> str:
        if not has_ended:
            return f"the relay said nothing for {START_SECONDS_MAX} s"
        status = self._relay.wait(START_SECONDS_MAX)
        said = self._relay.stderr.read().decode(errors="replace").strip()
        return f"the relay ended with {status}: {said}"

    def _end_relay(self):
        if self._relay is None:
            return
        try:
            if self._relay.poll() is None:
                self._relay.send_signal(signal.SIGTERM)
                self.final_statistics = json.loads(self._line())
            self._relay.wait(START_SECONDS_MAX)
        finally:
            if self._relay.poll() is None:
                self._relay.kill()
                self._relay.wait()
            self._relay.stdout.close()
            self._relay.stderr.close()


def _both(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise WanError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _batch(namespace: str, *lines: str):
    for line in lines:
        family = "-6" if ":" in line else "-4"
        _run("ip", "-n", namespace, family, *line.split())


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@atexit.register
def _close_all():
    for wan in list(_live):
        with contextlib.suppress(Exception):
            wan.close()
