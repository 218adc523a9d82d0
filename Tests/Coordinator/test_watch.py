"""Watch streams: numbered changes, resumption, full states, and replicas that come and go."""

import threading
import time

import pytest
from coordinator import Node

EMPTY = {"rules": [], "tests": []}
# Less than the hub takes to look by itself (WatchHub.recheckInterval, 15 s).
CHANGE_SECONDS_MAX = 10


def change_policy(coordinator, tenant="acme"):
    """Changes something that concerns every node."""
    path = f"/v1/tenants/{tenant}/policy"
    etag = coordinator.call("GET", path).etag
    return coordinator.call("PUT", path, EMPTY, headers={"If-Match": etag}).ok()


def test_a_gateway_sees_nodes_come_and_go(founded):
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    state = watch.next()
    assert state["kind"] == "state" and state["state"]["own"] == gateway.chain
    assert state["state"]["peers"] == []
    branch = founded.join()
    joined = watch.until(lambda e: (e.get("change") or {}).get("peer"))
    assert joined["change"]["peer"]["chain"] == branch.chain
    assert joined["number"] > state["number"]
    began = time.monotonic()
    founded.revoke(branch).ok()
    seen = [watch.next(), watch.next()]
    assert time.monotonic() - began < CHANGE_SECONDS_MAX
    changes = {key for event in seen for key in event["change"]}
    assert changes == {"revocations", "peer_removed"}


def test_a_branch_sees_gateways_only(founded):
    branch, other = founded.join(), founded.join()
    watch = founded.watch(branch)
    assert watch.next()["state"]["peers"] == []
    founded.join()
    gateway = founded.join(role="gateway")
    event = watch.next()
    assert event["change"]["peer"]["chain"] == gateway.chain
    assert event["change"]["peer"]["endpoint"] == gateway.endpoint
    founded.revoke(other).ok()
    assert "revocations" in watch.next()["change"]


def test_a_tenant_sees_nothing_of_another(founded):
    founded.add_tenant("beta", ["10.64.0.0/16"])
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    watch.next()
    founded.join("beta")
    founded.join("beta", role="gateway")
    change_policy(founded, "beta")
    mine = founded.join()
    assert watch.next()["change"]["peer"]["node"] == mine.key.text


def test_a_stream_resumes_where_it_was(founded):
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    last = watch.next()["number"]
    watch.close()
    nodes = [founded.join() for _ in range(5)]
    watch = founded.watch(gateway, since=last)
    events = [watch.next() for _ in nodes]
    assert [event["kind"] for event in events] == ["change"] * 5
    assert [event["change"]["peer"]["node"] for event in events] == \
        [node.key.text for node in nodes]
    numbers = [event["number"] for event in events]
    assert numbers == sorted(set(numbers)) and numbers[0] > last
    watch.close()
    watch = founded.watch(gateway, since=numbers[2])
    assert [watch.next()["number"] for _ in range(2)] == numbers[3:]


@pytest.mark.parametrize("since", [10**9, 9007199254740991])
def test_a_number_from_nowhere_gets_the_full_state(founded, since):
    gateway = founded.join(role="gateway")
    assert founded.watch(gateway, since=since).next()["kind"] == "state"


@pytest.mark.parametrize("since", ["-1", "x", "1e3", "99999999999999999999"])
def test_a_number_that_is_none_is_refused(founded, since):
    gateway = founded.join(role="gateway")
    answer = founded.call("GET", f"/v1/self/watch?since={since}", token=gateway.secret)
    assert answer.status in (400, 422)


def test_changes_are_complete_and_in_order_under_load(founded):
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    watch.next()
    nodes = []
    threads = [threading.Thread(target=lambda: nodes.append(founded.join())) for _ in range(30)]
    for thread in threads:
        thread.start()
    seen, numbers = set(), []
    while len(seen) < 30:
        event = watch.until(lambda e: (e.get("change") or {}).get("peer"))
        seen.add(event["change"]["peer"]["node"])
        numbers.append(event["number"])
    for thread in threads:
        thread.join()
    assert seen == {node.key.text for node in nodes}
    assert numbers == sorted(set(numbers))


def test_heartbeats_tell_the_newest_number(founded):
    branch = founded.join()
    watch = founded.watch(branch)
    number = watch.next()["number"]
    founded.join()  # Concerns gateways only.
    event = watch.next(heartbeats=True)
    while event["number"] <= number:
        event = watch.next(heartbeats=True)
    assert event["kind"] == "heartbeat"


def test_a_revoked_node_learns_of_it_and_is_shut_out(founded):
    branch = founded.join()
    watch = founded.watch(branch)
    watch.next()
    founded.revoke(branch).ok()
    event = watch.next()
    assert event["change"].get("revocations")
    while watch.next(heartbeats=True) is not None:
        pass
    answer = founded.call("GET", "/v1/self/watch", token=branch.secret)
    assert answer.status in (401, 403), answer
    assert answer.reason in ("node_revoked", "unauthenticated")


def test_a_coordinator_that_ends_says_goodbye(founded):
    branch = founded.join()
    watch = founded.watch(branch)
    watch.next()
    stopping = threading.Thread(target=founded.stop)
    stopping.start()
    events = []
    while (event := watch.next(heartbeats=True)) is not None:
        events.append(event["kind"])
    stopping.join()
    assert events[-1:] == ["bye"]
    assert founded.process.returncode == 0


def test_a_reader_that_does_not_read_keeps_nobody_waiting(founded):
    gateways = [founded.join(role="gateway") for _ in range(3)]
    lazy = founded.watch(gateways[0])
    lazy.next()
    keen = founded.watch(gateways[1])
    keen.next()
    for _ in range(40):
        founded.join()
    began = time.monotonic()
    node = founded.join()
    keen.until(lambda e: ((e.get("change") or {}).get("peer") or {}).get("node") == node.key.text)
    assert time.monotonic() - began < CHANGE_SECONDS_MAX


# Replicas on one PostgreSQL


@pytest.fixture
def replicas(make):
    """Two coordinators on one database, the first founded."""
    first = make().start().found()
    first.add_tenant()
    second = make().start()
    second.owner, second.organisation = first.owner, first.organisation
    return first, second


@pytest.mark.postgresql_only
def test_a_change_at_one_replica_reaches_watchers_of_the_other(replicas):
    first, second = replicas
    gateway = first.join(role="gateway")
    watch = second.watch(gateway)
    watch.next()
    began = time.monotonic()
    branch = first.join()
    assert watch.next()["change"]["peer"]["node"] == branch.key.text
    assert time.monotonic() - began < CHANGE_SECONDS_MAX
    second.revoke(branch).ok()
    assert first.call("GET", f"/v1/tenants/acme/nodes/{branch.key.text}").ok()["state"] == "revoked"


@pytest.mark.postgresql_only
def test_killing_a_replica_loses_nothing(replicas):
    first, second = replicas
    gateway = first.join(role="gateway")
    watch = first.watch(gateway)
    last = watch.next()["number"]
    done, errors = [], []

    def work():
        for _ in range(20):
            try:
                done.append(second.join())
            except AssertionError as error:
                errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    seen = []
    for _ in range(3):
        event = watch.next()
        seen.append(event["change"]["peer"]["node"])
        last = event["number"]
    first.kill()
    watch = second.watch(gateway, since=last)
    worker.join()
    assert not errors
    while len(seen) < len(done):
        event = watch.until(lambda e: (e.get("change") or {}).get("peer"))
        assert event["number"] > last
        last = event["number"]
        seen.append(event["change"]["peer"]["node"])
    assert set(seen) == {node.key.text for node in done} and len(seen) == len(set(seen))


@pytest.mark.postgresql_only
def test_of_two_replicas_that_are_asked_at_once_one_uses_up_a_token(replicas):
    first, second = replicas
    for _ in range(5):
        token = first.add_token()
        nodes = [Node(), Node()]
        statuses = [None, None]

        def enrol(index, replica):
            chain = token.join(nodes[index].key, nodes[index].public_key)
            statuses[index] = replica.enrol(nodes[index], chain).status

        threads = [threading.Thread(target=enrol, args=(i, r)) for i, r in enumerate(replicas)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status < 300 for status in statuses) == [False, True]
