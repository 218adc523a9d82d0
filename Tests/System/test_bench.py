"""`branchline bench`: throughput and round trips through a tunnel to a node that allows it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from joined import branchline
from lab import branchlined, wait_until
from tunnel import make_tunnel

pytestmark = pytest.mark.branchline_only

PORT = 5210
MESSAGE_BYTES = 64
MAGIC = b"BLBENCH\n"
VERSION, GREETING, WELCOME, REFUSAL, REQUEST, STREAM, STARTED, PROBE, READY = \
    1, 1, 2, 3, 4, 5, 6, 9, 10
BUSY, BEYOND_LIMITS, STREAMS_MISSING, OTHER_VERSION = 1, 2, 3, 5
UNREACHABLE, REFUSED, IN_USE, MISMATCH, INTERRUPTED = 3, 4, 5, 6, 130


def message(kind: int, code: int = 0, milliseconds: int = 0, token: bytes = bytes(16),
            streams: int = 0, version: int = VERSION) -> bytes:
    return (MAGIC + bytes([version, kind, code, 0]) + milliseconds.to_bytes(4, "big") + token
            + bytes(24) + streams.to_bytes(2, "big") + bytes(6))


class Server:
    """`branchline bench --serve` at the other end of a tunnel."""

    def __init__(self, lab, end, *options: str):
        self.end, self.number = end, next(lab._names)
        self.output = lab.folder / f"serve-{self.number}.out"
        self.errors = lab.folder / f"serve-{self.number}.err"
        with open(self.output, "wb") as output, open(self.errors, "wb") as errors:
            self.process = end.namespace.popen(
                branchline(), "bench", "--serve", "--interface", end.daemon.name, *options,
                stdout=output, stderr=errors, stdin=subprocess.DEVNULL)
        lab.closing.callback(self.discard)
        wait_until(lambda: "tests are served" in self.log or self.process.poll() is not None, 10,
                   "the server listens")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        return self.errors.read_text()

    def end_with(self, number: int | None = signal.SIGINT) -> str:
        """Ends it with a signal, or waits for its own end; returns what it says then."""
        if number:
            self.process.send_signal(number)
        assert self.process.wait(60) == 0, self.log
        return self.output.read_text()

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def bench(end, *words: str, host: str | None = None):
    return end.namespace.run(
        branchline(), "bench", host or "10.77.0.2", *words, check=False, timeout=180)


@pytest.fixture
def tunnel(lab):
    made = make_tunnel(lab, branchlined(), branchlined())
    made.passes()
    return made


def connect(end, target: str = "10.77.0.2") -> socket.socket:
    made = end.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.connect((target, PORT))
    return made


def receive(connection: socket.socket) -> bytes:
    """Returns one message; what has come of it where the other side ends."""
    got = b""
    while len(got) < MESSAGE_BYTES:
        with contextlib.suppress(ConnectionResetError):
            piece = connection.recv(MESSAGE_BYTES - len(got))
            if piece:
                got += piece
                continue
        break
    return got


def welcomed(end) -> tuple[socket.socket, bytes]:
    """Returns a connection with a test of its own, and the test's token."""
    connection = connect(end)
    connection.sendall(message(GREETING))
    answer = receive(connection)
    assert answer[9] == WELCOME
    return connection, answer[16:32]


@pytest.mark.parametrize("profile, words", [
    ("wireguard", ("wireguard", "ChaCha20-Poly1305")),
    ("branchline-aes256gcm", ("branchline", "AES-256-GCM")),
])
def test_both_ways_are_measured(lab, profile, words):
    tunnel = make_tunnel(lab, branchlined(), branchlined(), profiles=(profile, profile))
    tunnel.passes()
    server = Server(lab, tunnel.other)
    done = bench(tunnel.subject, "--seconds", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["is_complete"] and report["interface"] == tunnel.subject.daemon.name
    assert report["address"] == "10.77.0.2" and report["port"] == PORT
    session = report["session"]
    assert (session["profile"], session["cipher"]) == words
    assert session["post_quantum"] == (words[0] == "branchline") and session["mtu"] == 1420
    for name in ("up", "down"):
        part = report[name]
        assert part["bytes"] > 0 and 0.1 < part["measured_seconds"] <= 2.001
        rate = part["bytes"] * 8 / part["measured_seconds"]
        assert part["bits_per_second"] == pytest.approx(rate)
        assert part["retransmissions"] >= 0
    for name in ("idle", "up", "down"):
        trips = report[name]["round_trip"]
        assert 0 < trips["probe_count"] <= 201
        assert trips["loss_share"] == pytest.approx(trips["lost_count"] / trips["probe_count"])
        assert 0 < trips["min_seconds"] <= trips["p50_seconds"] <= trips["p95_seconds"] \
            <= trips["p99_seconds"] <= trips["max_seconds"]
    said = server.end_with()
    assert "1 test, 0 turned away as busy, 0 connections" in said
    assert re.search(r"test by 10\.77\.0\.1: up, .*bit/s", server.log)


def test_people_get_a_table(lab, tunnel):
    Server(lab, tunnel.other, "--maximum-rate", "50M")
    done = bench(tunnel.subject, "--seconds", "1", "--streams", "4", host="fd77::2")
    assert done.returncode == 0, done.stderr
    assert "fd77::2" in done.stdout and "4 streams" in done.stdout
    assert "profile wireguard, ChaCha20-Poly1305" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [row[0] for row in rows if row[0] in ("idle", "up", "down")] == ["idle", "up", "down"]
    # No terminal, no live line.
    assert "\r" not in done.stderr and done.stderr == ""
    rates = [float(row[1]) for row in rows if row[0] in ("up", "down")]
    assert all("Mbit/s" in line for line in done.stdout.splitlines() if "up" in line.split()[:1])
    assert all(rate < 80 for rate in rates), done.stdout


@pytest.mark.parametrize("part, names", [
    ("latency", {"idle"}), ("up", {"up"}), ("down", {"down"})])
def test_one_part_alone(lab, tunnel, part, names):
    Server(lab, tunnel.other)
    done = bench(tunnel.subject, "--seconds", "1", "--only", part, "--json")
    assert done.returncode == 0, done.stderr
    assert {"idle", "up", "down"} & set(json.loads(done.stdout)) == names


def test_nothing_is_served_outside_the_tunnel(lab, tunnel):
    Server(lab, tunnel.other)
    for address in ("192.0.2.2", "10.77.0.2"):
        # 10.77.0.2 over the outer network: the server's machine would take it there, too.
        run = tunnel.subject.namespace
        if address == "10.77.0.2":
            run.configure("route replace 10.77.0.2/32 via 192.0.2.2 dev veth0")
        with run.socket(socket.AF_INET, socket.SOCK_STREAM) as outside:
            with pytest.raises(ConnectionRefusedError):
                outside.connect((address, PORT))
    done = bench(tunnel.subject, host="192.0.2.2")
    assert done.returncode == 1 and "is not behind a tunnel" in done.stderr
    assert "veth0" in done.stderr
    done = bench(tunnel.subject, host="192.0.2.1")
    assert done.returncode == 2 and "this machine's own" in done.stderr


def test_without_a_server_it_says_what_to_run(tunnel):
    done = bench(tunnel.subject)
    assert done.returncode == REFUSED and "branchline bench --serve" in done.stderr
    assert done.stdout == ""


def test_a_node_that_has_gone_is_not_reachable(tunnel):
    tunnel.other.daemon.end(signal.SIGKILL)
    done = bench(tunnel.subject)
    assert done.returncode == UNREACHABLE and "does not answer" in done.stderr


def test_a_second_client_is_told_that_it_is_busy(lab, tunnel):
    server = Server(lab, tunnel.other)
    first, _ = welcomed(tunnel.subject)
    with first:
        done = bench(tunnel.subject)
        assert done.returncode == IN_USE and "busy" in done.stderr
    # The first has gone: the next may.
    def is_free():
        return bench(tunnel.subject, "--seconds", "1", "--only", "latency").returncode == 0
    wait_until(is_free, 20, "the server serves the next")
    assert " turned away as busy" in server.end_with(signal.SIGTERM)


def test_garbage_is_closed_and_counted(lab, tunnel):
    server = Server(lab, tunnel.other)
    garbage = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64), os.urandom(MESSAGE_BYTES), bytes(4096),
        message(99), message(STREAM), message(STREAM, token=os.urandom(16)),
        message(REQUEST, 1, 1000, streams=1), message(GREETING, streams=7),
    ]
    for piece in garbage:
        with connect(tunnel.subject) as connection:
            connection.sendall(piece)
            assert receive(connection) == b""
    with connect(tunnel.subject) as connection:
        connection.sendall(message(GREETING, version=9))
        answer = receive(connection)
        assert answer[8:11] == bytes([VERSION, REFUSAL, OTHER_VERSION])
    # Half a greeting, and many that say nothing, keep nobody out.
    silent = [connect(tunnel.subject) for _ in range(40)]
    for connection in silent[:20]:
        with contextlib.suppress(OSError):
            connection.send(message(GREETING)[:30])
    assert bench(tunnel.subject, "--seconds", "1", "--only", "up").returncode == 0
    for connection in silent:
        connection.close()
    said = server.end_with()
    assert "1 test, 0 turned away" in said
    assert int(re.search(r"(\d+) connections that spoke no test", said)[1]) >= len(garbage) + 1


def test_a_client_that_misbehaves_ends_its_own_test_only(lab, tunnel):
    server = Server(lab, tunnel.other)
    for words, refusal in [
            (message(REQUEST, 1, 1000, streams=65535), BEYOND_LIMITS),
            (message(REQUEST, 1, 1000, streams=0), BEYOND_LIMITS),
            (message(REQUEST, 1, 2**32 - 1, streams=1), BEYOND_LIMITS),
            (message(REQUEST, 2, 0, streams=1), BEYOND_LIMITS),
            (message(REQUEST, 2, 1000, streams=2), STREAMS_MISSING),
            (os.urandom(MESSAGE_BYTES), None), (b"x" * 200, None)]:
        connection, token = wait_until(lambda: try_welcome(tunnel.subject), 20, "a test begins")
        with connection:
            connection.sendall(words)
            answer = receive(connection)
            if refusal == STREAMS_MISSING:
                assert answer == message(READY)
                answer = receive(connection)
            if refusal:
                assert answer[9:11] == bytes([REFUSAL, refusal])
            else:
                assert answer == b""
    # Streams beyond those asked for, and those of another test, are nobody's.
    connection, token = wait_until(lambda: try_welcome(tunnel.subject), 20, "a test begins")
    with connection, connect(tunnel.subject) as early:
        early.sendall(message(STREAM, token=token))
        assert receive(early) == b""
        connection.sendall(message(REQUEST, 1, 1000, streams=1))
        assert receive(connection) == message(READY)
        with connect(tunnel.subject) as stream:
            stream.sendall(message(STREAM, token=token))
            assert receive(connection)[9] == STARTED
            with connect(tunnel.subject) as surplus:
                surplus.sendall(message(STREAM, token=token))
                assert receive(surplus) == b""
    wait_until(lambda: bench(tunnel.subject, "--seconds", "1", "--only", "down").returncode == 0,
               20, "the server serves the next")
    server.end_with()


def try_welcome(end):
    connection = connect(end)
    connection.sendall(message(GREETING))
    answer = receive(connection)
    if len(answer) == MESSAGE_BYTES and answer[9] == WELCOME:
        return connection, answer[16:32]
    connection.close()
    return None


def test_probes_of_strangers_are_not_sent_back(lab, tunnel):
    server = Server(lab, tunnel.other)
    probe = message(PROBE)
    with tunnel.subject.bind() as client:
        client.settimeout(0.5)
        connection, token = welcomed(tunnel.subject)
        with connection:
            own = message(PROBE, token=token)
            for piece in (probe, message(PROBE, token=os.urandom(16)), own + b"x", own[:63], b"",
                          message(GREETING)):
                client.sendto(piece, ("10.77.0.2", PORT))
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(30)
            client.sendto(message(PROBE, token=token), ("10.77.0.2", PORT))
            assert client.recv(100) == message(PROBE, token=token)
    server.end_with()


@pytest.mark.parametrize("answer, code, words", [
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" * 2, MISMATCH, "is no `branchline bench"),
    (message(WELCOME, version=2), MISMATCH, "speaks version 2"),
    (message(STARTED), MISMATCH, "is no `branchline bench"),
    (message(REFUSAL, BUSY), IN_USE, "busy"),
    (message(REFUSAL, OTHER_VERSION, version=7), MISMATCH, "speaks version 7"),
    (b"", 1, "ended the test"),
    (b"BLB", MISMATCH, "is no `branchline bench"),
], ids=["SSH", "welcome 2", "out of turn", "busy", "refusal 7", "nothing", "cut off"])
def test_a_client_that_is_fed_garbage_says_so(tunnel, answer, code, words):
    with tunnel.other.bind(kind=socket.SOCK_STREAM, port=PORT) as listener:
        listener.listen()
        client = tunnel.subject.namespace.popen(
            branchline(), "bench", "10.77.0.2", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            assert receive(connection) == message(GREETING)
            connection.sendall(answer)
            with contextlib.suppress(OSError):  # where the client has seen enough
                connection.shutdown(socket.SHUT_WR)
            output, errors = client.communicate(timeout=90)
    assert client.returncode == code and output == ""
    assert words in errors, errors


def test_a_server_without_a_word_is_given_up(tunnel):
    with tunnel.other.bind(kind=socket.SOCK_STREAM, port=PORT) as listener:
        listener.listen()
        done = bench(tunnel.subject)
        assert done.returncode == UNREACHABLE and "stopped to answer" in done.stderr


def test_time_is_limited(lab, tunnel):
    server = Server(lab, tunnel.other, "--for", "10s")
    done = bench(tunnel.subject, "--seconds", "30", "--only", "up", "--json")
    assert done.returncode == 1 and "ended the test" in done.stderr
    report = json.loads(done.stdout)
    assert not report["is_complete"] and report["up"]["bytes"] > 0
    assert "its time is over: 1 test," in server.end_with(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("part", ["up", "down"])
def test_what_was_measured_is_printed_at_an_interruption(lab, tunnel, part, number):
    Server(lab, tunnel.other)
    client = tunnel.subject.namespace.popen(
        branchline(), "bench", "10.77.0.2", "--seconds", "60", "--only", part, "--json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    before = tunnel.other.daemon.received_bytes(tunnel.subject.key.public)
    sent = int(tunnel.other.daemon.peer(tunnel.subject.key.public)["tx_bytes"][0])

    def flows():
        peer = tunnel.other.daemon.peer(tunnel.subject.key.public)
        return (int(peer["rx_bytes"][0]) - before > 10_000_000
                or int(peer["tx_bytes"][0]) - sent > 10_000_000)

    wait_until(flows, 45, "bytes flow")
    time.sleep(3)  # until the server has told how far it is
    client.send_signal(number)
    output, errors = client.communicate(timeout=90)
    assert client.returncode == INTERRUPTED and "interrupted" in errors
    report = json.loads(output)
    assert not report["is_complete"]
    assert report[part]["bytes"] > 0 and 0 < report[part]["measured_seconds"] < 60
    assert report[part]["round_trip"]["probe_count"] > 0


def test_a_terminal_gets_a_live_line(lab, tunnel):
    Server(lab, tunnel.other)
    master, slave = os.openpty()
    client = tunnel.subject.namespace.popen(
        branchline(), "bench", "10.77.0.2", "--seconds", "1", stdout=subprocess.PIPE,
        stderr=slave, text=True)
    os.close(slave)
    assert client.communicate(timeout=90)[0].startswith("10.77.0.2 by ")
    assert client.returncode == 0
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert "\r\033[Kup  " in shown and "of 1 s" in shown and "bit/s" in shown
    assert shown.endswith("\r\033[K")


def test_a_deleted_interface_ends_the_server(lab, tunnel):
    server = Server(lab, tunnel.other)
    tunnel.other.daemon.end()
    assert server.process.wait(60) == 1
    assert "has gone" in server.log


def test_two_servers_do_not_share_a_port(lab, tunnel):
    Server(lab, tunnel.other)
    done = tunnel.other.namespace.run(branchline(), "bench", "--serve", check=False)
    assert done.returncode != 0 and "5210" in done.stderr
