"""Network namespaces, links and daemons of one test, all removed when the test ends.

Names carry the process id, so that runs side by side never meet, and processes are ended by
their id only.
"""

import atexit
import base64
import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import sodium

REPOSITORY = Path(__file__).resolve().parents[2]
UAPI_FOLDER = Path("/var/run/wireguard")
CLONE_NEWNET = 0x4000_0000
START_SECONDS_MAX = 10.0
# How much longer than usual things may take on a busy machine.
PATIENCE = 3

_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()
_live_labs: set["Lab"] = set()


def branchlined() -> str:
    """Returns the daemon under test: BRANCHLINED, or the release build of this repository."""
    chosen = os.environ.get("BRANCHLINED", str(REPOSITORY / ".build/release/branchlined"))
    return os.path.abspath(shutil.which(chosen) or chosen)


def wireguard_go() -> str:
    """Returns the reference implementation: WIREGUARD_GO, or Debian's."""
    return shutil.which(os.environ.get("WIREGUARD_GO", "wireguard-go")) or "wireguard-go"


def is_reference_under_test() -> bool:
    """Tells whether wireguard-go stands in for branchlined, to check the tests themselves."""
    return Path(branchlined()).name.startswith("wireguard-go")


def run(*arguments: str, check: bool = True, text: str | None = None, timeout: float = 180,
        environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs a program to its end; a failure shows what it printed."""
    done = subprocess.run(
        arguments, input=text, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **(environment or {})})
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_until(condition, seconds: float, what: str, interval: float = 0.02):
    """Returns the first true value of `condition`, asked for PATIENCE times `seconds`."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(interval)


class Key:
    """A Curve25519 key pair in the three spellings that the tools want."""

    def __init__(self, private: bytes | None = None):
        raw = bytearray(private or os.urandom(32))
        raw[0] &= 248
        raw[31] = (raw[31] & 127) | 64
        self.private = bytes(raw)
        self.public = sodium.x25519_public(self.private)

    @property
    def private_base64(self) -> str:
        return base64.b64encode(self.private).decode()

    @property
    def public_base64(self) -> str:
        return base64.b64encode(self.public).decode()


class Namespace:
    """A network namespace; sockets made in it are used from the test's own threads."""

    def __init__(self, name: str):
        self.name = name
        run("ip", "netns", "add", name)
        self.configure("link set lo up")
        # Flooded and roamed addresses have no route back through the interface they came by.
        for key in ("all", "default"):
            self.run("sysctl", "-qw", f"net.ipv4.conf.{key}.rp_filter=0")

    def configure(self, *commands: str):
        """Runs commands of ip(8) in one batch."""
        run("ip", "-n", self.name, "-batch", "-", text="\n".join(commands) + "\n")

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return run("ip", "netns", "exec", self.name, *arguments, **options)

    def popen(self, *arguments: str, **options) -> subprocess.Popen:
        """Starts a program; ip(8) becomes it, so that the process id is the program's."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *arguments], **options)

    @contextlib.contextmanager
    def entered(self):
        """Moves the calling thread, and no other, into the namespace for a while."""
        here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if _libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {self.name}")
            try:
                yield
            finally:
                if _libc.setns(here, CLONE_NEWNET) != 0:
                    os._exit(70)
        finally:
            os.close(here)
            os.close(there)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Returns a socket of this namespace with buffers that hold a burst."""
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        made.settimeout(30)
        return made

    def interfaces(self) -> set[str]:
        lines = run("ip", "-n", self.name, "-o", "link").stdout.splitlines()
        return {line.split(": ")[1].split("@")[0] for line in lines}

    def remove(self):
        run("ip", "netns", "del", self.name, check=False)


class Daemon:
    """One tunnel daemon in the foreground, with its UAPI socket and its log."""

    def __init__(self, lab: "Lab", namespace: Namespace, program: str, name: str,
                 environment: dict[str, str] | None = None, arguments: tuple[str, ...] = (),
                 descriptors: tuple[int, ...] = (), prefix: tuple[str, ...] = ()):
        self.namespace, self.program, self.name = namespace, program, name
        self.environment = {"LOG_LEVEL": "debug", **(environment or {})}
        self.arguments, self.descriptors, self.prefix = arguments, descriptors, prefix
        self.log_path = lab.folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    @property
    def socket_path(self) -> Path:
        return UAPI_FOLDER / f"{self.name}.sock"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def launch(self) -> "Daemon":
        """Starts the process and waits for nothing."""
        with open(self.log_path, "ab") as log:
            self.process = self.namespace.popen(
                *self.prefix, self.program, *self.arguments, "-f", self.name, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, pass_fds=self.descriptors,
                env={**os.environ, **self.environment})
        return self

    def start(self) -> "Daemon":
        """Starts the process and waits until it answers on its UAPI socket."""
        self.launch()

        def is_ready() -> bool:
            assert self.is_alive, f"{self.program} ended at start:\n{self.log}"
            try:
                return bool(self.get())
            except OSError:
                return False

        wait_until(is_ready, START_SECONDS_MAX, f"{self.name} answers on {self.socket_path}")
        return self

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal to this process only and returns its exit status."""
        if self.is_alive:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"{self.name} ignored signal {number}") from None

    def discard(self):
        """Ends the process however it stands and removes its socket."""
        if self.is_alive:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        with contextlib.suppress(OSError):
            self.socket_path.unlink()

    # UAPI, https://www.wireguard.com/xplatform/

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        connection.connect(str(self.socket_path))
        return connection

    def ask(self, request: str | bytes) -> str:
        """Sends one request and returns the whole answer; empty where the daemon hung up."""
        raw = request.encode() if isinstance(request, str) else request
        with self.connect() as connection:
            answer = b""
            try:
                connection.sendall(raw)
                while not answer.endswith(b"\n\n"):
                    piece = connection.recv(1 << 16)
                    if not piece:
                        break
                    answer += piece
            except (BrokenPipeError, ConnectionResetError):
                pass
            return answer.decode()

    def set(self, *lines: str):
        """Applies `set=1` with these lines; anything but errno 0 fails the test."""
        answer = self.ask("set=1\n" + "".join(f"{line}\n" for line in lines) + "\n")
        assert answer == "errno=0\n\n", f"{lines}: {answer!r}"

    def get(self) -> dict[str, list[dict[str, list[str]]]]:
        """Returns {"device": [fields], "peers": [fields, ...]}, each field a list of values."""
        device: dict[str, list[str]] = {}
        peers: list[dict[str, list[str]]] = []
        for line in self.ask("get=1\n\n").splitlines():
            key, _, value = line.partition("=")
            if key == "public_key":
                peers.append({})
            section = peers[-1] if peers and key != "errno" else device
            if key:
                section.setdefault(key, []).append(value)
        return {"device": [device], "peers": peers} if device else {}

    def peer(self, public: bytes) -> dict[str, list[str]] | None:
        for fields in self.get()["peers"]:
            if fields["public_key"] == [public.hex()]:
                return fields
        return None

    def received_bytes(self, public: bytes) -> int:
        return int(self.peer(public)["rx_bytes"][0])

    def last_handshake(self, public: bytes) -> float:
        """Returns the wall-clock time of the peer's last handshake in seconds, 0 for never."""
        fields = self.peer(public) or {}
        seconds = int(fields.get("last_handshake_time_sec", ["0"])[0])
        return seconds + int(fields.get("last_handshake_time_nsec", ["0"])[0]) / 1e9

    def status(self) -> dict[str, str]:
        """Returns the answer to `status=1`, which wireguard-go does not know."""
        answer = self.ask("status=1\n\n")
        pairs = (line.partition("=") for line in answer.splitlines() if "=" in line)
        return {key: value for key, _, value in pairs}

    def dropped(self) -> int:
        """Returns the sum of all drop counters; 0 where the daemon keeps none."""
        if is_reference_under_test() or self.program == wireguard_go():
            return 0
        counters = {k: int(v) for k, v in self.status().items() if re.match(r"drop_\w+$", k)}
        assert counters, "status=1 shows no drop counter"
        return sum(counters.values())

    def wg(self, *arguments: str, **options) -> str:
        return self.namespace.run("wg", *arguments, **options).stdout

    # The process as the kernel sees it

    def resident_bytes(self) -> int:
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(match[1]) * 1024

    def descriptor_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Lab:
    """Everything one test makes, and the one place that removes it."""

    def __init__(self):
        self.tag = f"bl{os.getpid()}x{next(_serial)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.tag}-"))
        self.namespaces: list[Namespace] = []
        self.daemons: list[Daemon] = []
        self.closing = contextlib.ExitStack()
        self._names = itertools.count()
        _live_labs.add(self)

    def namespace(self) -> Namespace:
        made = Namespace(f"{self.tag}-{next(self._names)}")
        self.namespaces.append(made)
        return made

    def link(self, one: Namespace, other: Namespace, device: str = "veth0",
             other_device: str | None = None):
        """Joins two namespaces by a veth pair, both ends up, MTU 1500."""
        other_device = other_device or device
        run("ip", "link", "add", device, "netns", one.name, "type", "veth",
            "peer", "name", other_device, "netns", other.name)
        one.configure(f"link set {device} up")
        other.configure(f"link set {other_device} up")

    def daemon(self, namespace: Namespace, program: str, **options) -> Daemon:
        """Returns a daemon that has not been started yet."""
        made = Daemon(self, namespace, program, self.interface_name(), **options)
        self.daemons.append(made)
        return made

    def interface_name(self) -> str:
        """Returns an interface name that no other run on this machine uses (at most 15 bytes)."""
        return f"{self.tag}i{next(self._names)}"

    def compile(self, source: str, *flags: str) -> Path:
        """Compiles a C file of this directory with the machine's compiler."""
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        assert compiler, "no C compiler: install gcc or clang"
        output = self.folder / Path(source).stem
        run(compiler, "-O2", "-Wall", "-Werror", *flags, "-o", str(output),
            str(Path(__file__).parent / source))
        return output

    def logs(self) -> str:
        """Returns the last lines of every daemon's log, for the report of a failure."""
        return "\n".join(
            f"--- {d.name} ({d.program})\n" + "\n".join(d.log.splitlines()[-20:])
            for d in self.daemons)

    def close(self):
        """Ends the processes, then removes the namespaces and files, whatever failed before."""
        if self not in _live_labs:
            return
        _live_labs.discard(self)
        try:
            self.closing.close()
        finally:
            for daemon in self.daemons:
                with contextlib.suppress(Exception):
                    daemon.discard()
            for namespace in self.namespaces:
                with contextlib.suppress(Exception):
                    namespace.remove()
            shutil.rmtree(self.folder, ignore_errors=True)


@atexit.register
def _close_all():
    for lab in list(_live_labs):
        with contextlib.suppress(Exception):
            lab.close()
