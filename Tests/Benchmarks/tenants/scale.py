"""A gateway with thousands of emulated peers: memory, start, changes, the price of a packet."""

import base64
import time

from harness.lab import LabError, wait_until
from harness.emulator import gateway_configuration, public_keys
from tenants.rivals import has_printed
from tenants.site import Site

ECHO_PORT = 7000
SETTLE_S = 1
# Packets that come together: a worker that wakes for each packet has no time to spare for it.
BURST = 32
# Keys of a tenant that nobody emulates: for peers that come and go.
STRANGERS = 1_000_000
CHANGED_NETWORK = "10.250.0.{}/32"
PROBE_S = 0.3


class Crowd:
    """A gateway with `tenants` tenants of `peers` emulated peers each."""

    def __init__(self, lab, programs, tools, make_gateway, pins, tenants, peers):
        self.lab = lab
        self.programs = programs
        self.tools = tools
        self.make_gateway = make_gateway
        self.tenant_count, self.peers_per_tenant = tenants, peers
        self.site = Site(lab, programs, pins)
        self.workers = 1 if pins else None
        self.gateway = self.emulator = self.echo = None

    @property
    def count(self):
        """Number of peers."""
        return self.tenant_count * self.peers_per_tenant

    def empty_bytes(self, tenants):
        """Returns the memory of a gateway with so many tenants that have no peers."""
        gateway = self._start(tenants, 0)
        try:
            time.sleep(SETTLE_S)
            return gateway.resident_bytes()
        finally:
            gateway.stop()

    def start(self):
        """Starts the gateway with all peers. Returns how long until it served them."""
        self.gateway = self._start(self.tenant_count, self.peers_per_tenant)
        return self.gateway.start_s

    def _start(self, tenants, peers):
        texts = [gateway_configuration(self.programs, number, max(peers, 1))
                 for number in range(tenants)]
        if not peers:
            texts = [text.partition("\n[Peer]")[0] for text in texts]
        return self.make_gateway(
            self.lab, self.site.branchlined, self.site.gateway_namespace, texts, self.workers,
            self.site.gateway_prefix)

    def shake_hands(self):
        """Gives every peer a session. Returns the emulator's answer."""
        self.emulator = self.site.add_emulator(
            self.gateway.tenants[0], self.tenant_count, self.peers_per_tenant)
        answer = self.emulator.ask("handshake", patience_s=120, tenants=self._all, window=64)
        if answer["failed"] or answer["completed"] < self.count:
            raise LabError(f"of {self.count} handshakes {answer['completed']:.0f} completed")
        return answer

    @property
    def _all(self):
        return f"0-{self.tenant_count - 1}"

    def stop(self):
        """Ends everything."""
        if self.echo:
            self.lab.stop(self.echo)
        if self.emulator:
            self.emulator.stop()
        if self.gateway:
            self.gateway.stop()

    # The price of a packet

    def start_echo(self):
        """Lets every tenant's domain send back what peers send.

        One process serves all: the kernel wakes it within the gateway's own time, and a hundred
        would cost the gateway a hundred wake-ups for what one costs it with one tenant.
        """
        domains = [tenant.domain for tenant in self.gateway.tenants]
        self.echo = self.lab.start(None, [
            *self.site.other_prefix, f"{self.tools}/rtt", "echo", str(ECHO_PORT), *domains])
        wait_until(lambda: has_printed(self.echo, "ready"), "the UDP echo opens",
                   process=self.echo)

    def packet_cost(self, is_spread, rate, seconds):
        """Returns microseconds of the gateway's threads for a packet that it forwards.

        Packets go from peers into the domains and come back. No two in succession can share a
        segmentation send: else one peer's would be cheaper by offloads, which are not the question.
        """
        self.gateway.check()
        words = {"tenants": self._all if is_spread else "0",
                 "peers": self.peers_per_tenant if is_spread else 1,
                 "size": "cycle", "flows": "many", "rate": rate, "burst": BURST}
        self.emulator.ask("send", seconds=min(seconds, self.count / rate + 0.2), **words)
        before = self.gateway.cpu_seconds()
        answer = self.emulator.ask("send", seconds=seconds, **words)
        spent = self.gateway.cpu_seconds() - before
        if answer["received"] < 0.9 * answer["sent"]:
            raise LabError(f"of {answer['sent']:.0f} packets {answer['received']:.0f} came back")
        return spent / (answer["sent"] + answer["received"]) * 1e6

    # Changes

    def change_times(self, count):
        """Adds a peer, moves a network to it and removes it, `count` times.

        Returns milliseconds until each change was answered; it is then in force.
        """
        self.gateway.check()
        tenant = self.gateway.tenants[0]
        keys = [base64.b64decode(key).hex()
                for key in public_keys(self.programs, STRANGERS, 0, count)]
        times = {"add": [], "route": [], "remove": []}
        for number, key in enumerate(keys):
            networks = [CHANGED_NETWORK.format(2 * number % 256 + side) for side in (0, 1)]
            times["add"].append(tenant.set(f"public_key={key}", f"allowed_ip={networks[0]}"))
            times["route"].append(tenant.set(
                f"public_key={key}", "replace_allowed_ips=true", f"allowed_ip={networks[1]}"))
            times["remove"].append(tenant.set(f"public_key={key}", "remove=true"))
        return {name: [1000 * seconds for seconds in values] for name, values in times.items()}

    def check_changes_are_in_force(self):
        """Raises LabError unless an answered change decides about the next packet."""
        tenant = self.gateway.tenants[0]
        key = base64.b64decode(public_keys(self.programs, 0, 0, 1)[0]).hex()
        own, other = "10.1.0.0/32", CHANGED_NETWORK.format(255)
        for network, is_let_through in ((other, False), (own, True)):
            tenant.set(f"public_key={key}", "replace_allowed_ips=true", f"allowed_ip={network}")
            answer = self.emulator.ask("send", tenants=0, peers=1, size=100, rate=200,
                                       seconds=PROBE_S)
            arrived = answer["received"] / max(answer["sent"], 1)
            if arrived > 0.02 if not is_let_through else arrived < 0.9:
                raise LabError(f"after a change to {network} {arrived:.0%} of packets came back")
