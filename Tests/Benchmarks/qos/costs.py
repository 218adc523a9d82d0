"""What the classifier costs: throughput without a shaper, and memory for many flows."""

import socket
import subprocess
import sys
import time

from harness import machine
from harness.lab import LabError, run_in, wait_until
from harness.systems import UserspaceWireGuard
from qos.settings import Settings, apply, ask
from qos.streams import printed
from tunnel.figures import IPERF, iperf_result

FLOWS = 100_000
FLOWS_A_SOCKET = 25_000
FIRST_PORT = 20_000
BURST = 64
PAUSE_S = 0.001
SETTLE_S = 1.0


class PlainTunnel(UserspaceWireGuard):
    """Two daemons over a veth pair without limits."""

    @property
    def devices(self):
        """Names of the tunnel devices, near and far."""
        return [process.leaves.rpartition("/")[2].removesuffix(".sock")
                for process in self.processes]


def throughput(lab, tunnel, classifies, seconds):
    """Returns what one TCP stream gets, in Gbit/s."""
    for device in tunnel.devices:
        apply(device, Settings(classifies=classifies))
    server = lab.start(tunnel.far, ["iperf3", "-s", "--forceflush"])
    try:
        wait_until(lambda: "listening" in printed(server), "iperf3 listens", process=server)
        result = iperf_result(run_in(tunnel.near, [
            *IPERF, "-c", tunnel.far_address, "-t", str(int(seconds))]))
        return result["bits_per_second"] / 1e9
    finally:
        lab.stop(server)


def bytes_per_flow(tunnel, count=FLOWS):
    """Returns how much the near daemon grows for each of so many flows, and how many it has."""
    device = tunnel.devices[0]
    apply(device, Settings())
    _send_flows(tunnel, 200)  # Buffers that come with the first packets.
    time.sleep(SETTLE_S)
    before, had = _resident(tunnel), _flow_count(device)
    _send_flows(tunnel, count)
    time.sleep(SETTLE_S)
    grown = _flow_count(device) - had
    if grown < count // 4:  # Of one worker; others have tables of their own.
        raise LabError(f"only {grown} of {count} flows are in the table")
    return (_resident(tunnel) - before) / grown, grown


def _resident(tunnel):
    return machine.resident_bytes(tunnel.processes[0].pid)


def _flow_count(device):
    return int(ask(device, ["qos=1"]).get("flows", 0))


def _send_flows(tunnel, count):
    subprocess.run(["ip", "netns", "exec", tunnel.near, sys.executable, __file__,
                    tunnel.far_address, str(count)], check=True, timeout=120)


def send(address, count):
    """Sends a datagram on each of so many flows."""
    left = count
    while left > 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(min(left, FLOWS_A_SOCKET)):
                try:
                    sender.sendto(b"one of many", (address, FIRST_PORT + number))
                except ConnectionRefusedError:
                    pass
                if number % BURST == BURST - 1:
                    time.sleep(PAUSE_S)
        left -= FLOWS_A_SOCKET


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]))
