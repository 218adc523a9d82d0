"""A real gateway and real branches that join through the coordinator, in network namespaces."""

import os
import socket
import subprocess
import threading
import time

from harness.lab import LabError, run_in, wait_until

GATEWAY_PORT = 51820
PROBE_PORT = 7007
PROBE_SECONDS = 0.001


class Pair:
    """A gateway that has joined, and a place for one branch after the other."""

    def __init__(self, lab, programs, hq, branch, hq_address):
        self.lab, self.programs = lab, programs
        self.hq, self.branch, self.hq_address = hq, branch, hq_address
        self.state = lab.path("nodes")
        self.gateway_device, self.branch_device = lab.unique_name(), lab.unique_name()

    def command(self, namespace, *arguments, **options):
        """Runs `branchline` in a namespace. Returns what it printed."""
        return run_in(namespace, [
            "env", f"BRANCHLINE_STATE={self.state}", f"PATH={self.programs}:{os.environ['PATH']}",
            os.path.join(self.programs, "branchline"), *arguments], **options)

    def join_gateway(self, token):
        """Joins the gateway."""
        self.command(self.hq, "join", token.join_text, "--interface", self.gateway_device,
                     "--name", "gateway", "--listen-port", str(GATEWAY_PORT),
                     "--endpoint", f"{self.hq_address}:{GATEWAY_PORT}")
        self.gateway_address = token.claims["addresses"][0].split("/")[0]

    def join_branch(self, token):
        """Joins a branch. Returns the seconds from the command to the first echo reply."""
        began = time.monotonic()
        self.command(self.branch, "join", token.join_text, "--interface", self.branch_device,
                     "--name", "branch")
        run_in(self.branch, ["ping", "-n", "-q", "-c", "1", "-W", "5", self.gateway_address])
        return time.monotonic() - began

    def leave_branch(self):
        """Takes the branch away again."""
        self.command(self.branch, "leave", self.branch_device, "--yes", "--force")

    def stop(self):
        """Ends what is left."""
        for namespace, device in ((self.branch, self.branch_device), (self.hq, self.gateway_device)):
            try:
                self.command(namespace, "leave", device, "--yes", "--force")
            except LabError:
                pass


class Probes:
    """Datagrams from the branch to the gateway's tunnel address, every millisecond."""

    SENDER = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
due = time.monotonic()
while True:
    try:
        s.sendto(b"probe", (sys.argv[1], int(sys.argv[2])))
    except OSError:
        pass
    due += float(sys.argv[3])
    time.sleep(max(0, due - time.monotonic()))
"""
    SINK = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    s.recv(64)
    print(time.time(), flush=True)
"""

    def __init__(self, lab, pair):
        self.lab = lab
        target = [pair.gateway_address, str(PROBE_PORT)]
        self.sink = lab.start_with_input(pair.hq, ["python3", "-c", self.SINK, *target])
        self.last = None
        threading.Thread(target=self._read, daemon=True).start()
        self.sender = lab.start(
            pair.branch, ["python3", "-c", self.SENDER, *target, str(PROBE_SECONDS)])
        wait_until(lambda: self.last is not None, "probes through the tunnel", 5, self.sender)

    def _read(self):
        for line in self.sink.stdout:
            self.last = float(line)

    def stop(self):
        """Ends both programs. Returns when the last probe arrived, in seconds since the epoch."""
        self.lab.stop(self.sender)
        self.lab.stop(self.sink)
        return self.last
