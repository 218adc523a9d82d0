"""Which flows of other people's programs the daemons at both ends hold for token streams."""

import os
import sys

from harness import build
from harness.lab import LabError, run
from qos.settings import Settings, apply, flows

sys.path.insert(0, os.path.join(build.PROJECT, "Tests", "Support"))
from programs.kinds import precision_and_recall  # noqa: E402
from programs.mix import Mix, MixError  # noqa: E402


def traffic_python():
    """Returns the path of the Python that has the programs; installs them once."""
    script = os.path.join(build.PROJECT, "Tests", "Support", "programs", "python.sh")
    return run([script]).strip()


def recognise(python, tunnel, seconds, flows_each):
    """Runs all kinds at once. Returns what both ends found of each, and what went wrong."""
    for device in tunnel.devices:
        apply(device, Settings())
    looks = [lambda device=device: [
        (flow["client_port"], flow["server_port"], flow.get("token_stream") == "true")
        for flow in flows(device)] for device in tunnel.devices]
    try:
        with Mix(python, tunnel.near, tunnel.far, tunnel.far_address) as mix:
            near, far = mix.run(seconds, flows_each, *looks)
            both = [(kind, count + other_count, hits + other_hits) for
                    (kind, count, hits), (_, other_count, other_hits) in zip(near, far)]
            return both, mix.complaints
    except MixError as error:
        raise LabError(str(error)) from error


def figures(found):
    """Returns precision and recall under their keys."""
    precision, recall = precision_and_recall(found)
    return {"recognition_precision": precision, "recognition_recall": recall}
