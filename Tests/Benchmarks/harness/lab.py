"""A laboratory: network namespaces and child processes that disappear with it."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
SIGNALS_TO_CLEAN_UP_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None)


class LabError(Exception):
    """Something could not be set up or measured; the text says what and why."""


class Lab:
    """Owns everything that a benchmark leaves on the machine while it runs.

    Use as a context manager: on the way out, by whatever exit, its processes are ended by PID, its
    namespaces deleted and its directory removed. A child also dies with this process, should that
    be killed outright.
    """

    def __init__(self, name):
        self.prefix = f"{name}-{os.getpid()}"
        self.directory = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        self.namespaces = []
        self.processes = []
        self._number = 0

    def __enter__(self):
        for number in SIGNALS_TO_CLEAN_UP_ON:
            signal.signal(number, _raise_exit)
        return self

    def __exit__(self, *_):
        for number in SIGNALS_TO_CLEAN_UP_ON:
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self.processes):
            self.stop(process)
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def unique_name(self):
        """Returns an interface name, at most 15 characters, that nothing else here has."""
        self._number += 1
        return f"b{os.getpid()}n{self._number}"

    def path(self, name):
        """Returns the path of a scratch file."""
        return os.path.join(self.directory, name)

    def add_link(self, left_address, right_address, mtu=1500):
        """Makes two namespaces joined by a veth pair.

        Addresses are IPv4 with prefix length. Returns both namespaces' names.
        """
        pair = [self.add_namespace(), self.add_namespace()]
        self.join(pair, (left_address, right_address), ("veth0", "veth0"), mtu)
        return pair

    def add_namespace(self):
        """Makes a namespace. Returns its name."""
        name = self.namespace_name()
        run(["ip", "netns", "add", name])
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        return name

    def namespace_name(self):
        """Returns a name for a namespace that somebody makes; it is deleted in the end."""
        self._number += 1
        name = f"{self.prefix}-{self._number}"
        self.namespaces.append(name)
        return name

    @staticmethod
    def join(pair, addresses, devices, mtu=1500):
        """Joins two namespaces by a veth pair with an address at each end."""
        run(["ip", "-n", pair[0], "link", "add", devices[0], "mtu", str(mtu), "type", "veth",
             "peer", "name", devices[1], "mtu", str(mtu), "netns", pair[1]])
        for name, device, address in zip(pair, devices, addresses):
            run(["ip", "-n", name, "address", "add", address, "dev", device])
            run(["ip", "-n", name, "link", "set", device, "up"])

    def remove_namespace(self, name):
        """Deletes a namespace of this laboratory."""
        run(["ip", "netns", "delete", name])
        self.namespaces.remove(name)

    def forget_namespace(self, name):
        """Deletes a namespace that may be gone already."""
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)
        if name in self.namespaces:
            self.namespaces.remove(name)

    def start(self, namespace, command, environment=None, leaves=None):
        """Starts a program in a namespace; its output goes to a scratch file.

        `leaves` is a file to remove should the program end without doing so. Returns the process;
        `ip netns exec` becomes the program, so the PID is the program's own. Without a namespace
        the program runs where this one does.
        """
        log = self._new_log()
        with open(log, "wb") as output:
            return self._launch(namespace, command, log, leaves, stdin=subprocess.DEVNULL,
                                stdout=output, stderr=output,
                                env={**os.environ, **(environment or {})})

    def start_with_input(self, namespace, command):
        """Starts a program that reads from here, and whose lines are read here."""
        log = self._new_log()
        with open(log, "wb") as errors:
            return self._launch(namespace, command, log, None, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=errors, text=True)

    def _new_log(self):
        self._number += 1
        return self.path(f"log{self._number}")

    def _launch(self, namespace, command, log, leaves, **options):
        within = ["ip", "netns", "exec", namespace] if namespace else []
        process = subprocess.Popen([*within, *command], preexec_fn=_die_with_parent,
                                   cwd=self.directory, **options)
        process.log = log
        process.leaves = leaves
        self.processes.append(process)
        return process

    def stop(self, process, patience_s=5):
        """Ends a process with SIGTERM, after `patience_s` with SIGKILL. Returns what it printed."""
        if process in self.processes:
            self.processes.remove(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.leaves and os.path.exists(process.leaves):
            os.unlink(process.leaves)
        with open(process.log, encoding="utf-8", errors="replace") as output:
            return output.read()


def run(command, **options):
    """Runs a command to its end. Returns what it printed; raises LabError with its error text."""
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode:
        said = (result.stderr or result.stdout).strip()[-300:]
        raise LabError(f"{' '.join(command[:6])}: {said}")
    return result.stdout


def run_in(namespace, command, timeout_s=120):
    """Runs a command in a namespace. Returns its standard output."""
    try:
        return run(["ip", "netns", "exec", namespace, *command], timeout=timeout_s)
    except subprocess.TimeoutExpired as timeout:
        raise LabError(f"{command[0]}: no result within {timeout_s:.0f} s") from timeout


def wait_until(condition, what, patience_s=5, process=None):
    """Polls until `condition()` holds; raises LabError naming `what` when patience ends."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if process is not None and process.poll() is not None:
            raise LabError(f"{what}: ended with {process.returncode}: {last_words(process)}")
        if time.monotonic() > deadline:
            said = f": {last_words(process)}" if process is not None else ""
            raise LabError(f"{what}: not within {patience_s} s{said}")
        time.sleep(0.005)


def last_words(process):
    """Returns the end of what a process printed, on one line."""
    with open(process.log, encoding="utf-8", errors="replace") as output:
        return " ".join(output.read()[-300:].split())


def _raise_exit(number, _frame):
    raise SystemExit(128 + number)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
