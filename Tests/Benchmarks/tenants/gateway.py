"""The gateway under test: one `branchlined --gateway`, or a daemon for each tenant."""

import base64
import json
import os
import socket
import time

from harness import machine
from harness.lab import LabError, last_words, run, run_in, wait_until
from harness.systems import TUNNEL_MTU, UAPI_DIRECTORY

PORT = 51820
GATEWAY_ADDRESS = "10.0.0.1"  # Inner, the same in every tenant; so are those of the peers.
ANSWER_PATIENCE_S = 60


class Tenant:
    """One tenant: its interface, its routing domain and its UAPI socket."""

    def __init__(self, lab, number, configuration):
        self.number = number
        self.name = f"t{number}"
        self.interface = lab.unique_name()
        self.domain = lab.namespace_name()
        self.configuration = configuration
        self.port = PORT
        self.public_key = run(["wg", "pubkey"], input=self.private_key).strip()

    @property
    def private_key(self):
        """The gateway's key in this tenant, base64."""
        return self.configuration.partition("PrivateKey = ")[2].split()[0]

    @property
    def socket_path(self):
        """Path of its configuration socket."""
        return os.path.join(UAPI_DIRECTORY, f"{self.interface}.sock")

    def set(self, *lines):
        """Sends one `set` request. Returns how long its answer took, in seconds."""
        request = "\n".join(["set=1", *lines, "", ""]).encode()
        begun = time.perf_counter()
        answer = self._ask(request)
        seconds = time.perf_counter() - begun
        if "errno=0\n" not in answer:
            raise LabError(f"{self.interface} refused a request: {answer.strip()}")
        return seconds

    def _ask(self, request):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_PATIENCE_S)
            connection.connect(self.socket_path)
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\n\n"):
                part = connection.recv(1 << 16)
                if not part:
                    break
                answer += part
        return answer.decode()


class Gateway:
    """`branchlined --gateway` with a file for each tenant."""

    label = "one process"

    def __init__(self, lab, program, namespace, configurations, workers=None, prefix=(),
                 settings=None, tenant_settings=None):
        """Starts it and waits until it serves every tenant; `start_s` says how long that took.

        `configurations` are WireGuard files' texts, `prefix` words before the program, as taskset;
        `settings` are further members of gateway.json, `tenant_settings` of each tenant's file.
        """
        self.lab = lab
        self.settings = settings or {}
        self.tenant_settings = tenant_settings or {}
        self.namespace = namespace
        self.tenants = [Tenant(lab, n, text) for n, text in enumerate(configurations)]
        self.processes = []
        begun = time.monotonic()
        try:
            self._start(program, workers, prefix)
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - begun

    def _start(self, program, workers, prefix):
        folder = self.lab.path(self.lab.unique_name())
        os.mkdir(folder, 0o700)
        self._write(folder, "gateway.json", json.dumps(
            {"listenPort": PORT, **({"workers": workers} if workers else {}), **self.settings}))
        for tenant in self.tenants:
            path = self._write(folder, f"{tenant.name}.conf", tenant.configuration)
            self._write(folder, f"{tenant.name}.json", json.dumps({
                "tenant": tenant.name, "interface": tenant.interface,
                "place": {"namespace": tenant.domain}, "addresses": [f"{GATEWAY_ADDRESS}/8"],
                "configuration": path, **self.tenant_settings}))
        # `ip netns exec` would keep to itself the namespaces that the gateway makes.
        process = self.lab.start(None, [
            "nsenter", f"--net=/run/netns/{self.namespace}", *prefix, program, "--gateway",
            folder, "--foreground"], {"LOG_LEVEL": os.environ.get("LOG_LEVEL", "error")})
        self.processes.append(process)
        wait_until(lambda: self._serves_all(folder), "the gateway serves its tenants",
                   patience_s=120, process=process)

    @staticmethod
    def _write(folder, name, text):
        path = os.path.join(folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _serves_all(self, folder):
        try:
            with open(os.path.join(folder, "status.json"), encoding="utf-8") as file:
                tenants = json.load(file)["tenants"]
        except (OSError, ValueError):
            return False
        for tenant in tenants:
            if tenant["state"] == "faulty":
                raise LabError(f"the gateway does not serve {tenant['tenant']}: "
                               f"{(tenant.get('fault') or {}).get('detail')}")
        return sum(tenant["state"] == "up" for tenant in tenants) == len(self.tenants)

    def stop(self):
        """Ends the processes; their namespaces and sockets go with them."""
        for process in self.processes:
            self.lab.stop(process, patience_s=30)
        for tenant in self.tenants:
            if os.path.exists(tenant.socket_path):
                os.unlink(tenant.socket_path)
            self.lab.forget_namespace(tenant.domain)

    def resident_bytes(self):
        """Returns the memory of all its processes."""
        return sum(machine.resident_bytes(process.pid) for process in self.processes)

    def cpu_seconds(self):
        """Returns what its threads have run, in seconds."""
        return sum(machine.thread_seconds(process.pid) for process in self.processes)

    def check(self):
        """Raises LabError unless it still runs."""
        for process in self.processes:
            if process.poll() is not None:
                raise LabError(f"the gateway ended with {process.returncode}: "
                               f"{last_words(process)}")


class SeparateDaemons(Gateway):
    """A daemon and a port for each tenant: what there is without a gateway, to compare with."""

    label = "a process each"

    def _start(self, program, workers, prefix):
        options = ["--workers", str(workers)] if workers else []
        for tenant in self.tenants:
            tenant.port = PORT + tenant.number
            run(["ip", "netns", "add", tenant.domain])
            run(["ip", "-n", tenant.domain, "link", "set", "lo", "up"])
            process = self.lab.start(
                self.namespace, [*prefix, program, *options, "-f", tenant.interface],
                {"LOG_LEVEL": os.environ.get("LOG_LEVEL", "error")}, leaves=tenant.socket_path)
            self.processes.append(process)
            wait_until(lambda path=tenant.socket_path: os.path.exists(path),
                       f"{tenant.name} is served", process=process)
            key = base64.b64decode(tenant.private_key).hex()
            tenant.set(f"private_key={key}", f"listen_port={tenant.port}")
            path = self.lab.path(f"{tenant.interface}.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(tenant.configuration)
            run(["wg", "addconf", tenant.interface, path])
            run(["ip", "-n", self.namespace, "link", "set", tenant.interface, "netns",
                 tenant.domain])
            run(["ip", "-n", tenant.domain, "address", "add", f"{GATEWAY_ADDRESS}/8", "dev",
                 tenant.interface])
            run(["ip", "-n", tenant.domain, "link", "set", tenant.interface, "mtu",
                 str(TUNNEL_MTU), "up"])


class Branch:
    """A real branch: `branchlined` in a namespace of its own, with a session to its tenant."""

    def __init__(self, lab, program, namespace, tenant, key, address, gateway_address, prefix=()):
        """Starts it. `key` is its private key, `address` its inner one."""
        self.lab = lab
        self.namespace = namespace
        self.address = address
        self.interface = interface = lab.unique_name()
        path = os.path.join(UAPI_DIRECTORY, f"{interface}.sock")
        self.process = lab.start(
            namespace, [*prefix, program, "-f", interface],
            {"LOG_LEVEL": os.environ.get("LOG_LEVEL", "error")}, leaves=path)
        wait_until(lambda: os.path.exists(path), "the branch starts", process=self.process)
        key_file = lab.path(f"{interface}.key")
        with open(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "w",
                  encoding="ascii") as file:
            file.write(key)
        run(["wg", "set", interface, "private-key", key_file, "peer", tenant.public_key,
             "endpoint", f"{gateway_address}:{tenant.port}", "allowed-ips", "10.0.0.0/8"])
        run(["ip", "-n", namespace, "address", "add", f"{address}/8", "dev", interface])
        run(["ip", "-n", namespace, "link", "set", interface, "mtu", str(TUNNEL_MTU), "up"])
        wait_until(self._answers, "the branch reaches its tenant", patience_s=15,
                   process=self.process)

    def _answers(self):
        try:
            run_in(self.namespace, ["ping", "-n", "-q", "-c", "1", "-W", "1", GATEWAY_ADDRESS])
        except LabError:
            return False
        return True

    def stop(self):
        """Ends the daemon."""
        self.lab.stop(self.process)
