"""Token streams and prompts beside uploads: what the load adds to their times."""

import json
import time
from dataclasses import dataclass

from harness.lab import LabError, last_words, wait_until

REAL_TIME = ["chrt", "-f", "10"]  # Of what measures: its own wake-ups are nobody's figure.
STREAM_PORT, PROMPT_PORT, LOAD_PORT, UPLOAD_PORT, DOWNLOAD_PORT = 8000, 8001, 8002, 5201, 5202
STREAMS = 20
TOKEN_INTERVAL_US = 20_000
PROMPT_BYTES = 2_048
PROMPT_INTERVAL_US = 50_000
UPLOADS = 4
MARGIN_S = 30


@dataclass
class Times:
    """How long a measurement takes, in seconds; the warm-up is what queues need to fill."""

    idle: float = 8
    loaded: float = 15
    warm_up: float = 5


class Site:
    """The servers and clients of one system."""

    def __init__(self, lab, tools, system, certificate=None):
        self.lab = lab
        self.tokens = f"{tools}/tokens"
        self.system = system
        tls = ["--certificate", certificate[0], "--key", certificate[1]] if certificate else []
        self.is_tls = bool(certificate)
        self.servers = [
            self._serve([*REAL_TIME, self.tokens, "serve", str(STREAM_PORT), str(PROMPT_PORT),
                         *tls], "ready"),
            self._serve([self.tokens, "serve", str(LOAD_PORT)], "ready"),
            *(self._serve(["iperf3", "-s", "-p", str(port), "--forceflush"], "listening")
              for port in (UPLOAD_PORT, DOWNLOAD_PORT))]

    def _serve(self, command, sign):
        server = self.lab.start(self.system.far, command)
        wait_until(lambda: sign in printed(server), f"{command[-2]} opens", process=server)
        return server

    def stop(self):
        """Ends the servers."""
        for server in self.servers:
            self.lab.stop(server)

    def ask(self, what, port, seconds, *options, is_measured=True):
        """Starts `tokens` as a client at the branch."""
        prefix = REAL_TIME if is_measured else []
        tls = ["--tls"] if self.is_tls and is_measured else []
        return self.lab.start(self.system.near, [
            *prefix, self.tokens, what, self.system.far_address, str(port),
            "--seconds", f"{seconds:g}", *tls, *options])

    def measure(self, seconds, warm_up=0.5, streams=STREAMS, interval_us=TOKEN_INTERVAL_US):
        """Returns quantiles of the streams and of the prompts between them."""
        total = seconds + warm_up
        clients = [
            self.ask("stream", STREAM_PORT, total, "--warm-up", f"{warm_up:g}",
                     "--count", str(streams), "--interval", str(interval_us)),
            self.ask("prompt", PROMPT_PORT, total, "--warm-up", f"{warm_up:g}",
                     "--every", str(PROMPT_INTERVAL_US), "--prompt", str(PROMPT_BYTES))]
        return [self.result(client, total) for client in clients]

    def result(self, client, seconds):
        """Waits for a client of `tokens`. Returns what it printed."""
        wait_until(lambda: client.poll() is not None, "tokens ends", seconds + MARGIN_S)
        if client.returncode:
            raise LabError(f"tokens ended with {client.returncode}: {last_words(client)}")
        return json.loads(self.lab.stop(client))

    def start_uploads(self, seconds, ways=("up", "down")):
        """Starts CUBIC uploads in these directions."""
        return [self.lab.start(self.system.near, [
            "iperf3", "-C", "cubic", "-c", self.system.far_address, "-p", str(port),
            "-P", str(UPLOADS), "-t", str(int(seconds + 1)), *option])
            for way, port, option in (("up", UPLOAD_PORT, []), ("down", DOWNLOAD_PORT, ["-R"]))
            if way in ways]

    def start_prompts(self, seconds, connections, prompt_bytes=400, answer_bytes=1):
        """Starts connections that ask again and again with long prompts or for long answers."""
        return [self.ask("load", LOAD_PORT, seconds, "--count", str(connections),
                         "--prompt", str(prompt_bytes), "--answer", str(answer_bytes),
                         is_measured=False)]

    def measure_beside(self, start_load, times, **options):
        """Returns the same as `measure` while a load runs, and how much the line carried."""
        load = start_load(times.warm_up + times.loaded + 2)
        try:
            time.sleep(times.warm_up)
            before = [self.system.sent_bytes(way) for way in ("up", "down")]
            begun = time.monotonic()
            measured = self.measure(times.loaded, **options)
            seconds = time.monotonic() - begun
            after = [self.system.sent_bytes(way) for way in ("up", "down")]
            for client in load:
                if client.poll() not in (None, 0):
                    raise LabError(f"the load ended: {last_words(client)}")
        finally:
            for client in load:
                self.lab.stop(client)
        shares = [8 * (late - early) / seconds / self.system.rate
                  for early, late in zip(before, after)]
        return measured, shares


def added(idle, loaded):
    """Returns what a load added to the quantiles of streams and prompts, in milliseconds."""
    (quiet_streams, quiet_prompts), (streams, prompts) = idle, loaded
    return {
        "added_itl_p99_ms": streams["itl"]["p99"] - quiet_streams["itl"]["p99"],
        "added_itl_p999_ms": streams["itl"]["p999"] - quiet_streams["itl"]["p999"],
        "added_ttft_2k_p99_ms": prompts["ttft"]["p99"] - quiet_prompts["ttft"]["p99"],
        "added_delay_p99_ms": streams["delay"]["p99"] - quiet_streams["delay"]["p99"],
    }


def printed(process):
    """Returns what a process has printed so far."""
    with open(process.log, encoding="utf-8", errors="replace") as output:
        return output.read()
