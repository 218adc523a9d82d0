"""Programs that tests run: what they start ends with them, and what they leave is in SCRATCH."""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRATCH = tempfile.TemporaryDirectory(prefix="branchline-packages-")


def run(*command, **variables):
    """Runs a program in the project's folder, and returns what it said: output and errors."""
    status, said = outcome(*command, **variables)
    assert status == 0, f"{command}: exit code {status}\n{said}"
    return said


def outcome(*command, seconds_max=3600, **variables):
    """Runs a program, and returns its exit code and what it said."""
    environment = {**os.environ, "TMPDIR": SCRATCH.name, **variables}
    with subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=environment,
            start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=seconds_max)
        except BaseException:
            # Also when the tests are stopped.
            os.killpg(process.pid, signal.SIGTERM)
            raise
    return process.returncode, said
