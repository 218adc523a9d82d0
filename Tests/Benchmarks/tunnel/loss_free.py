"""Searches the highest packet rate that passes without loss."""

from dataclasses import dataclass

from harness.lab import LabError

LOSS_LIMIT = 0.001
# The search ends when a passing and a failing rate are this close.
RESOLUTION = 1.06
STEP_UP = 1.3
STEP_DOWN = 0.7
# Full trials step down ever faster, to end in time; after a long step one trial goes halfway back.
CONFIRM_STEPS = (1, 0.95, 0.92, 0.88, 0.8, 0.65, 0.5)
LONG_STEP = 0.9
# Below this share of the rate that was asked for the sender did not keep up; this often, and it is
# what limits.
SENDER_KEEPS_UP = 0.95
SENDER_SHORTFALLS_MAX = 2


@dataclass
class Trial:
    """What one trial sent and what arrived."""

    sent: int
    received: int
    seconds: float

    @property
    def offered_pps(self):
        """Packets sent a second."""
        return self.sent / self.seconds

    @property
    def delivered_pps(self):
        """Distinct packets received a second."""
        return self.received / self.seconds

    @property
    def passes(self):
        """Whether less than the limit was lost."""
        return self.sent > 0 and self.sent - self.received < LOSS_LIMIT * self.sent


def loss_free_rate(trial, hint_pps, plan):
    """Returns the packets a second delivered in the best full trial that passed.

    Short trials bracket the rate, beginning at `hint_pps`; then full ones walk down from the best
    until one passes. `trial(rate, seconds)` runs one and returns a Trial.
    """
    rate = _bracket(trial, hint_pps, plan)
    for step in CONFIRM_STEPS[:plan.confirm_count]:
        rate *= step
        result = trial(rate, plan.confirm_s)
        if not result.passes:
            continue
        if step < LONG_STEP:
            between = trial(rate / step ** 0.5, plan.confirm_s)
            result = between if between.passes else result
        return result.delivered_pps
    raise LabError(f"packets were lost at every rate down to {rate:.0f} a second")


def _bracket(trial, hint_pps, plan):
    passing, failing, shortfalls = None, None, 0
    rate = hint_pps
    for _ in range(plan.probe_count):
        result = trial(rate, plan.probe_s)
        if not result.passes:
            failing = rate
        else:
            # Asked for more than it can, a sender may reach less than it could: what it reached
            # before counts.
            passing = max(passing or 0, min(rate, result.offered_pps))
            shortfalls += result.offered_pps < SENDER_KEEPS_UP * rate
            if shortfalls == SENDER_SHORTFALLS_MAX:
                break
        if passing and failing:
            if failing / passing < RESOLUTION:
                break
            rate = (passing * failing) ** 0.5
        else:
            rate = rate * STEP_UP if passing else rate * STEP_DOWN
    return passing or rate
