"""What a daemon is told about its line and its classes, and what it says of its flows."""

import os
import socket
from dataclasses import dataclass, field

from harness.lab import LabError
from harness.systems import UAPI_DIRECTORY

PATIENCE_S = 10
ETHERNET_BYTES = 14


@dataclass
class Settings:
    """Quality of service at one end; `services` are (port, class) of the inner network."""

    classifies: bool = True
    link_rate: int = None
    services: list = field(default_factory=list)
    budget_bytes: int = None

    def lines(self):
        """Returns the lines of a `set_qos` request."""
        lines = [] if self.classifies else ["classify=false"]
        if self.link_rate:
            lines.append(f"link={self.link_rate} {ETHERNET_BYTES}")
        for port, name in self.services:
            lines.append(f"service=* 0.0.0.0/0 {port} {name} {name}")
        if self.budget_bytes:
            lines.append(f"budget={self.budget_bytes} - 86400")
        return lines


def apply(device, settings):
    """Replaces a daemon's settings."""
    answer = ask(device, ["set_qos=1", *settings.lines()])
    if answer.get("errno") != "0":
        raise LabError(f"{device} refused its QoS settings: {answer}")


def ask(device, lines):
    """Returns the last value of each key that a daemon answers."""
    return dict(pairs(device, lines))


def flows(device):
    """Returns the daemon's flows: dictionaries, `flow` being their ends."""
    found = []
    for key, value in pairs(device, ["flows=1"]):
        if key == "flow":
            protocol, client, client_port, server, server_port = value.split()
            found.append({"protocol": int(protocol), "client": client, "server": server,
                          "client_port": int(client_port), "server_port": int(server_port)})
        elif found:
            found[-1][key] = value
    return found


def pairs(device, lines):
    """Returns the keys and values that a daemon answers to a request, in their order."""
    request = "\n".join([*lines, "", ""]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(os.path.join(UAPI_DIRECTORY, f"{device}.sock"))
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\n\n"):
            part = connection.recv(1 << 16)
            if not part:
                break
            answer += part
    return [tuple(line.split("=", 1)) for line in answer.decode().split("\n") if "=" in line]
