"""Builds what a benchmark runs: the load tools in C, and Branchline itself."""

import os
import pwd
import subprocess

from harness.lab import LabError

BENCHMARKS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROJECT = os.path.dirname(os.path.dirname(BENCHMARKS))
SCRATCH = os.path.join(PROJECT, ".build", "benchmarks")
NULL_CIPHER_FLAGS = ["-Xswiftc", "-DBRANCHLINE_NULL_CIPHER"]
OUTPUT_SHOWN_MAX = 4000  # Characters.

TOOLS = {
    "udp_send": (["udp_send.c"], []),
    "udp_sink": (["udp_sink.c"], []),
    "rtt": (["rtt.c"], []),
    "handshakes": (["handshakes.c", "blake2s.c"], ["-lsodium"]),
    "watchers": (["watchers.c"], ["-lssl", "-lcrypto"]),
    "tokens": (["tokens.c", "token_server.c"], ["-lssl", "-lcrypto"]),
}
TUNNEL_TOOLS = ("udp_send", "udp_sink", "rtt", "handshakes")


def build_tools(names):
    """Compiles load tools. Returns the directory that holds them."""
    directory = os.path.join(SCRATCH, "tools")
    _run(["mkdir", "-p", directory])
    for name in names:
        sources, libraries = TOOLS[name]
        paths = [os.path.join(BENCHMARKS, "tools", source) for source in sources]
        _run(["cc", "-O2", "-Wall", "-Wextra", "-o", os.path.join(directory, name), *paths,
              *libraries])
    return directory


def build_branchlined(null_cipher=False):
    """Builds branchlined for release, in its own scratch path when without encryption.

    Returns the program's path. The null cipher exists for measuring only: it sends plain text.
    """
    command = ["swift", "build", "-c", "release", "--package-path", PROJECT]
    if null_cipher:
        command += ["--scratch-path", os.path.join(SCRATCH, "null-cipher"), *NULL_CIPHER_FLAGS]
    _run([*command, "--product", "branchlined"])
    return os.path.join(_run([*command, "--show-bin-path"]).strip(), "branchlined")


def build_products(*products):
    """Builds programs of Branchline for release. Returns the directory that holds them."""
    command = ["swift", "build", "-c", "release", "--package-path", PROJECT]
    for product in products:
        _run([*command, "--product", product])
    return _run([*command, "--show-bin-path"]).strip()


def _run(command):
    result = subprocess.run(command, capture_output=True, text=True, **_as_owner())
    if result.returncode:
        said = (result.stdout + result.stderr)[-OUTPUT_SHOWN_MAX:]
        raise LabError(f"{' '.join(command)} failed:\n{said}")
    return result.stdout


def _as_owner():
    """Returns options that make builds run as who called sudo, so that .build stays theirs."""
    if os.geteuid() != 0 or "SUDO_UID" not in os.environ:
        return {}
    owner = pwd.getpwuid(int(os.environ["SUDO_UID"]))
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [],
            "env": {**os.environ, "HOME": owner.pw_dir}}
