"""The systems under test: a branch and HQ, joined by a tunnel over a line with a rate and a delay.

    branch ---- shaped line, delay ---- HQ          (Tests/Support/wan.py)

The line's buffers are byte FIFOs, deep as those of a modem, and nothing pushes back on the sender.
"""

import os
import sys

from harness import build
from harness.lab import run, run_in
from harness.systems import PORT, TUNNEL_ADDRESSES, UserspaceWireGuard, make_key_pair
from qos.settings import ETHERNET_BYTES, Settings, apply

sys.path.insert(0, os.path.join(build.PROJECT, "Tests", "Support"))
from wan import Line, Wan, WanError  # noqa: E402, F401

DELAY_MS = 20  # Each way.
BUFFER_S = 0.6


class LineSystem(UserspaceWireGuard):
    """Two daemons with one peer each, near in the branch and far at HQ."""

    def __init__(self, lab, program, relay, settings=None):
        """Joins them; `settings` make what a daemon is told from the line's rate, None: nothing."""
        self.lab = lab
        self.program = program
        self.make_settings = settings
        self.processes = []
        self.near, self.far = lab.add_namespace(), lab.add_namespace()
        self.rate = None
        self.wan = Wan(
            relay=relay, delay_ms=DELAY_MS, seed=1, branch=self.near, hq=self.far)
        self.devices = []
        try:
            self.wan.open()
            self._join()
        except BaseException:
            self.stop()
            raise

    def _join(self):
        keys = [make_key_pair() for _ in range(2)]
        outer = (self.wan.BRANCH_ADDRESS, self.wan.HQ_ADDRESS)
        for namespace, own, other in ((self.near, 0, 1), (self.far, 1, 0)):
            process, device = self.start_daemon(namespace, keys[own][0], PORT)
            self.processes.append(process)
            self.devices.append(device)
            run(["wg", "set", device, "peer", keys[other][1],
                 "endpoint", f"{outer[other]}:{PORT}",
                 "allowed-ips", f"{TUNNEL_ADDRESSES[other]}/32"])
            self.bring_up(namespace, device, TUNNEL_ADDRESSES[own])
            run_in(namespace, ["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])

    def set_rate(self, rate, services=(), **changes):
        """Shapes the line, and tells the daemons of it; None for a line without limit."""
        buffer = int(rate * BUFFER_S / 8) if rate else 0
        for way in ("up", "down"):
            self.wan.set_line(way, Line(rate, buffer, overhead_bytes=ETHERNET_BYTES)
                              if rate else Line(None))
        self.rate = rate
        if self.make_settings:
            settings = self.make_settings(rate)
            settings.services = list(services)
            for name, value in changes.items():
                setattr(settings, name, value)
            for device in self.devices:
                apply(device, settings)

    @property
    def shaped_rate(self):
        """What the system means to use of the line, in bits per second."""
        return self.rate * SHAPED_SHARE if self.make_settings else self.rate

    def sent_bytes(self, way):
        """Returns what went over the line, in bytes on the wire."""
        return self.wan.line_counts(way)["sent_bytes"]

    def stop(self):
        """Ends the daemons and the line."""
        for process in self.processes:
            self.lab.stop(process)
        self.processes = []
        self.wan.close()
        for namespace in (self.near, self.far):
            if namespace in self.lab.namespaces:
                self.lab.forget_namespace(namespace)


def classifying(rate):
    """Branchline as it is."""
    return Settings(link_rate=rate)


def flow_queueing(rate):
    """Branchline without its classifier: fair queueing between flows under the same shaper."""
    return Settings(classifies=False, link_rate=rate)


SHAPED_SHARE = 0.95
