"""Where the classifier beats flow queueing alone and where it does not, at one rate.

Each scenario puts other traffic of the same tenant beside streams; both builds have the same
shaper, so that what differs is the classifier's.
"""

from dataclasses import dataclass

from qos.streams import STREAMS, TOKEN_INTERVAL_US, Site

LONG_PROMPT_BYTES = 1_000_000
IMAGE_BYTES = 60_000
CONNECTIONS = 40


@dataclass(frozen=True)
class Scenario:
    """What runs beside which streams; prompts go up and answers of the same size come down."""

    title: str
    connections: int = CONNECTIONS
    prompt_bytes: int = LONG_PROMPT_BYTES
    streams: int = STREAMS
    interval_us: int = TOKEN_INTERVAL_US
    is_tls: bool = False
    budget_bytes: int = None


SCENARIOS = {
    "prompts": Scenario("40 long prompts and answers"),
    "images": Scenario("40 images of 60 KB, again and again", prompt_bytes=IMAGE_BYTES),
    "crowd": Scenario("200 long prompts and answers", connections=200),
    "shared": Scenario("40 long prompts; 10 connections, 5 streams on each", streams=10,
                       interval_us=TOKEN_INTERVAL_US // 5),
    "budget": Scenario("the same, the tenant's budget used up", streams=10,
                       interval_us=TOKEN_INTERVAL_US // 5, budget_bytes=200_000),
    "tls": Scenario("40 long prompts; streams under TLS", is_tls=True),
    "shared_tls": Scenario("40 long prompts; 5 streams on each connection, TLS", streams=10,
                           interval_us=TOKEN_INTERVAL_US // 5, is_tls=True),
}


def run_scenario(lab, tools, system, scenario, times, certificate):
    """Returns the quantiles of streams and prompts beside the scenario's load, and shares."""
    site = Site(lab, tools, system, certificate if scenario.is_tls else None)
    try:
        def start_load(seconds):
            up = site.start_prompts(seconds, scenario.connections, scenario.prompt_bytes)
            return up + site.start_prompts(
                seconds, scenario.connections, answer_bytes=scenario.prompt_bytes)
        quiet = site.measure(times.idle, streams=scenario.streams,
                             interval_us=scenario.interval_us)
        loaded, shares = site.measure_beside(
            start_load, times, streams=scenario.streams, interval_us=scenario.interval_us)
        return quiet, loaded, shares
    finally:
        site.stop()
