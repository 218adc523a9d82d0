"""Token streams of programs that nobody tuned the classifier for are told from other traffic."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab import branchlined
from tunnel import make_tunnel

SUPPORT = Path(__file__).parents[1] / "Support"
sys.path.insert(0, str(SUPPORT))

from programs.kinds import precision_and_recall  # noqa: E402
from programs.mix import Mix  # noqa: E402

SECONDS = 10
FLOWS_EACH = 2
SHARE_MIN = 0.95
# Of few flows, some of which a busy machine may hold up, so that they look like others.
MEASUREMENTS_MAX = 3


def flows_of(daemon):
    """Returns (client port, server port, whether it is a token stream) of a daemon's flows."""
    found = []
    for line in daemon.ask("flows=1\n\n").splitlines():
        key, _, value = line.partition("=")
        if key == "flow":
            words = value.split()
            found.append([int(words[2]), int(words[4]), False])
        elif key == "token_stream":
            found[-1][2] = value == "true"
    return found


@pytest.mark.branchline_only
def test_token_streams_of_other_peoples_programs_are_recognised_at_both_ends(lab):
    python = subprocess.run([SUPPORT / "programs" / "python.sh"], check=True, text=True,
                            stdout=subprocess.PIPE, timeout=900).stdout.strip()
    for _ in range(MEASUREMENTS_MAX):
        shares = measured(lab, python)
        if all(min(precision, recall) >= SHARE_MIN for _, precision, recall, _ in shares):
            break
    for end, precision, recall, table in shares:
        assert precision >= SHARE_MIN and recall >= SHARE_MIN, (
            f"{end}: precision {precision:.3f}, recall {recall:.3f}\n{table}")


def measured(lab, python):
    """Returns (end, precision, recall, a table of both) for both ends of a new tunnel."""
    tunnel = make_tunnel(lab, branchlined(), branchlined())
    tunnel.passes()
    ends, shares = tunnel.ends, []
    with Mix(python, *(end.namespace.name for end in ends), tunnel.other.inner()) as mix:
        both = mix.run(SECONDS, FLOWS_EACH,
                       *(lambda end=end: flows_of(end.daemon) for end in ends))
        assert not mix.complaints
    for end, found in zip(("branch", "HQ"), both):
        table = "\n".join(f"{kind.name}: {hits} of {count} held for token streams"
                          for kind, count, hits in found)
        shares.append((end, *precision_and_recall(found), table))
    return shares
