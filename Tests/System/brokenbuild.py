"""Builds the daemon with faults in it, to show that a test sees them.

A patch of broken/ is applied to a copy of this repository that appears at the repository's own
path, in a mount namespace of the build alone, so that only what the patch changes is built again.
The copy is a layer over the repository where the kernel allows, else a copy of the files.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import REPOSITORY, Lab

BUILD_SECONDS_MAX = 900
DOES_NOT_APPLY = 70
# Arguments: repository, folder for the copy, patch, program to keep. The copy keeps times to the
# nanosecond, by which SwiftPM knows what has changed.
SCRIPT = f"""
set -eu
repository=$1 folder=$2 patch=$3 output=$4
mkdir "$folder/changes" "$folder/work"
if ! mount -t overlay overlay \\
    -o "lowerdir=$repository,upperdir=$folder/changes,workdir=$folder/work" "$repository"; then
    mkdir "$folder/copy"
    tar -C "$repository" --format=posix --exclude './.build/debug*' --exclude './.build/*/debug' \\
        --exclude ./.build/benchmarks -cf - . |
        tar -C "$folder/copy" -xpf -
    mount --bind "$folder/copy" "$repository"
fi
cd "$repository"
git apply "$patch" || exit {DOES_NOT_APPLY}
swift build -c release --product branchlined
cp .build/release/branchlined "$output"
"""


def broken_branchlined(lab: Lab, name: str) -> Path:
    """Returns a daemon built with broken/NAME.patch.

    A patch that no longer applies fails the test, and says so. Without Swift or without a release
    build to begin with there is nothing to compare, and the test is skipped.
    """
    patch = Path(__file__).parent / "broken" / f"{name}.patch"
    if not shutil.which("swift"):
        pytest.skip("no Swift toolchain in PATH")
    if not (REPOSITORY / ".build/release/branchlined").exists():
        pytest.skip("no release build of this repository to begin with")
    folder = lab.folder / f"broken-{name}"
    folder.mkdir()
    output = folder / "branchlined"
    # A build of root's in another user's repository, and only there.
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
             "GIT_CONFIG_VALUE_0": "*"}
    done = subprocess.run(
        # All of its processes end with the first, however this one ends.
        ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
         "--mount-proc", "bash", "-c", SCRIPT, "broken", str(REPOSITORY), str(folder),
         str(patch), str(output)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX,
        env={**os.environ, **trust})
    if done.returncode == DOES_NOT_APPLY:
        pytest.fail(f"{patch.relative_to(REPOSITORY)} does not apply to these sources any more: "
                    f"put its faults where they belong now\n{done.stderr}", pytrace=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return output
