"""Which two programs form a tunnel, who begins the handshake, and how many workers run."""

from dataclasses import dataclass

import pytest

from lab import Lab, branchlined, wireguard_go
from tunnel import Tunnel, make_tunnel


@dataclass(frozen=True)
class Pair:
    """The subject is always branchlined; `workers` is empty for the daemon's default."""

    is_other_reference: bool
    initiator: str
    workers: str = ""

    def __str__(self) -> str:
        ours = f"branchlined{self.workers and f'({self.workers})'}"
        theirs = "wireguard-go" if self.is_other_reference else ours
        first, second = (ours, theirs) if self.initiator == "subject" else (theirs, ours)
        return f"{first}-to-{second}"

    def build(self, lab: Lab, **options) -> Tunnel:
        environment = {"BRANCHLINE_WORKERS": self.workers} if self.workers else {}
        return make_tunnel(
            lab, branchlined(), wireguard_go() if self.is_other_reference else branchlined(),
            initiator=self.initiator, subject_environment=environment,
            other_environment={} if self.is_other_reference else environment, **options)


INTEROPERATION = [Pair(True, "subject"), Pair(True, "other")]
OWN = [Pair(False, "subject")]
CORE = INTEROPERATION + OWN
WORKERS = [Pair(True, "subject", "1"), Pair(False, "subject", "1"), Pair(False, "subject", "2")]


def each(pairs: list[Pair]):
    """Runs a test once for each pair."""
    return pytest.mark.parametrize("pair", pairs, ids=str)
