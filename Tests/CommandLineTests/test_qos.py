"""qos and trace, against a program that answers on the socket of an interface as a daemon would."""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

FOLDER = pathlib.Path("/var/run/wireguard")
CLASSES = ["control", "token", "activation", "prompt", "bulk", "background"]
PEER = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"
counter = itertools.count()


class FakeDaemon:
    """Counters go on with every question, so that there is something between two looks."""

    def __init__(self, knows_qos=True):
        self.interface = f"q{os.getpid()}f{next(counter)}"
        self.path = FOLDER / f"{self.interface}.sock"
        self.knows_qos = knows_qos
        self.requests = []
        self.flows = []
        self.head = ["classify=true", "link=20000000 14", "flows=3", "flows_max=100000"]
        self.measures = []
        self.looks = 0
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                request = b""
                while not request.endswith(b"\n\n") and (part := connection.recv(65536)):
                    request += part
                if request:
                    connection.sendall(self.answer(request.decode()).encode())

    def answer(self, request):
        self.requests.append(request)
        if not self.knows_qos:
            return "errno=-71\n\n"
        operation = request.split("\n")[0]
        lines = []
        if operation == "qos=1":
            lines = self.status()
            self.looks += 1
        elif operation == "flows=1":
            lines = self.flows
        elif operation != "set_qos=1":
            return "errno=-71\n\n"
        return "\n".join([*lines, "errno=0", "", ""])

    def status(self):
        lines = [*self.head, f"link_wire_bytes={2_000_000 * self.looks}"]
        for name in CLASSES:
            lines.append(f"class={name}")
            if name == "token":
                # 1,000 packets waited up to 50 µs before anyone looked; then 10 up to 5 ms.
                late = 10 * self.looks
                lines += [f"packets={1000 + late}", f"bytes={1_000_000 * self.looks}",
                          "queued_packets=2", "queued_bytes=3000",
                          f"sojourn=1000,0,0,0,0,0,{late},0,0,0,0,0,0",
                          "sojourn_max_nsec=9000000",
                          "marks=5", "early_drops=6", "overflow_drops=7"]
        lines += [f"path={PEER} 5000000 18", "queued_packets=1", "queued_bytes=1500",
                  f"wire_bytes={500_000 * self.looks}"]
        return lines + self.measures

    def close(self):
        self.listener.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def fake():
    if os.geteuid() != 0:
        pytest.skip("sockets of interfaces are root's")
    made = []

    def make(**settings):
        made.append(FakeDaemon(**settings))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


FLOW = ["flow=6 10.0.0.2 51000 10.9.0.5 443", f"public_key={PEER}", "class=prompt",
        "evidence=http1", "confidence=95", "phase=streaming", "token_stream=true",
        "limit=ceiling", "detail=POST /v1/chat/completions, text/event-stream",
        "age_nsec=9000000000", "idle_nsec=12000000", "bytes_out=2048", "bytes_in=4096",
        "requests=2", "chunks=70", "retransmissions=3", "first_chunk_nsec=180000000",
        "inter_chunk_nsec=20500000", "inter_chunk_max_nsec=61000000"]


def row(text, first):
    """The columns of the row that begins so."""
    lines = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    assert lines, text
    return " ".join(lines[0])


# --- qos ------------------------------------------------------------------------------------------


def test_qos_shows_every_class_with_rates_waits_marks_and_drops(fake, run):
    daemon = fake()
    result = run("qos", daemon.interface)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert [name for name in CLASSES if row(text, name)] == CLASSES
    token = row(text, "token")
    # A million bytes in a second or more; the median of all waits is below 50 µs.
    assert "bit/s 976.56 KiB 2 in 2.93 KiB" in token
    assert " 25 µs 50 µs 9.0 ms 5 6 7" in token
    assert row(text, "bulk") == "bulk 0 bit/s 0 B - - - - 0 0 0"
    assert "20.00 Mbit/s, held to 19.00 Mbit/s, " in text
    assert "told apart; 3 of 100000 flows known" in text
    assert "4.75 Mbit/s" in text and "1 in 1.46 KiB" in text


def test_qos_as_json_has_what_the_daemon_tells(fake, run):
    daemon = fake()
    reports = json.loads(run("qos", daemon.interface, "--json").stdout)
    assert [report["interface"] for report in reports] == [daemon.interface]
    report = reports[0]
    assert report["is_classifying"] and report["flow_capacity"] == 100_000
    assert report["link"]["shaped_bits_per_second"] == 19_000_000
    assert report["link"]["wire_bytes"] == 2_000_000
    # Of a second and what it takes to look.
    assert 100_000 < report["link"]["wire_bits_per_second"] <= 16_000_000
    assert [one["traffic_class"] for one in report["classes"]] == CLASSES
    token = report["classes"][1]
    assert token["packets"] == 1010 and token["overflow_drops"] == 7
    assert len(token["sojourn_counts"]) == len(report["sojourn_bounds_us"]) + 1
    assert token["sojourn_max_us"] == 9000
    assert "sojourn_p50_us" not in report["classes"][4], "nothing waited there"
    assert report["paths"][0]["link"]["overhead_bytes"] == 18


def test_watch_shows_what_came_since_the_last_look(fake, program):
    daemon = fake()
    with subprocess.Popen([program, "qos", daemon.interface, "--watch"], stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            screens = ""
            deadline = time.monotonic() + 60
            while screens.count("background") < 2:
                assert time.monotonic() < deadline
                screens += process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
    assert screens.startswith("\x1b[H\x1b[2J")
    # Only the ten of between 2 ms and 5 ms are new.
    assert " 3.5 ms 5.0 ms 5.0 ms 5 6 7" in row(screens, "token")


def test_a_link_without_a_rate_is_told(fake, run):
    daemon = fake()
    daemon.head = ["classify=false", "over_budget=true"]
    text = run("qos", daemon.interface).stdout
    assert "of no known rate" in text and "not told apart" in text
    assert "used up" in text
    assert "link" not in json.loads(run("qos", daemon.interface, "--json").stdout)[0]


def test_programs_without_qos_are_told(fake, run):
    daemon = fake(knows_qos=False)
    assert "another program" in run("qos", daemon.interface).stdout
    assert "another program" in run("trace", daemon.interface).stdout
    report = json.loads(run("qos", daemon.interface, "--json").stdout)[0]
    assert report["classes"] == [] and "is_classifying" not in report


def test_what_is_not_there_is_named(run):
    for command in (["qos"], ["trace"]):
        result = run(*command, "nosuch0")
        assert result.returncode == 1 and "nosuch0" in result.stderr
        result = run(*command, "no/such")
        assert result.returncode == 2
        assert run(*command, "a", "--tenant", "b").returncode == 64
        assert run(*command, "--rate").returncode == 64


def test_a_line_of_all_tenants_is_nobodys_to_count(fake, run):
    daemon = fake()
    daemon.head = ["classify=true", "link=1000000000 14", "link_shared=true"]
    text = run("qos", daemon.interface).stdout
    assert row(text, "link").endswith("held to 950.00 Mbit/s, shared by all tenants"), text
    report, = json.loads(run("qos", daemon.interface, "--json").stdout)
    assert report["link"]["is_shared"] is True and "wire_bytes" not in report["link"]
    assert report["paths"][0]["link"]["is_shared"] is False


def test_a_line_that_is_followed_is_told_with_its_range_and_the_reason(fake, run):
    daemon = fake()
    daemon.head = ["classify=true", "link=40000000 14", "link_minimum=5000000", "link_now=10000000"]
    text = run("qos", daemon.interface).stdout
    assert row(text, "link").startswith("link 10.00 Mbit/s, held to 9.50 Mbit/s, "), text
    assert row(text, "followed") == (
        "followed from 5.00 Mbit/s to 40.00 Mbit/s; not changed yet, or no peer measures"), text
    daemon.head += ["link_change=late", "link_late_nsec=23400000",
                    "link_change_age_nsec=3000000000"]
    text = run("qos", daemon.interface).stdout
    assert row(text, "followed").endswith("; cut, as packets were 23 ms late, 3.0 s ago"), text
    report, = json.loads(run("qos", daemon.interface, "--json").stdout)
    link = report["link"]
    assert (link["bits_per_second"], link["shaped_bits_per_second"]) == (40_000_000, 9_500_000)
    assert (link["minimum_bits_per_second"], link["current_bits_per_second"]) == (
        5_000_000, 10_000_000)
    assert (link["latest_change"], link["latest_change_late_ms"]) == ("late", 23.4)
    assert link["latest_change_age_ms"] == 3000
    assert "current_bits_per_second" not in report["paths"][0]["link"]


# --- explain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument, lines", [
    ("10.0.0.2", ["address=10.0.0.2"]),
    ("10.0.0.2:51000", ["address=10.0.0.2", "port=51000"]),
    ("*:443", ["port=443"]),
    ("fd00::2", ["address=fd00::2"]),
    ("[fd00::2]:51000-[fd00::1]:443",
     ["address=fd00::2", "port=51000", "other_address=fd00::1", "other_port=443"]),
    ("10.0.0.2:51000-10.9.0.5:443",
     ["address=10.0.0.2", "port=51000", "other_address=10.9.0.5", "other_port=443"]),
    ("10.0.0.2-*:443", ["address=10.0.0.2", "other_port=443"]),
])
def test_flows_are_asked_for_by_their_ends(fake, run, argument, lines):
    daemon = fake()
    daemon.flows = FLOW
    assert run("qos", "explain", argument, "--interface", daemon.interface).returncode == 0
    assert daemon.requests[1] == "\n".join(["flows=1", *lines, "", ""])


@pytest.mark.parametrize("argument", [
    "", "10.0.0", "10.0.0.2:", "10.0.0.2:65536", "fd00::2:443x", "[10.0.0.2]:443", "host:443",
    "10.0.0.2:1-", "10.0.0.2:1-10.0.0.3:2-10.0.0.4:3",
])
def test_what_names_no_flow_is_wrong_usage(run, argument):
    assert run("qos", "explain", argument).returncode == 64


def test_explain_names_the_evidence_what_came_before_and_the_limit(fake, run):
    daemon = fake()
    daemon.flows = FLOW
    text = run("qos", "explain", "10.0.0.2", "--interface", daemon.interface).stdout
    assert "10.0.0.2:51000 → 10.9.0.5:443, tcp, on " + daemon.interface in text
    assert row(text, "class") == "class prompt"
    facts = " ".join(text.split())
    assert "not by policy no service matches not by mark no DSCP" in facts
    assert ("because its packets show HTTP/1.1: POST /v1/chat/completions, text/event-stream "
            "(95 % sure)") in facts
    assert "not by behaviour" not in facts, "nobody asked it"
    assert "held down by the ceiling" in facts
    assert "streaming, a stream of tokens, request 2" in facts
    assert "first chunk after 180 ms, 70 chunks, 20 ms between them, at most 61 ms" in facts


def test_explain_as_json_has_the_steps_of_trust(fake, run):
    daemon = fake()
    daemon.flows = FLOW
    flow, = json.loads(
        run("qos", "explain", "10.0.0.2", "--interface", daemon.interface, "--json").stdout)
    assert [(step["step"], step["decides"]) for step in flow["steps"]] == [
        ("policy", False), ("mark", False), ("packets", True)]
    assert flow["interface"] == daemon.interface and flow["limit"] == "ceiling"
    assert flow["client_port"] == 51000 and flow["inter_chunk_max_seconds"] == 0.061


@pytest.mark.parametrize("lines, said", [
    (["evidence=policy", "service=chat"], "because the policy's service chat gives the class"),
    (["evidence=mark", "service=chat"],
     "not by policy the service chat matches, and gives no class because its packets carry a DSCP"),
    (["evidence=size"], "not by behaviour no stream of tokens because it went on"),
    (["evidence=beginning", "limit=budget"], "held down by the budget"),
    (["evidence=tls", "confidence=70"],
     "not by packets they show TLS, and not what is in it because sizes and times of its packets "
     "show what it is; its heads show TLS only (70 % sure)"),
])
def test_every_kind_of_evidence_reads_well(fake, run, lines, said):
    daemon = fake()
    daemon.flows = FLOW[:1] + ["class=token", *lines]
    text = run("qos", "explain", "10.0.0.2", "--interface", daemon.interface).stdout
    assert said in " ".join(text.split())


def test_without_classes_nothing_is_claimed(fake, run):
    daemon = fake()
    daemon.head = ["classify=false"]
    daemon.flows = FLOW
    for options in [], ["--json"]:
        result = run("qos", "explain", "10.0.0.2", "--interface", daemon.interface, *options)
        assert result.returncode == 1 and "not told apart" in result.stderr, result
    assert "not told apart" in run("trace", daemon.interface, "--all").stdout
    assert json.loads(run("trace", daemon.interface, "--json").stdout)[0]["flows"] == []


def test_a_flow_that_nobody_knows_is_a_failure(fake, run):
    daemon = fake()
    result = run("qos", "explain", "10.0.0.2", "--interface", daemon.interface)
    assert result.returncode == 1 and "branchline trace --all" in result.stderr


def test_of_many_flows_the_latest_are_explained(fake, run):
    daemon = fake()
    daemon.flows = [f"flow=6 10.0.0.2 {port} 10.9.0.5 443" for port in range(1, 31)]
    result = run("qos", "explain", "10.0.0.2", "--interface", daemon.interface)
    assert result.stdout.count("because") == 20 and "and 10 more" in result.stdout


# --- trace ----------------------------------------------------------------------------------------


def test_trace_shows_streams_and_a_summary(fake, run):
    daemon = fake()
    daemon.flows = FLOW + ["service=chat"]
    # Two peers of one class and service are one row.
    for peer in (f"public_key={PEER}", "requests=0"):
        daemon.measures += ["measure=token", "service=chat", peer, "requests=5", "streams=4",
                            "chunks=100", "stalls=1", "retransmissions=2",
                            "first_chunk=0,0,0,0,0,0,0,0,10", "first_chunk_sum_sec=1.5",
                            "inter_chunk=0,80,20"]
    text = run("trace", daemon.interface).stdout
    assert daemon.requests[0] == "flows=1\nstreams_only=true\n\n"
    assert row(text, "10.0.0.2:51000") == (
        "10.0.0.2:51000 → 10.9.0.5:443 chat prompt* streaming 70 180 ms 20 ms 61 ms 3")
    # Evenly spread in their buckets: 0.1 to 0.25 s; 10 to 25 ms and 25 to 50 ms.
    assert row(text, "token") == "token chat 10 8 200 175 ms 249 ms 19 ms 49 ms 2 4"
    report = json.loads(run("trace", daemon.interface, "--json").stdout)[0]
    assert report["flows"][0]["evidence"] == "http1"
    assert len(report["measures"]) == 2
    assert report["measures"][0]["inter_chunk"]["p50_seconds"] == pytest.approx(0.019375)
    assert report["measures"][1]["first_chunk"]["sum_seconds"] == 1.5


def test_trace_asks_for_every_flow_where_all_are_wanted(fake, run):
    daemon = fake()
    assert "no stream of tokens now" in run("trace", daemon.interface).stdout
    assert "no flow is known" in run("trace", daemon.interface, "--all").stdout
    assert "flows=1\n\n" in daemon.requests


def test_words_of_strangers_do_not_steer_the_terminal(fake, run):
    daemon = fake()
    daemon.flows = FLOW + ["service=\x1b[2Jchat", "detail=\x1b]0;x\x07"]
    for command in (["trace", daemon.interface],
                    ["qos", "explain", "10.0.0.2", "--interface", daemon.interface]):
        assert "\x1b" not in run(*command).stdout


def test_trace_has_help_with_an_example(run):
    text = run("trace", "--help").stdout.split("USAGE")[0]
    assert "branchline trace wg0 --watch" in text and "--json" in text


# --- local ----------------------------------------------------------------------------------------


LOCAL = pathlib.Path("/etc/branchline/qos")
POLICY = {"link": {"rate": 20_000_000, "overhead_bytes": 18}, "weights": {"bulk": 3}}


@pytest.fixture
def local(fake):
    daemon = fake()
    path = LOCAL / f"{daemon.interface}.json"
    yield daemon, path
    path.unlink(missing_ok=True)


def test_the_local_file_is_kept_told_shown_and_cleared(local, run, tmp_path):
    daemon, path = local
    (tmp_path / "qos.json").write_text(json.dumps(POLICY))
    result = run("qos", "local", "set", daemon.interface, "qos.json")
    assert result.returncode == 0, result.stderr
    assert str(path) in result.stdout and "follows it now" in result.stdout
    assert json.loads(path.read_text()) == POLICY and path.stat().st_mode & 0o777 == 0o644
    assert [entry for entry in LOCAL.iterdir() if daemon.interface in entry.name] == [path]
    assert daemon.requests == ["set_qos=1\nlink=20000000 18\nweight=bulk 3\n\n"]
    shown = run("qos", "local", "show", daemon.interface)
    assert shown.returncode == 0 and json.loads(shown.stdout)["link"]["rate"] == 20_000_000
    # What is shown can be set.
    assert run("qos", "local", "set", daemon.interface, input=shown.stdout).returncode == 0
    assert daemon.requests[1] == daemon.requests[0]
    assert run("qos", "local", "clear", daemon.interface).returncode == 0
    assert not path.exists() and daemon.requests[-1] == "set_qos=1\n\n"
    missing = run("qos", "local", "show", daemon.interface)
    assert missing.returncode == 1 and "qos local set" in missing.stderr
    assert "there was no file" in run("qos", "local", "clear", daemon.interface).stdout


@pytest.mark.parametrize("text, said", [
    ("", ""), ("[]", ""), ("{", ""), ('{"linc": {}}', "linc"),
    ('{"link": {"rate": 0}}', "rate"), ('{"weights": {"control": 5}}', "control"),
    ('{"minimum_rate": 2000000, "maximum_rate": 1000000}', "maximum"),
    ('{"classify": "no"}', "classify"),
])
def test_a_local_file_that_is_refused_changes_nothing(local, run, text, said):
    daemon, path = local
    assert run("qos", "local", "set", daemon.interface,
               input=json.dumps(POLICY)).returncode == 0
    before, asked = path.read_text(), len(daemon.requests)
    result = run("qos", "local", "set", daemon.interface, input=text)
    assert result.returncode == 2 and said in result.stderr, result.stderr
    assert path.read_text() == before and len(daemon.requests) == asked


def test_a_local_file_waits_for_its_interface(local, run):
    daemon, path = local
    daemon.close()
    result = run("qos", "local", "set", daemon.interface, input=json.dumps(POLICY))
    assert result.returncode == 0
    assert "counts when" in result.stdout and path.exists()


def test_a_program_without_qos_does_not_follow_a_local_file(local, run):
    daemon, path = local
    daemon.knows_qos = False
    result = run("qos", "local", "set", daemon.interface, input=json.dumps(POLICY))
    assert "knows no QoS" in result.stdout and path.exists()


def test_local_files_have_names_of_interfaces(run):
    for command in ("show", "clear"):
        assert run("qos", "local", command, "../x").returncode == 2
    assert run("qos", "local", "set", "../x", input="{}").returncode == 2
