"""How much of the shaped rate each class fills when it is alone."""

import time

from harness.lab import LabError, last_words, wait_until
from qos.streams import UPLOADS, printed

# A port for each class, by which a service of the settings names it.
PORTS = {"token": 5211, "activation": 5212, "prompt": 5213, "bulk": 5214, "background": 5215}
SERVICES = [(port, name) for name, port in PORTS.items()]


def utilisation(lab, system, name, warm_up, seconds):
    """Returns the share of the shaped rate that uploads of one class fill, in wire bytes."""
    port = str(PORTS[name])
    server = lab.start(system.far, ["iperf3", "-s", "-p", port, "--forceflush"])
    try:
        wait_until(lambda: "listening" in printed(server), "iperf3 listens", process=server)
        client = lab.start(system.near, [
            "iperf3", "-C", "cubic", "-c", system.far_address, "-p", port, "-P", str(UPLOADS),
            "-t", str(int(warm_up + seconds + 2))])
        try:
            time.sleep(warm_up)
            before, begun = system.sent_bytes("up"), time.monotonic()
            time.sleep(seconds)
            sent, took = system.sent_bytes("up") - before, time.monotonic() - begun
            if client.poll() is not None:
                raise LabError(f"iperf3 ended: {last_words(client)}")
        finally:
            lab.stop(client)
    finally:
        lab.stop(server)
    return 8 * sent / took / system.shaped_rate
