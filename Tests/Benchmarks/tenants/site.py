"""The network around the gateway: one uplink that everybody's datagrams share.

    branch A ---+
    branch B ---+--- router === uplink === gateway --- a domain for each tenant
    emulator ---+
"""

from harness.lab import run, run_in
from harness.emulator import Emulator
from tenants.gateway import Branch

GATEWAY_OUTER = "198.18.0.1"
ROUTER_OUTER = "198.18.0.2"
# A queue that never drops: what does not leave fills the gateway's sockets, as at a real line card.
UPLINK_QUEUE_BYTES = 64 << 20
UPLINK_BURST_BYTES = 128 << 10
LINE_QUEUE_BYTES = 4 << 20


class Site:
    """The namespaces; programs are put on processors where these are given.

    With two processors or more the gateway has the first to itself, and those that flood run
    elsewhere at idle priority: nobody else's program is to be kept from running by them, as they
    would be on other machines.
    """

    def __init__(self, lab, programs, pins):
        self.lab = lab
        self.programs = programs
        self.gateway_prefix = ["taskset", "-c", "0"] if pins else []
        self.other_prefix = ["taskset", "-c", "1-63"] if pins else []
        self.hostile_prefix = [*self.other_prefix, "chrt", "--idle", "0"]
        self.gateway_namespace = lab.add_namespace()
        self.router = lab.add_namespace()
        self.spokes = 0
        lab.join([self.gateway_namespace, self.router],
                 (f"{GATEWAY_OUTER}/24", f"{ROUTER_OUTER}/24"), ("uplink", "uplink"))
        run(["ip", "-n", self.gateway_namespace, "route", "add", "default", "via", ROUTER_OUTER])
        run_in(self.router, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])

    @property
    def branchlined(self):
        """Path of the daemon."""
        return f"{self.programs}/branchlined"

    def add_spoke(self):
        """Returns a namespace that reaches the gateway through the router."""
        self.spokes += 1
        name = self.lab.add_namespace()
        near, far = (f"198.18.{self.spokes}.{host}" for host in (1, 2))
        self.lab.join([self.router, name], (f"{near}/24", f"{far}/24"),
                      (f"spoke{self.spokes}", "veth0"))
        run(["ip", "-n", name, "route", "add", "default", "via", near])
        return name

    def add_branch(self, tenant, key, address):
        """Returns a branch of a tenant in a namespace of its own."""
        return Branch(self.lab, self.branchlined, self.add_spoke(), tenant, key, address,
                      GATEWAY_OUTER, self.other_prefix)

    def add_emulator(self, tenant, tenants, peers, is_hostile=False):
        """Returns emulated peers of `tenants` tenants from `tenant` on."""
        prefix = self.hostile_prefix if is_hostile else self.other_prefix
        return Emulator(self.lab, self.programs, self.add_spoke(),
                        f"{GATEWAY_OUTER}:{tenant.port}", tenants, peers, tenant.number, prefix)

    @staticmethod
    def limit_line(namespace, megabits):
        """Gives a branch a line of so much towards the router; `None` for none."""
        run(["tc", "-n", namespace, "qdisc", "del", "dev", "veth0", "root"] if megabits is None else
            ["tc", "-n", namespace, "qdisc", "add", "dev", "veth0", "root", "tbf", "rate",
             f"{megabits}mbit", "burst", str(UPLINK_BURST_BYTES), "limit", str(LINE_QUEUE_BYTES)])

    def limit_uplink(self, megabits):
        """Lets the gateway send so much; `None` for all that it can."""
        run(["tc", "-n", self.gateway_namespace, "qdisc", "del", "dev", "uplink", "root"]
            if megabits is None else
            ["tc", "-n", self.gateway_namespace, "qdisc", "add", "dev", "uplink", "root", "tbf",
             "rate", f"{megabits}mbit", "burst", str(UPLINK_BURST_BYTES),
             "limit", str(UPLINK_QUEUE_BYTES)])
