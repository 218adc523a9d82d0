"""Fixtures, markers and the running of long tests beside the others.

A test marked `long` mostly waits for protocol timers. All selected long tests start in threads
of their own before the first test runs and are collected at the end, so that together they cost
the time of the longest. They take one fixture, `lab`, and ask nothing else of pytest.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, branchlined, is_reference_under_test, wireguard_go  # noqa: E402

LONG_SECONDS_MAX = 900
TOOLS = ("ip", "wg", "wg-quick", "nft", "ping", "unshare", "setpriv")


def pytest_addoption(parser):
    parser.addoption(
        "--with-branchline-only", action="store_true",
        help="run tests marked branchline_only even where wireguard-go stands in")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "branchline_only: wireguard-go rightly behaves otherwise; skipped for it")
    config.addinivalue_line(
        "markers", "long: waits for protocol timers; runs in a thread beside the other tests")
    # SIGTERM stops the session as Ctrl-C does, finalisers and atexit handlers included.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("network namespaces need root: run Tests/run.sh, which elevates itself", 2)
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.exit(f"not installed: {', '.join(missing)} (Tests/run.sh installs them)", 2)
    for program in (branchlined(), wireguard_go()):
        if not shutil.which(program):
            pytest.exit(f"{program} does not exist; build it or set BRANCHLINED", 2)


def pytest_collection_modifyitems(config, items):
    if is_reference_under_test() and not config.getoption("--with-branchline-only"):
        skip = pytest.mark.skip(reason="wireguard-go rightly behaves otherwise")
        for item in items:
            if item.get_closest_marker("branchline_only"):
                item.add_marker(skip)
    items.sort(key=lambda item: item.get_closest_marker("long") is not None)


class LongRun(threading.Thread):
    """One long test in a thread of its own, with a laboratory of its own."""

    def __init__(self, item):
        super().__init__(daemon=True, name=item.name)
        self.item, self.error, self.logs = item, None, ""
        self.parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}

    def run(self):
        lab = Lab()
        try:
            self.item.obj(lab=lab, **self.parameters)
        except BaseException as error:  # reported by pytest_pyfunc_call
            self.error, self.logs = error, lab.logs()
        finally:
            lab.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    if session.config.option.collectonly:
        return
    for item in session.items:
        if item.get_closest_marker("long") and not item.get_closest_marker("skip"):
            item.long_run = LongRun(item)
            item.long_run.start()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    long_run = getattr(pyfuncitem, "long_run", None)
    if long_run is None:
        return None
    long_run.join(LONG_SECONDS_MAX)
    assert not long_run.is_alive(), "still running"
    if long_run.error:
        print(long_run.logs)
        raise long_run.error
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    lab = item.funcargs.get("lab") if hasattr(item, "funcargs") else None
    if report.failed and lab and lab.daemons:
        report.sections.append(("daemon logs", lab.logs()))


@pytest.fixture
def lab():
    """A laboratory that is taken down when the test ends, however it ends."""
    made = Lab()
    try:
        yield made
    finally:
        made.close()
