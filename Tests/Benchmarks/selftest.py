"""Tests of the benchmarks' own arithmetic and tools: `python3 Tests/Benchmarks/selftest.py`."""

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import build, report  # noqa: E402
from harness.lab import Lab, LabError, run_in, wait_until  # noqa: E402
from qos.recognition import precision_and_recall  # noqa: E402
from qos.settings import Settings  # noqa: E402
from qos.streams import added  # noqa: E402
from tenants.rivals import has_printed, jain, victim_share  # noqa: E402
from programs.kinds import KINDS, Kind  # noqa: E402
from tunnel.figures import Plan  # noqa: E402
from tunnel.loss_free import RESOLUTION, Trial, loss_free_rate  # noqa: E402

LOOPBACK = "127.0.0.1"


def link_with_capacity(capacity_pps, sender_pps=1e9):
    """Returns a trial function of a link that loses whatever exceeds its capacity."""
    def trial(rate, seconds):
        offered = min(rate, sender_pps)
        return Trial(int(offered * seconds), int(min(offered, capacity_pps) * seconds), seconds)
    return trial


class LossFreeRateTests(unittest.TestCase):
    def test_finds_the_capacity_from_below_and_from_above(self):
        for hint in (20_000, 100_000, 180_000):
            rate = loss_free_rate(link_with_capacity(100_000), hint, Plan())
            self.assertLessEqual(rate, 100_100)
            self.assertGreater(rate, 100_000 / RESOLUTION ** 2)

    def test_stops_where_the_sender_is_the_limit(self):
        rate = loss_free_rate(link_with_capacity(1e9, sender_pps=70_000), 50_000, Plan())
        self.assertAlmostEqual(rate, 70_000, delta=1)

    def test_a_link_that_always_loses_has_no_rate(self):
        with self.assertRaises(LabError):
            loss_free_rate(lambda rate, seconds: Trial(1000, 990, seconds), 50_000, Plan())

    def test_losses_that_only_long_trials_show_lead_down_and_halfway_back(self):
        def trial(rate, seconds):
            capacity = 100_000 if seconds < Plan().confirm_s else 50_000
            return link_with_capacity(capacity)(rate, seconds)
        rate = loss_free_rate(trial, 90_000, Plan())
        self.assertLessEqual(rate, 50_100)
        self.assertGreater(rate, 40_000)

    def test_a_sender_that_is_asked_too_much_is_judged_by_what_it_can(self):
        def trial(rate, seconds):
            offered = rate if rate <= 150_000 else 70_000
            return Trial(int(offered * seconds), int(offered * seconds), seconds)
        self.assertGreater(loss_free_rate(trial, 50_000, Plan()), 130_000)

    def test_one_in_a_thousand_is_too_much(self):
        self.assertFalse(Trial(1000, 999, 1).passes)
        self.assertTrue(Trial(1001, 1000, 1).passes)
        self.assertFalse(Trial(0, 0, 1).passes)


class ReportTests(unittest.TestCase):
    def test_ratio_is_the_median_of_the_rounds_ratios(self):
        results = report.Results()
        for number, (mine, theirs) in enumerate(((10, 1), (20, 4), (30, 10))):
            results.add("a", number, {"k": mine})
            results.add("b", number, {"k": theirs})
        self.assertEqual(results.ratio("a", "b", "k"), 5)
        self.assertEqual(results.cell("a", "k"), "20 (10-30)")
        self.assertIsNone(results.ratio("a", "c", "k"))

    def test_columns_align(self):
        lines = report.table(["figure", "x"], [["a", "1"], ["longer one", "12.5 (3-4)"]])
        self.assertEqual(len({len(line) for line in lines}), 1)


class SharesTests(unittest.TestCase):
    def test_equal_shares_are_fair_and_one_for_all_is_not(self):
        self.assertAlmostEqual(jain([3, 3]), 1)
        self.assertAlmostEqual(jain([1, 0]), 0.5)
        self.assertAlmostEqual(jain([1, 3]), 0.8)

    def test_a_victims_share_is_of_half_of_all(self):
        self.assertAlmostEqual(victim_share([2, 2]), 1)
        self.assertAlmostEqual(victim_share([1, 3]), 0.5)


class QoSTests(unittest.TestCase):
    def test_what_is_added_is_loaded_less_idle(self):
        def measured(itl, itl_tail, delay, ttft):
            return ({"itl": {"p99": itl, "p999": itl_tail}, "delay": {"p99": delay}},
                    {"ttft": {"p99": ttft}})
        self.assertEqual(added(measured(20, 21, 30, 40), measured(25, 31, 36, 47)), {
            "added_itl_p99_ms": 5, "added_itl_p999_ms": 10, "added_ttft_2k_p99_ms": 7,
            "added_delay_p99_ms": 6})

    def test_precision_counts_what_was_held_and_recall_what_was_there(self):
        stream, other = Kind("a", 1, True, "a"), Kind("b", 2, False, "b")
        self.assertEqual(precision_and_recall([(stream, 4, 3), (other, 9, 1)]), (0.75, 0.75))
        self.assertEqual(precision_and_recall([(stream, 4, 0), (other, 9, 0)]), (0, 0))
        self.assertEqual(precision_and_recall([(stream, 4, 4), (other, 9, 0)]), (1, 1))

    def test_every_kind_of_traffic_has_a_port_of_its_own(self):
        self.assertEqual(len({kind.port for kind in KINDS}), len(KINDS))

    def test_settings_are_lines_of_a_request(self):
        self.assertEqual(Settings().lines(), [])
        self.assertEqual(
            Settings(False, 20_000_000, [(5211, "bulk")], 1000).lines(),
            ["classify=false", "link=20000000 14", "service=* 0.0.0.0/0 5211 bulk bulk",
             "budget=1000 - 86400"])


class ToolTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tools = build.build_tools([*build.TUNNEL_TOOLS, "tokens"])

    def tool(self, name, *arguments):
        return subprocess.run([f"{self.tools}/{name}", *arguments], capture_output=True,
                              text=True, check=True).stdout

    @unittest.skipUnless(importlib.util.find_spec("cryptography"), "needs python3-cryptography")
    def test_identities_are_x25519_keys_of_blake2s_seeds(self):
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        for number, text in enumerate(self.tool("handshakes", "identities", "3").split()):
            seed = b"benchmark identity, never a secret\0" + number.to_bytes(8, "little")
            private = X25519PrivateKey.from_private_bytes(hashlib.blake2s(seed).digest())
            public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.assertEqual(base64.b64decode(text), public)

    def test_paced_sender_keeps_its_rate_and_the_sink_counts_every_datagram_once(self):
        sink = subprocess.Popen([f"{self.tools}/udp_sink", "7999", "5"], stdout=subprocess.PIPE,
                                text=True)
        self.assertEqual(sink.stdout.readline(), "ready\n")
        other = json.loads(self.tool("udp_send", LOOPBACK, "7999", "4", "0.1", "1000", "64"))
        sent = [json.loads(self.tool("udp_send", LOOPBACK, "7999", "5", "0.5", "10000", "64"))
                for _ in range(2)]
        sink.terminate()
        counted = json.loads(sink.communicate()[0])
        self.assertGreater(other["sent"], 0)
        most = max(trial["sent"] for trial in sent)
        self.assertEqual(counted["received"], most)
        self.assertEqual(counted["duplicates"], sum(trial["sent"] for trial in sent) - most)
        self.assertLessEqual(sent[0]["sent"], 5001)

    def test_one_echo_answers_in_several_namespaces(self):
        with Lab("selftest") as lab:
            names = [lab.add_namespace(), lab.add_namespace()]
            echo = lab.start(None, [f"{self.tools}/rtt", "echo", "7998", *names])
            wait_until(lambda: has_printed(echo, "ready"), "the echo opens", process=echo)
            for name in names:
                times = json.loads(run_in(name, [
                    f"{self.tools}/rtt", LOOPBACK, "1000", "20", "2", "7998"]))
                self.assertEqual(times["received"], 20)

    def test_token_streams_keep_their_interval_and_long_prompts_arrive(self):
        server = subprocess.Popen([f"{self.tools}/tokens", "serve", "7997"],
                                  stdout=subprocess.PIPE, text=True)
        self.assertEqual(server.stdout.readline(), "ready\n")
        streams = json.loads(self.tool("tokens", "stream", LOOPBACK, "7997", "--count", "5",
                                       "--seconds", "1.1", "--warm-up", "0.1"))
        prompts = json.loads(self.tool("tokens", "prompt", LOOPBACK, "7997", "--seconds", "0.5",
                                       "--every", "20000", "--prompt", "2048"))
        load = json.loads(self.tool("tokens", "load", LOOPBACK, "7997", "--seconds", "0.5",
                                    "--count", "2", "--prompt", "100000", "--answer", "300000"))
        server.kill()  # A laboratory before this one has left SIGTERM ignored.
        server.communicate()
        self.assertAlmostEqual(streams["itl"]["count"], 250, delta=10)
        self.assertAlmostEqual(streams["itl"]["p50"], 20, delta=1)
        self.assertEqual((prompts["ttft"]["count"], prompts["failures"]), (25, 0))
        self.assertGreater(load["answers"], 2)
        self.assertGreaterEqual(load["got_bytes"], load["answers"] * 300_000)
        self.assertGreaterEqual(load["sent_bytes"], load["answers"] * 99_000)

    def test_round_trips_on_the_loopback_are_all_answered(self):
        times = json.loads(self.tool("rtt", LOOPBACK, "1000", "100", "5"))
        self.assertEqual((times["sent"], times["received"]), (100, 100))
        self.assertLessEqual(times["min_us"], times["p50_us"])
        self.assertLessEqual(times["p50_us"], times["p99_us"])


if __name__ == "__main__":
    unittest.main()
