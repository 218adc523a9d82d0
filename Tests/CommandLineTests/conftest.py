"""Runs the built `branchline` and keeps network namespaces for it.

BRANCHLINE names the program (default: the newest of .build/release and .build/debug).
BRANCHLINED names the daemon that `up` starts (default: branchlined of the same folder, or Debian's
wireguard-go where BRANCHLINED=wireguard-go asks for it).
"""

import itertools
import os
import pathlib
import shutil
import subprocess

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2]
counter = itertools.count()


def built(name):
    candidates = [PACKAGE / ".build" / kind / name for kind in ("release", "debug")]
    existing = [path for path in candidates if path.exists()]
    return max(existing, key=lambda path: path.stat().st_mtime, default=None)


@pytest.fixture(scope="session")
def program():
    path = os.environ.get("BRANCHLINE") or built("branchline")
    assert path, "build first: swift build --product branchline"
    return str(path)


@pytest.fixture(scope="session")
def daemon():
    name = os.environ.get("BRANCHLINED") or "branchlined"
    path = shutil.which(name) or built(name)
    assert path, f"there is no daemon {name}: build branchlined or set BRANCHLINED"
    return str(path)


@pytest.fixture
def run(program, daemon, tmp_path):
    """Runs branchline; returns the finished process with text output."""

    def runner(*arguments, input=None, namespace=None, environment=None):
        command = [program, *arguments]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        variables = {**os.environ, "BRANCHLINED": daemon, **(environment or {})}
        # Files, not pipes: a daemon that stays would keep a pipe open.
        with open(tmp_path / "stdout", "w+") as output, open(tmp_path / "stderr", "w+") as errors:
            finished = subprocess.run(
                command, stdout=output, stderr=errors, input=input, text=True, env=variables,
                timeout=180, cwd=tmp_path)
            output.seek(0)
            errors.seek(0)
            finished.stdout, finished.stderr = output.read(), errors.read()
        return finished

    return runner


def ip(*arguments, check=True):
    return subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=check).stdout


class Network:
    """Two namespaces joined by a veth pair; 192.0.2.1 and 192.0.2.2, 2001:db8::1 and ::2."""

    def __init__(self):
        self.number = f"{os.getpid()}n{next(counter)}"
        self.namespaces = [f"blcli{self.number}{side}" for side in "ab"]
        # Sockets of all namespaces share one folder, so interface names are unique too.
        self.interfaces = [f"c{self.number}{side}" for side in "ab"]
        try:
            self.build()
        except BaseException:
            self.remove()
            raise

    def build(self):
        left, right = self.namespaces
        for namespace in self.namespaces:
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("link", "add", "outer", "netns", left, "type", "veth", "peer", "name", "outer",
           "netns", right)
        for number, namespace in enumerate(self.namespaces, start=1):
            ip("-n", namespace, "address", "add", f"192.0.2.{number}/24", "dev", "outer")
            ip("-n", namespace, "-6", "address", "add", f"2001:db8::{number}/64", "dev", "outer",
               "nodad")
            ip("-n", namespace, "link", "set", "outer", "up")

    def remove(self):
        for namespace, interface in zip(self.namespaces, self.interfaces):
            ip("-n", namespace, "link", "delete", interface, check=False)
            ip("netns", "delete", namespace, check=False)


@pytest.fixture
def network():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Network()
    yield made
    made.remove()
