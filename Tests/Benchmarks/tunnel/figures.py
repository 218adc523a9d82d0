"""Each measurement of the tunnel benchmark, as a function from a system to named numbers."""

import json
import math
import os
import re
import time
from dataclasses import dataclass

from harness import machine
from harness.emulator import Emulator, gateway_configuration, public_keys
from harness.lab import LabError, run, run_in, wait_until
from harness.systems import (
    LINK_ADDRESSES, PEER_COUNT, PORT, UserspaceWireGuard, add_idle_peers, set_profile)
from tunnel.loss_free import Trial, loss_free_rate

IPERF = ["iperf3", "-C", "cubic", "--json"]
UDP_PORT = 7000
UDP_PAYLOAD_BYTES = 64
DRAIN_S = 0.15
FURTHER_IDLE_PEERS = 1000
HANDSHAKE_IDENTITIES = 500
HANDSHAKES_IN_FLIGHT = 8
FIRST_RATE_PPS = 50_000
LOADED_MARGIN_S = 0.2


@dataclass
class Plan:
    """How long each measurement takes; seconds unless the name says otherwise."""

    rounds: int = 5
    tcp_s: int = 6
    probe_s: float = 1
    probe_count: int = 9
    confirm_s: float = 6
    confirm_count: int = 7
    flood_s: float = 3
    idle_interval_us: int = 1_000
    idle_count: int = 3000
    loaded_interval_us: int = 5_000
    loaded_count: int = 1200
    warm_up_s: float = 1
    settle_s: float = 0.5
    handshakes_s: float = 3
    time_limit_s: float = None


QUICK_PLAN = Plan(
    rounds=1, tcp_s=1, probe_s=0.25, probe_count=3, confirm_s=0.4, confirm_count=3, flood_s=0.4,
    idle_interval_us=1_000, idle_count=500, loaded_interval_us=2_000, loaded_count=250,
    warm_up_s=0.2, settle_s=0.1, handshakes_s=0.6, time_limit_s=50)


class Bench:
    """Measures one system at a time with the tools in `tools` as `plan` says.

    Every figure returns a dictionary from key to number and raises LabError with the reason where
    it cannot be had.
    """

    def __init__(self, lab, tools, plan, identities, coalescing_sink=True, udp_round_trips=False):
        self.lab = lab
        self.tools = tools
        self.plan = plan
        self.identities = identities
        self.coalescing_sink = coalescing_sink
        self.udp_round_trips = udp_round_trips
        self.rate_hints = {}
        self.trial_number = 0

    def tcp1(self, system):
        """One TCP stream towards the far end, and what the whole machine spends on it."""
        before = machine.busy_cpu_seconds()
        result = self._tcp(system)
        spent = machine.busy_cpu_seconds() - before
        return {"tcp1_gbps": result["bits_per_second"] / 1e9,
                "cpu_s_per_gb": spent / (result["bytes"] / 1e9)}

    def tcp1_reverse(self, system):
        """One TCP stream from the far end."""
        return {"tcp1_reverse_gbps": self._tcp(system, "-R")["bits_per_second"] / 1e9}

    def tcp4(self, system):
        """Four TCP streams towards the far end."""
        return {"tcp4_gbps": self._tcp(system, "-P", "4")["bits_per_second"] / 1e9}

    def tcp4_reverse(self, system):
        """Four TCP streams from the far end."""
        return {"tcp4_reverse_gbps": self._tcp(system, "-P", "4", "-R")["bits_per_second"] / 1e9}

    def rss(self, system):
        """The larger daemon's memory with PEER_COUNT peers, after what TCP has passed before."""
        size = system.resident_mb()
        if size is None:
            raise LabError("there is no daemon")
        return {"rss_mb": size}

    def flood(self, system):
        """Small packets delivered while the sender offers all it can."""
        trial = self._udp_trial(system, 0, self.plan.flood_s)
        self.rate_hints.setdefault(system.label, trial.delivered_pps)
        return {"udp64_flood_pps": trial.delivered_pps, "udp64_offered_pps": trial.offered_pps}

    def lossfree(self, system):
        """The highest rate of small packets of which less than one in a thousand is lost."""
        rate = loss_free_rate(
            lambda rate, seconds: self._udp_trial(system, rate, seconds),
            self.rate_hints.get(system.label, FIRST_RATE_PPS), self.plan)
        self.rate_hints[system.label] = rate
        return {"udp64_lossfree_pps": rate}

    def rtt_idle(self, system):
        """Round-trip times with nothing else in the tunnel."""
        plan = self.plan
        times = self._round_trips(system, plan.idle_interval_us, plan.idle_count)
        return {"rtt_idle_p50_us": times["p50_us"], "rtt_idle_p99_us": times["p99_us"]}

    def rtt_loaded(self, system):
        """Round-trip times while one TCP stream takes what it can get."""
        plan = self.plan
        seconds = plan.warm_up_s + plan.loaded_interval_us * plan.loaded_count / 1e6
        server = self._iperf_server(system)
        client = self.lab.start(
            system.near, [*IPERF, "-c", system.far_address,
                          "-t", str(math.ceil(seconds + LOADED_MARGIN_S))])
        try:
            time.sleep(plan.warm_up_s)
            times = self._round_trips(system, plan.loaded_interval_us, plan.loaded_count)
            if client.poll() is not None:
                raise LabError("TCP ended before the round trips were measured")
            wait_until(lambda: client.poll() is not None, "iperf3 ends", patience_s=15)
            received = iperf_result(self.lab.stop(client))
        finally:
            self.lab.stop(client)
            self.lab.stop(server)
        return {"rtt_loaded_p50_us": times["p50_us"], "rtt_loaded_p99_us": times["p99_us"],
                "rtt_loaded_tcp_gbps": received["bits_per_second"] / 1e9}

    def idle_peers(self, system):
        """Memory of a further idle peer, from a daemon that carries nothing."""
        _require_wireguard(system)
        process, device = system.start_daemon(system.far, system.keys[1][0], PORT + 1)
        try:
            add_idle_peers(self.lab, device, self.identities[:PEER_COUNT])
            time.sleep(self.plan.settle_s)
            before = machine.resident_bytes(process.pid)
            further = self.identities[PEER_COUNT:PEER_COUNT + FURTHER_IDLE_PEERS]
            add_idle_peers(self.lab, device, further, first=PEER_COUNT)
            time.sleep(self.plan.settle_s)
            grown = machine.resident_bytes(process.pid) - before
        finally:
            self.lab.stop(process)
        return {"bytes_per_idle_peer": grown / len(further)}

    def handshakes(self, system):
        """Handshakes as responder: per second of its processor time, and per second."""
        _require_wireguard(system)
        if system.profile:
            return self._hybrid_handshakes(system)
        return self._load_responder(
            system, system.keys[1][0], self.identities[:HANDSHAKE_IDENTITIES],
            lambda: json.loads(run_in(system.near, [
                f"{self.tools}/handshakes", "load", LINK_ADDRESSES[1], str(PORT + 2),
                system.keys[1][1], str(HANDSHAKE_IDENTITIES), str(self.plan.handshakes_s),
                str(HANDSHAKES_IN_FLIGHT)])))

    def _hybrid_handshakes(self, system):
        """The same with peers that speak the system's profile: the emulator's."""
        programs = os.path.dirname(system.program)
        if not os.path.exists(f"{programs}/peer-emulator"):
            raise LabError(f"no peer-emulator beside {system.program}")
        configuration = gateway_configuration(programs, 0, HANDSHAKE_IDENTITIES)
        emulator = Emulator(self.lab, programs, system.near, f"{LINK_ADDRESSES[1]}:{PORT + 2}", 1,
                            HANDSHAKE_IDENTITIES, options=["--profile", system.profile])
        try:
            return self._load_responder(
                system, re.search(r"PrivateKey = (\S+)", configuration)[1],
                public_keys(programs, 0, 0, HANDSHAKE_IDENTITIES),
                lambda: emulator.ask("renew", tenants=0, seconds=self.plan.handshakes_s,
                                     window=HANDSHAKES_IN_FLIGHT))
        finally:
            emulator.stop()

    def _load_responder(self, system, private_key, keys, run_load):
        """Starts a daemon that has these peers, and measures what `run_load` makes of it."""
        process, device = system.start_daemon(system.far, private_key, PORT + 2)
        try:
            add_idle_peers(self.lab, device, keys)
            if system.profile:
                for key in keys:
                    set_profile(device, key, system.profile)
            system.bring_up(system.far, device)
            before = machine.process_cpu_seconds(process.pid)
            load = run_load()
            spent = machine.process_cpu_seconds(process.pid) - before
        finally:
            self.lab.stop(process)
        if load["cookies"] or load.get("invalid") or not load["completed"] or spent <= 0:
            raise LabError(f"the responder did not answer as it should: {load}")
        return {"handshakes_per_s": load["completed"] / spent,
                "handshakes_raw_per_s": load["completed"] / load["seconds"]}

    def _tcp(self, system, *options):
        server = self._iperf_server(system)
        try:
            return iperf_result(run_in(system.near, [
                *IPERF, "-c", system.far_address, "-t", str(self.plan.tcp_s), *options]))
        finally:
            self.lab.stop(server)

    def _iperf_server(self, system):
        server = self.lab.start(system.far, ["iperf3", "-s", "--forceflush"])
        wait_until(lambda: _has_printed(server, "listening"), "iperf3 listens", process=server)
        return server

    def _udp_trial(self, system, rate_pps, seconds):
        self.trial_number += 1
        run_number = str(self.trial_number)
        options = [] if self.coalescing_sink else ["--no-gro"]
        sink = self.lab.start(
            system.far, [f"{self.tools}/udp_sink", str(UDP_PORT), run_number, *options])
        wait_until(lambda: _has_printed(sink, "ready"), "the UDP sink opens", process=sink)
        try:
            sender = json.loads(run_in(system.near, [
                f"{self.tools}/udp_send", system.far_address, str(UDP_PORT), run_number,
                str(seconds), str(rate_pps), str(UDP_PAYLOAD_BYTES)]))
            time.sleep(DRAIN_S)
        finally:
            printed = self.lab.stop(sink)
        sunk = json.loads(printed.splitlines()[-1])
        return Trial(sender["sent"], sunk["received"], sender["seconds"])

    def _round_trips(self, system, interval_us, count):
        warm_up = max(20, count // 20)
        command = [f"{self.tools}/rtt", system.far_address, str(interval_us), str(count),
                   str(warm_up)]
        echo = None
        if self.udp_round_trips:
            echo = self.lab.start(system.far, [f"{self.tools}/rtt", "echo", str(UDP_PORT)])
            wait_until(lambda: _has_printed(echo, "ready"), "the UDP echo opens", process=echo)
            command.append(str(UDP_PORT))
        try:
            times = json.loads(run_in(system.near, command))
        finally:
            if echo:
                self.lab.stop(echo)
        if times["received"] < 0.9 * times["sent"]:
            raise LabError(f"only {times['received']} of {times['sent']} probes were answered")
        return times


def iperf_result(text):
    """Returns the receiver's sum from iperf3's JSON: bytes and bits_per_second."""
    result = json.loads(text)
    if "error" in result:
        raise LabError(f"iperf3: {result['error']}")
    return result["end"]["sum_received"]


def make_identities(tools):
    """Returns the public keys that the load tools can act for, base64."""
    count = PEER_COUNT + FURTHER_IDLE_PEERS
    return run([f"{tools}/handshakes", "identities", str(count)]).split()


def _require_wireguard(system):
    if not isinstance(system, UserspaceWireGuard):
        raise LabError("it has no WireGuard peers")


def _has_printed(process, text):
    with open(process.log, encoding="utf-8", errors="replace") as output:
        return text in output.read()
