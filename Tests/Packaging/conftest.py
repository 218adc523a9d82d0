"""Packages built once for all tests, of the programs that PROGRAMS names or that are built."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import SCRATCH, run  # noqa: E402

PACKAGES = ("branchline", "branchline-coordinator")
# Above every version that there will be.
LATER = "99.0"
TOOLS = (
    "debootstrap", "dpkg-buildpackage", "lintian", "systemd-analyze", "systemd-nspawn", "skopeo",
    "rpmbuild", "rpmlint", "shellcheck", "man", "lexgrog", "bash", "zsh", "fish", "unshare")


def pytest_configure(config):
    # SIGTERM stops the session as Ctrl-C does, so that nothing that was made stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("roots and namespaces need root", 2)
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.exit(f"not installed: {', '.join(missing)}", 2)


@pytest.fixture(scope="session")
def scratch():
    yield Path(SCRATCH.name)
    SCRATCH.cleanup()


@pytest.fixture(scope="session")
def programs():
    """The folder of the programs that are packaged."""
    if "PROGRAMS" not in os.environ:
        script = "source Packaging/programs.sh && find_programs >&2 && echo $PROGRAMS"
        os.environ["PROGRAMS"] = run("bash", "-c", script).split()[-1]
    return Path(os.environ["PROGRAMS"])


def build(folder, programs, **variables):
    """Builds the packages, without compression, and returns them by name."""
    run("Packaging/debian.sh", str(folder), PROGRAMS=str(programs), COMPRESSION="none", **variables)
    return {name: next(folder.glob(f"{name}_*.deb")) for name in PACKAGES}


@pytest.fixture(scope="session")
def packages(scratch, programs):
    return build(scratch / "packages", programs)


@pytest.fixture(scope="session")
def later_packages(scratch, programs):
    return build(scratch / "later", programs, VERSION=LATER)
