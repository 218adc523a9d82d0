"""Two tenants on one gateway: shares of TCP, and a victim's round trips beside its neighbour."""

import base64
import json
import threading
import time

from harness.lab import LabError, run_in, wait_until
from harness.systems import make_key_pair
from harness.emulator import gateway_configuration
from tenants.gateway import GATEWAY_ADDRESS
from tenants.site import Site

FLOWS = 32
EMULATED_PEERS = 100
BRANCH_ADDRESS = "10.2.0.1"
IPERF = ["iperf3", "-C", "cubic", "--json"]
IPERF_OMITTED_S = 1  # Slow start.
FLOOD_LEAD_S = 0.3
# Those that need sessions come before those that leave none.
FLOODS = {
    "data": {"name": "send", "size": 1400, "rate": 0},
    "flows": {"name": "send", "size": 64, "flows": "new", "rate": 0},
    "changes": None,
    "handshakes": {"name": "flood", "kind": "handshakes", "rate": 0},
    "forged": {"name": "flood", "kind": "forged", "rate": 0},
}


class Rivals:
    """A victim (tenant 0) and its neighbour (tenant 1), each with a branch and emulated peers."""

    def __init__(self, lab, programs, tools, make_gateway, pins, workers):
        self.lab = lab
        self.tools = tools
        self.site = Site(lab, programs, pins)
        keys = [make_key_pair() for _ in range(2)]
        configurations = [
            gateway_configuration(programs, number, EMULATED_PEERS)
            + f"\n[Peer]\nPublicKey = {public}\nAllowedIPs = {BRANCH_ADDRESS}/32\n"
            for number, (_, public) in enumerate(keys)]
        self.gateway = make_gateway(
            lab, self.site.branchlined, self.site.gateway_namespace, configurations, workers,
            self.site.gateway_prefix)
        self.victim, self.neighbour = self.gateway.tenants
        self.branches = [
            self.site.add_branch(tenant, private, BRANCH_ADDRESS)
            for tenant, (private, _) in zip(self.gateway.tenants, keys)]
        self.servers = []
        for tenant in self.gateway.tenants:
            server = lab.start(tenant.domain, [*self.site.other_prefix, "iperf3", "-s",
                                               "--forceflush"])
            wait_until(lambda server=server: has_printed(server, "listening"), "iperf3 listens",
                       process=server)
            self.servers.append(server)
        self.flooder = self.site.add_emulator(self.neighbour, 1, EMULATED_PEERS, is_hostile=True)

    def stop(self):
        """Ends everything."""
        self.flooder.stop()
        for server in self.servers:
            self.lab.stop(server)
        for branch in self.branches:
            branch.stop()
        self.gateway.stop()

    # Shares

    def shares(self, seconds, is_down, uplink=None, line=None):
        """Returns what the victim with one flow and the neighbour with many get, in Gbit/s.

        `uplink` limits the gateway, `line` each branch, in Mbit/s.
        """
        self.gateway.check()
        self._limit(uplink, line)
        try:
            clients = [
                self.lab.start(branch.namespace, [
                    *self.site.other_prefix, *IPERF, "-c", GATEWAY_ADDRESS, "-t", str(seconds),
                    "-O", str(IPERF_OMITTED_S), "-P", str(flows), *(["-R"] if is_down else [])])
                for branch, flows in zip(self.branches, (1, FLOWS))]
            for client in clients:
                wait_until(lambda client=client: client.poll() is not None, "iperf3 ends",
                           patience_s=seconds + 20)
            return [received_gbps(self.lab.stop(client)) for client in clients]
        finally:
            self._limit(uplink and 0, line and 0)

    def _limit(self, uplink, line):
        """Sets limits that are not `None`; 0 takes one away."""
        if uplink is not None:
            self.site.limit_uplink(uplink or None)
        for branch in self.branches if line is not None else []:
            self.site.limit_line(branch.namespace, line or None)

    # Round trips

    def round_trips(self, interval_us, count):
        """Returns quantiles of the victim's round trips, in microseconds."""
        self.gateway.check()
        times = json.loads(run_in(self.branches[0].namespace, [
            *self.site.other_prefix, f"{self.tools}/rtt", GATEWAY_ADDRESS, str(interval_us),
            str(count), str(max(20, count // 20))]))
        if times["received"] < 0.9 * times["sent"]:
            raise LabError(f"only {times['received']} of {times['sent']} probes were answered")
        return times

    def round_trips_beside(self, flood, interval_us, count):
        """Returns the same while the neighbour floods, and what the flood amounted to."""
        seconds = FLOOD_LEAD_S + 1.05 * count * interval_us / 1e6
        if FLOODS[flood] is None:
            with Changes(self.neighbour) as changes:
                time.sleep(FLOOD_LEAD_S)
                times = self.round_trips(interval_us, count)
            return times, {"offered_per_s": changes.count / seconds}
        words = dict(FLOODS[flood])
        if words["name"] == "send":
            self.flooder.ask("handshake", tenants=self.neighbour.number)
        before = self.gateway.cpu_seconds()
        self.flooder.tell(words.pop("name"), tenants=self.neighbour.number,
                          seconds=f"{seconds:.2f}", **words)
        time.sleep(FLOOD_LEAD_S)
        times = self.round_trips(interval_us, count)
        result = self.flooder.answer()
        return times, {"offered_per_s": result["offered"] / result["seconds"],
                       "gateway_load": (self.gateway.cpu_seconds() - before) / result["seconds"]}


class Changes:
    """Changes a tenant's configuration without pause, from a thread."""

    def __init__(self, tenant):
        self.tenant = tenant
        self.count = 0
        self.failure = None
        self._is_stopping = False
        keys = [make_key_pair()[1] for _ in range(8)]
        self._keys = [base64.b64decode(key).hex() for key in keys]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_stopping = True
        self._thread.join()
        for key in self._keys:
            self.tenant.set(f"public_key={key}", "remove=true")
        if self.failure:
            raise LabError(f"the neighbour's changes failed: {self.failure}")

    def _run(self):
        try:
            while not self._is_stopping:
                key = self._keys[self.count % len(self._keys)]
                network = f"10.{100 + self.count % 50}.0.0/16"
                self.tenant.set(f"public_key={key}", "replace_allowed_ips=true",
                                f"allowed_ip={network}")
                self.count += 1
        except (LabError, OSError) as error:
            self.failure = error


def jain(shares):
    """Returns Jain's index of fairness: 1 for equal shares, 1/n where one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share ** 2 for share in shares))


def victim_share(shares):
    """Returns the first share divided by the half of all that is its due."""
    return shares[0] / (sum(shares) / 2)


def received_gbps(text):
    """Returns what iperf3's receiver got."""
    result = json.loads(text)
    if "error" in result:
        raise LabError(f"iperf3: {result['error']}")
    return result["end"]["sum_received"]["bits_per_second"] / 1e9


def has_printed(process, text):
    """Returns whether a process has printed a text."""
    with open(process.log, encoding="utf-8", errors="replace") as output:
        return text in output.read()
