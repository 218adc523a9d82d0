"""Figures that tests of the whole system measure: isolation, failover and upgrade."""

import json
import os
import re
import subprocess
import sys

from harness.build import PROJECT
from harness.lab import LabError

SYSTEM_TESTS = os.path.join(PROJECT, "Tests", "System")
FIGURES = ("isolation", "failover", "upgrade")
# Tests that measure, and which of them. They print lines with gaps, of which the longest counts.
TESTS = {
    "failover": ("test_failover.py", "other_gateway or destination_dies", "failover_ms"),
    "upgrade": ("test_upgrade.py", "streams_survive or all_of_its_tenants", "upgrade_gap_ms"),
}
# The isolation matrix says by 1 that there were crossings, by 3 that a watcher saw nothing.
EXITS_THAT_MEASURED = (0, 1)


def measure(figure, lab, programs, patience_s):
    """Measures a figure. Returns our keys with their numbers."""
    environment = {"BRANCHLINED": f"{programs}/branchlined", "BRANCHLINE": f"{programs}/branchline",
                   "BRANCHLINE_GAP_SECONDS_MAX": "60",
                   "BRANCHLINE_FAILOVER_SECONDS_MAX": "60"}
    if figure == "isolation":
        return _isolation(lab, environment, patience_s)
    return _test(figure, lab, environment, patience_s)


def _isolation(lab, environment, patience_s):
    path = lab.path("isolation.json")
    process, said = _run(lab, environment, patience_s, "isolation.py", [
        "--gateway", "shared", "--json", path])
    if process.returncode not in EXITS_THAT_MEASURED:
        raise LabError(f"isolation.py ended with {process.returncode}: {said[-300:]}")
    with open(path, encoding="utf-8") as file:
        values = json.load(file)
    return {key: values[key] for key in ("crossings", "hostile_packets")}


def _test(figure, lab, environment, patience_s):
    name, selection, key = TESTS[figure]
    process, said = _run(lab, environment, patience_s, name, ["-k", selection],
                         ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"])
    values = [float(number) for line in said.splitlines() if "gap" in line
              for number in re.findall(r"(\d+) ms", line)]
    if not values:
        raise LabError(f"{name} ended with {process.returncode} and measured nothing: "
                       f"{said[-300:]}")
    return {key: max(values)}


def _run(lab, environment, patience_s, name, options, before=()):
    """Runs a script of the system tests. Returns its process and what it printed."""
    script = os.path.join(SYSTEM_TESTS, name)
    if not os.path.exists(script):
        raise LabError(f"there is no Tests/System/{name}")
    process = lab.start(None, [sys.executable, *before, script, *options], environment)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired as timeout:
        raise LabError(f"{name}: not within {patience_s:.0f} s") from timeout
    finally:
        said = lab.stop(process, patience_s=10)
    return process, said
