"""The timers of the WireGuard paper, section 6, in real time.

All of these are `long`: they run in threads beside the other tests, so that together they cost
as much as the longest, some 190 s.
"""

import time

import pytest

from bench import ARRIVAL_SECONDS, PEER_INNER, Bench, session_of
from pairs import CORE
from traffic import SequenceFlow
from tunnel import wait_for_handshake
from wiretap import DATA, INITIATION, KEEPALIVE_BYTES, RESPONSE, Wiretap

pytestmark = pytest.mark.long

REKEY_AFTER, REJECT_AFTER, REKEY_TIMEOUT, JITTER, KEEPALIVE = 120, 180, 5, 0.334, 10
# How early a timer may seem, and how late a busy machine may make it.
SLACK, LATE = 1.5, 4.5


@pytest.mark.parametrize("pair", CORE, ids=str)
def test_session_is_renewed_after_two_minutes_without_loss(lab, pair):
    tunnel = pair.build(lab)
    starter = tunnel.subject if pair.initiator == "subject" else tunnel.other
    target = tunnel.opposite(starter)
    with Wiretap(target.namespace) as tap:
        tunnel.passes(starter)
        first = wait_for_handshake(starter, target)
        flows = [SequenceFlow(starter, target, 20), SequenceFlow(target, starter, 20)]
        second = wait_for_handshake(starter, target, after=first + 1, seconds=REKEY_AFTER + 10)
        assert REKEY_AFTER - SLACK < second - first < REKEY_AFTER + LATE, second - first
        time.sleep(5)
        for flow in flows:
            assert flow.finish() == (0, 0, 0), "lost, repeated, out of order"
        assert len(tap.messages(INITIATION)) == 2 and len(tap.messages(RESPONSE)) == 2
        indices = {m.payload[4:8] for m in tap.messages(DATA, source=starter.outer())}
        assert len(indices) == 2, "the new session is not used"


def test_data_is_acknowledged_by_a_keepalive_after_ten_seconds(lab):
    bench = Bench(lab)
    began = time.monotonic()
    session = session_of(bench)
    sent = time.monotonic()
    keepalive = bench.peer.receive(KEEPALIVE + 10, DATA)
    assert keepalive and len(keepalive[0]) == KEEPALIVE_BYTES
    assert session.open(keepalive[0]) == b""
    now = time.monotonic()
    assert KEEPALIVE - SLACK < now - began and now - sent < KEEPALIVE + LATE
    # A keepalive is not data: it is not answered by another.
    bench.peer.send(session.seal(b""))
    assert bench.peer.receive(KEEPALIVE + 4, DATA) is None, "keepalives answer keepalives"


def test_silence_after_data_brings_a_new_handshake_after_fifteen_seconds(lab):
    bench = Bench(lab)
    session = session_of(bench)
    began = time.monotonic()
    bench.outgoing(session, b"anyone?")
    sent = time.monotonic()
    assert bench.peer.receive(KEEPALIVE + REKEY_TIMEOUT + 10, INITIATION)
    now = time.monotonic()
    assert KEEPALIVE + REKEY_TIMEOUT - SLACK < now - began
    assert now - sent < KEEPALIVE + REKEY_TIMEOUT + LATE


def test_initiation_is_repeated_with_jitter_and_given_up_after_ninety_seconds(lab):
    bench = Bench(lab, is_initiator=False)
    with bench.end.bind() as client, Wiretap(bench.peer.namespace) as tap:
        client.sendto(b"x", (PEER_INNER, 9))
        indices = []
        while initiation := bench.peer.receive(14, INITIATION):
            indices.append(initiation[0][4:8])
            assert len(indices) < 25, "never gives up"
        # The kernel's times, whenever this thread comes to read.
        times = [m.at for m in tap.messages(INITIATION, source=bench.end.outer())]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert all(REKEY_TIMEOUT - 0.2 < gap < REKEY_TIMEOUT + JITTER + LATE for gap in gaps), gaps
        assert max(gaps) - min(gaps) > 0.02, "no jitter"
        assert 14 <= len(times) <= 21, len(times)
        assert len(set(indices)) == len(indices), "an index was used twice"
        # A new packet starts over.
        client.sendto(b"y", (PEER_INNER, 9))
        assert bench.peer.receive(ARRIVAL_SECONDS, INITIATION)


def test_session_dies_after_three_minutes(lab):
    """Neither side may use keys older than REJECT_AFTER_TIME, for sending or receiving."""
    bench = Bench(lab)
    session = bench.peer.shake()
    began = time.monotonic()
    assert bench.delivers(session.seal(bench.inner(b"first")), b"first")
    while (left := began + REJECT_AFTER - 12 - time.monotonic()) > 0:
        time.sleep(min(left, 4))
        bench.peer.send(session.seal(b""))
    assert bench.delivers(session.seal(bench.inner(b"aged")), b"aged")
    time.sleep(max(0, began + REJECT_AFTER + 2 - time.monotonic()))
    while bench.peer.receive(0.1):  # The keepalive that acknowledged it in time.
        pass
    assert bench.withholds(session.seal(bench.inner(b"dead")), b"dead")
    with bench.end.bind() as client:
        client.sendto(b"to whom", (PEER_INNER, 9))
        kinds = []
        while message := bench.peer.receive(4):
            kinds.append(message[0][0])
    assert DATA not in kinds, "data left under a dead key"
    assert INITIATION in kinds, "no new handshake"


def test_initiator_asks_for_new_keys_at_two_minutes_and_sends_on(lab):
    """Not answered, it goes on with the old session until that dies."""
    bench = Bench(lab, is_initiator=False)
    with bench.end.bind() as client:
        client.sendto(b"x", (PEER_INNER, 9))
        initiation, _ = bench.peer.receive(ARRIVAL_SECONDS, INITIATION)
        response, session = bench.peer.answer(initiation)
        began = time.monotonic()
        bench.peer.send(response)
        assert bench.peer.receive(ARRIVAL_SECONDS, DATA)
        while time.monotonic() - began < REKEY_AFTER - 8:
            client.sendto(b"steady", (PEER_INNER, 9))
            bench.peer.send(session.seal(b""))
            time.sleep(3)
            while message := bench.peer.receive(0.01):
                assert message[0][0] == DATA, "asked too early"
        time.sleep(max(0, began + REKEY_AFTER + 2 - time.monotonic()))
        client.sendto(b"late", (PEER_INNER, 9))
        messages = [bench.peer.receive(ARRIVAL_SECONDS)[0] for _ in range(2)]
    assert {m[0] for m in messages} == {DATA, INITIATION}
    data = next(m for m in messages if m[0] == DATA)
    assert b"late" in session.open(data)
