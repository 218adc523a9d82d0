"""All kinds of traffic at once, from a branch to HQ: two namespaces that are joined already.

    with Mix(python, branch, hq, address) as mix:         # starts the servers at HQ's `address`
        near, far = mix.run(seconds, flows, look, other)  # each returns a daemon's flows

Works with any laboratory; its processes end and its folder goes with it.
"""

import collections
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

from programs import kinds as every

PR_SET_PDEATHSIG = 1
START_SECONDS_MAX = 40
LOOK_INTERVAL_S = 0.5
SSHD_FOLDER = "/run/sshd"  # It will not start without.
_libc = ctypes.CDLL(None)


class MixError(Exception):
    """Something did not start; the text says what."""


class Mix:
    """Servers at HQ and clients at the branch."""

    def __init__(self, python, branch, hq, address, kinds=None):
        self.python, self.branch, self.hq, self.address = python, branch, hq, address
        self.kinds = every.KINDS if kinds is None else kinds
        self.processes = []
        self.folder = None
        self.makes_sshd_folder = False

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="traffic-")
        try:
            self._start_servers()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends everything."""
        for process in reversed(self.processes):
            _end(process)
        self.processes = []
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        if self.makes_sshd_folder:
            os.rmdir(SSHD_FOLDER)
            self.makes_sshd_folder = False

    def run(self, seconds, flows, *looks):
        """Runs all clients and looks at the flows meanwhile.

        Each of `looks` returns (client port, server port, whether it is a token stream) of each
        flow that a daemon has. Returns for each of them, and for each kind, how many flows were
        seen and how many were ever held for token streams; a kind without any flow counts as one
        that was not recognised.
        """
        environment = {"SSH_KEY": self._path("user")}
        client = self._start(self.branch, every.python_command(
            self.python, self.kinds, self.address, seconds, flows), environment)
        self._await(client, "ready")
        clients = [client, *(self._start(self.branch, command) for command in
                             every.other_commands(self.kinds, self.address, seconds, flows))]
        seen = [collections.defaultdict(dict) for _ in looks]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(LOOK_INTERVAL_S)
            for look, ports in zip(looks, seen):
                for client_port, server_port, is_stream in look():
                    port, other = server_port, client_port
                    if port not in self._ports:
                        port, other = client_port, server_port
                    ports[port][other] = ports[port].get(other, False) or is_stream
        self.complaints = self._printed(client).partition("ready")[2].strip()
        for process in clients:
            _end(process)
            self.processes.remove(process)
        return [[(kind, len(ports[kind.port]) or 1, sum(ports[kind.port].values()))
                 for kind in self.kinds] for ports in seen]

    @property
    def _ports(self):
        return {kind.port for kind in self.kinds}

    # Servers

    def _start_servers(self):
        certificate, key = self._path("certificate.pem"), self._path("key.pem")
        _run("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=hq.example",
             "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key,
             "-out", certificate)
        servers = [(every.server_command(self.python, self.address, certificate, key), "ready")]
        servers += [(["iperf3", "-s", "--forceflush", "-p", str(port)], "listening")
                    for port in every.IPERF_PORTS if port in self._ports]
        if self._ports.intersection(every.SSH_PORTS):
            servers.append((self._sshd(), "Server listening"))
        started = [(self._start(self.hq, command), sign) for command, sign in servers]
        for process, sign in started:
            self._await(process, sign)

    def _sshd(self):
        for name in ("host", "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._path(name))
        if not os.path.isdir(SSHD_FOLDER):
            os.mkdir(SSHD_FOLDER, 0o755)
            self.makes_sshd_folder = True
        settings = [f"ListenAddress {self.address}", f"HostKey {self._path('host')}",
                    f"AuthorizedKeysFile {self._path('user.pub')}", "PidFile none", "UsePAM no",
                    "StrictModes no", "PermitRootLogin prohibit-password",
                    *(f"Port {port}" for port in every.SSH_PORTS)]
        path = self._path("sshd.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(sorted(settings, key=lambda line: not line.startswith("Port")))
                       + "\n")
        return ["/usr/sbin/sshd", "-D", "-e", "-f", path]

    # Processes

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _start(self, namespace, command, environment=None):
        log = self._path(f"log{len(os.listdir(self.folder))}")
        with open(log, "wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, preexec_fn=_die_with_parent,
                start_new_session=True,
                env={**os.environ, **(environment or {})})
        process.log = log
        self.processes.append(process)
        return process

    def _await(self, process, sign):
        deadline = time.monotonic() + START_SECONDS_MAX
        while sign not in self._printed(process):
            if process.poll() is not None or time.monotonic() > deadline:
                said = self._printed(process)[-300:]
                raise MixError(f"{' '.join(process.args[4:8])} did not start: {said}")
            time.sleep(0.02)

    @staticmethod
    def _printed(process):
        with open(process.log, encoding="utf-8", errors="replace") as output:
            return output.read()


def _end(process):
    """Ends a process with its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise MixError(f"{' '.join(command[:3])}: {(done.stderr or done.stdout).strip()}")


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
