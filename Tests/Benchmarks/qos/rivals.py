"""Two equal tenants behind one gateway's line: one CUBIC flow against 32.

    branch A ---+
                +--- router ---- line, delay ---- gateway --- a domain for each tenant
    branch B ---+
"""

import json
import os
import time

from harness.lab import LabError, last_words, run, run_in, wait_until
from harness.systems import make_key_pair
from qos.line import BUFFER_S, DELAY_MS, Line, Wan
from qos.settings import ETHERNET_BYTES
from qos.streams import printed
from tenants.gateway import GATEWAY_ADDRESS, Branch, Gateway, SeparateDaemons
from tenants.rivals import FLOWS, jain

BRANCH_ADDRESS = "10.2.0.1"
BRANCHES_NETWORK = "198.18.0.0/16"


class LinePair:
    """A gateway with two tenants, a branch each, and a line towards both."""

    def __init__(self, lab, program, relay, rate, classifies, is_gateway):
        """`is_gateway`: one daemon that knows its line; otherwise a daemon for each tenant."""
        self.lab = lab
        self.rate = rate
        self.branches, self.servers, self.gateway = [], [], None
        self.namespaces = [lab.add_namespace() for _ in range(2)]
        router, far = self.namespaces
        self.wan = Wan(Line(), Line(rate, int(rate * BUFFER_S / 8), ETHERNET_BYTES), relay=relay,
                       delay_ms=DELAY_MS, seed=1, branch=router, hq=far)
        try:
            self.wan.open()
            run_in(router, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
            run(["ip", "-n", self.wan.wan, "route", "add", BRANCHES_NETWORK,
                 "via", self.wan.BRANCH_ADDRESS])
            run(["ip", "-n", far, "route", "add", BRANCHES_NETWORK, "via", "10.77.2.1"])
            self._start(program, router, far, classifies, is_gateway)
        except BaseException:
            self.stop()
            raise

    def _start(self, program, router, far, classifies, is_gateway):
        keys = [make_key_pair() for _ in range(2)]
        configurations = [
            f"[Interface]\nPrivateKey = {make_key_pair()[0]}\n\n"
            f"[Peer]\nPublicKey = {public}\nAllowedIPs = {BRANCH_ADDRESS}/32\n"
            for _, public in keys]
        link = {"rate": self.rate, "overheadBytes": ETHERNET_BYTES}
        self.gateway = (Gateway if is_gateway else SeparateDaemons)(
            self.lab, program, far, configurations, settings={"link": link} if is_gateway else {},
            tenant_settings={} if classifies else {"qos": self._policy({"classify": False})})
        for number, (tenant, (private, _)) in enumerate(zip(self.gateway.tenants, keys)):
            namespace = self.lab.add_namespace()
            self.namespaces.append(namespace)
            self.lab.join([router, namespace],
                          (f"198.18.{number}.1/24", f"198.18.{number}.2/24"),
                          (f"spoke{number}", "veth0"))
            # The inner network contains this address, too.
            run(["ip", "-n", namespace, "route", "add", f"{self.wan.HQ_ADDRESS}/32",
                 "via", f"198.18.{number}.1"])
            self.branches.append(Branch(self.lab, program, namespace, tenant, private,
                                        BRANCH_ADDRESS, self.wan.HQ_ADDRESS))
            server = self.lab.start(tenant.domain, ["iperf3", "-s", "--forceflush"])
            self.servers.append(server)
            wait_until(lambda server=server: "listening" in printed(server), "iperf3 listens",
                       process=server)

    def _policy(self, members):
        path = self.lab.path(self.lab.unique_name())
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            json.dump(members, file)
        return path

    def index(self, warm_up, seconds):
        """Returns Jain's index of what both tenants got, and what each got in Mbit/s."""
        self.gateway.check()
        clients = [self.lab.start(branch.namespace, [
            "iperf3", "-C", "cubic", "-c", GATEWAY_ADDRESS, "-R", "-P", str(flows),
            "-t", str(int(warm_up + seconds + 2))])
            for branch, flows in zip(self.branches, (1, FLOWS))]
        try:
            time.sleep(warm_up)
            before, begun = self._received(), time.monotonic()
            time.sleep(seconds)
            after, took = self._received(), time.monotonic() - begun
            for client in clients:
                if client.poll() is not None:
                    raise LabError(f"iperf3 ended: {last_words(client)}")
        finally:
            for client in clients:
                self.lab.stop(client)
        shares = [8e-6 * (late - early) / took for early, late in zip(before, after)]
        return jain(shares), shares

    def _received(self):
        """Returns the inner bytes that each branch has got."""
        return [int(run_in(branch.namespace, [
            "cat", f"/sys/class/net/{branch.interface}/statistics/rx_bytes"]))
            for branch in self.branches]

    def stop(self):
        """Ends everything."""
        for process in self.servers:
            self.lab.stop(process)
        for part in [*self.branches, *([self.gateway] if self.gateway else [])]:
            part.stop()
        self.wan.close()
        for namespace in self.namespaces:
            self.lab.forget_namespace(namespace)
