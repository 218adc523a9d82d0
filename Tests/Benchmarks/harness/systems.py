"""The systems under test: each joins two namespaces by a tunnel of MTU 1420, or not at all."""

import base64
import os
import socket

from harness import machine
from harness.lab import LabError, last_words, run, run_in, wait_until

LINK_ADDRESSES = ("198.18.0.1", "198.18.0.2")
TUNNEL_ADDRESSES = ("198.19.0.1", "198.19.0.2")
PORT = 51820
TUNNEL_MTU = 1420
UAPI_DIRECTORY = "/var/run/wireguard"
UAPI_ANSWER_BYTES_MAX = 4096
PEER_COUNT = 10


class BareLink:
    """The veth pair itself."""

    near_address, far_address = LINK_ADDRESSES
    label = None  # What the benchmark calls it.

    def __init__(self, lab):
        self.lab = lab
        self.processes = []
        self.near, self.far = lab.add_link(*(f"{address}/24" for address in LINK_ADDRESSES))

    def stop(self):
        """Ends the daemons and deletes the namespaces."""
        for process in self.processes:
            self.lab.stop(process)
        for namespace in (self.near, self.far):
            self.lab.remove_namespace(namespace)

    def resident_mb(self):
        """Returns the larger of the daemons' resident sets, in megabytes; None without a daemon."""
        sizes = [machine.resident_bytes(process.pid) for process in self.processes]
        return max(sizes) / machine.BYTES_PER_MB if sizes else None

    def check(self):
        """Raises LabError unless both daemons run and the far end answers.

        Also renews a session that idled too long, so that a handshake is in no measurement.
        """
        for process in self.processes:
            if process.poll() is not None:
                raise LabError(f"a daemon ended with {process.returncode}: {last_words(process)}")
        wait_until(self._answers, "the far end answers through the tunnel", patience_s=10)

    def _answers(self):
        try:
            run_in(self.near, ["ping", "-n", "-q", "-c", "1", "-W", "1", self.far_address])
        except LabError:
            return False
        return True


class Tunnel(BareLink):
    """A pair of daemons over the link."""

    near_address, far_address = TUNNEL_ADDRESSES

    @staticmethod
    def bring_up(namespace, device, address=None):
        """Gives a device its MTU and address, and sets it up."""
        if address:
            run(["ip", "-n", namespace, "address", "add", f"{address}/24", "dev", device])
        run(["ip", "-n", namespace, "link", "set", device, "mtu", str(TUNNEL_MTU), "up"])


class UserspaceWireGuard(Tunnel):
    """wireguard-go or a program with its command line, configured through `wg`."""

    def __init__(self, lab, program, identities, profile=None):
        """Joins two daemons, each with PEER_COUNT peers of which one is the other.

        `identities` are public keys for the idle peers; `profile` is what the two speak in place
        of WireGuard.
        """
        super().__init__(lab)
        self.program = program
        self.identities = identities
        self.profile = profile
        self.keys = [make_key_pair() for _ in range(2)]
        sides = ((self.near, 0, 1), (self.far, 1, 0))
        for namespace, own, other in sides:
            process, device = self.start_daemon(namespace, self.keys[own][0], PORT)
            self.processes.append(process)
            add_idle_peers(lab, device, identities[:PEER_COUNT - 1])
            run(["wg", "set", device, "peer", self.keys[other][1],
                 "endpoint", f"{LINK_ADDRESSES[other]}:{PORT}",
                 "allowed-ips", f"{TUNNEL_ADDRESSES[other]}/32"])
            if profile:
                set_profile(device, self.keys[other][1], profile)
            self.bring_up(namespace, device, TUNNEL_ADDRESSES[own])

    def start_daemon(self, namespace, private_key, port):
        """Starts one daemon without peers. Returns its process and device name."""
        device = self.lab.unique_name()
        environment = {"LOG_LEVEL": os.environ.get("LOG_LEVEL", "error")}
        socket = os.path.join(UAPI_DIRECTORY, f"{device}.sock")
        process = self.lab.start(
            namespace, [self.program, "-f", device], environment, leaves=socket)
        wait_until(lambda: os.path.exists(socket),
                   f"{os.path.basename(self.program)} opens {socket}", process=process)
        key_file = self.lab.path(f"{device}.key")
        with open(key_file, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(private_key)
        run(["wg", "set", device, "private-key", key_file, "listen-port", str(port)])
        return process, device


class OpenVPN(Tunnel):
    """OpenVPN point to point over UDP, AES-256-GCM, in user space."""

    DEVICE = "tun0"

    def __init__(self, lab):
        super().__init__(lab)
        certificates = [self._make_certificate(side) for side in "ab"]
        sides = ((self.far, 1, 0, ["--tls-server", "--dh", "none"]),
                 (self.near, 0, 1, ["--tls-client"]))
        for namespace, own, other, role in sides:
            key, certificate, _ = certificates[own]
            self.processes.append(lab.start(namespace, [
                "openvpn", "--dev", self.DEVICE, "--dev-type", "tun", "--proto", "udp",
                "--local", LINK_ADDRESSES[own], "--lport", "1194",
                "--remote", LINK_ADDRESSES[other], "1194",
                "--ifconfig", TUNNEL_ADDRESSES[own], TUNNEL_ADDRESSES[other],
                "--tun-mtu", str(TUNNEL_MTU), "--mssfix", "0", "--disable-dco",
                "--data-ciphers", "AES-256-GCM", "--cert", certificate, "--key", key,
                "--peer-fingerprint", certificates[other][2], "--verb", "1", *role]))
        wait_until(self._answers, "OpenVPN connects", patience_s=15, process=self.processes[0])

    def _make_certificate(self, side):
        name = self.lab.path(f"{self.lab.unique_name()}{side}")
        key, certificate = f"{name}.pem", f"{name}.crt"
        run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN=end-{side}",
             "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-keyout", key, "-out", certificate])
        fingerprint = run(
            ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"])
        return key, certificate, fingerprint.strip().partition("=")[2]


def make_key_pair():
    """Returns a WireGuard private key and its public key, base64."""
    private_key = run(["wg", "genkey"]).strip()
    return private_key, run(["wg", "pubkey"], input=private_key).strip()


def set_profile(device, public_key, profile):
    """Sets what a peer speaks, which `wg` has no words for."""
    key = base64.b64decode(public_key).hex()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.join(UAPI_DIRECTORY, f"{device}.sock"))
        connection.sendall(f"set=1\npublic_key={key}\nprofile={profile}\n\n".encode())
        answer = connection.recv(UAPI_ANSWER_BYTES_MAX).decode()
    if "errno=0\n" not in answer:
        raise LabError(f"{device} refuses profile {profile}: {answer.strip()}")


def add_idle_peers(lab, device, public_keys, first=0):
    """Adds peers without endpoint to a device, each with one address; `first` numbers them on."""
    path = lab.path(f"{device}.peers")
    with open(path, "w", encoding="ascii") as file:
        for number, key in enumerate(public_keys, first + 1):
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            file.write(f"[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\n")
    run(["wg", "addconf", device, path])
