"""Edits: no lost update, policies whose tests block them, and the record of who did what."""

import json
import subprocess
import threading

import pytest
from coordinator import client, program

OPEN = {"rules": [{"name": "chat", "from": ["staff"], "to": ["models"], "transport": "tcp",
                   "ports": ["443", "8000-8100"]}], "tests": []}


def check(source, target, port, allowed, transport="tcp"):
    """Returns a policy test."""
    return {"from": source, "to": target, "transport": transport, "port": port, "allowed": allowed}


@pytest.fixture
def grouped(founded):
    """A tenant with two groups."""
    for name in ("staff", "models"):
        founded.call("POST", "/v1/tenants/acme/groups", {"name": name}).ok()
    return founded


def put(coordinator, policy, revision, path="/v1/tenants/acme/policy"):
    """Replaces a policy."""
    headers = {} if revision is None else {"If-Match": revision}
    return coordinator.call("PUT", path, policy, headers=headers)


def test_an_edit_names_what_it_changes(grouped):
    path = "/v1/tenants/acme/policy"
    first = grouped.call("GET", path)
    assert put(grouped, OPEN, None).reason == "revision_required"
    assert put(grouped, OPEN, first.etag).status < 300
    second = grouped.call("GET", path)
    assert second.etag != first.etag and second.ok()["rules"] == OPEN["rules"]
    stale = put(grouped, {"rules": [], "tests": []}, first.etag)
    assert (stale.status, stale.reason) == (412, "revision_mismatch")
    assert grouped.call("GET", path).ok()["rules"] == OPEN["rules"]
    for bad in ('"x"', "7", 'W/"1"', '"99999999999999999999999"', "*x"):
        assert put(grouped, OPEN, bad).status in (400, 412)


def test_of_many_edits_of_one_state_one_wins(grouped):
    etag = grouped.call("GET", "/v1/tenants/acme/policy").etag
    statuses = []

    def edit(number):
        rule = {**OPEN["rules"][0], "name": f"rule-{number}"}
        statuses.append(put(grouped, {"rules": [rule], "tests": []}, etag).status)

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(statuses)) in ([200, 412], [204, 412])
    assert sum(status < 300 for status in statuses) == 1


def test_a_policy_whose_tests_fail_does_not_take_effect(grouped):
    etag = grouped.call("GET", "/v1/tenants/acme/policy").etag
    good = {**OPEN, "tests": [check("staff", "models", 443, True),
                              check("staff", "models", 22, False),
                              check("models", "staff", 443, False),
                              check("staff", "models", 8100, True),
                              check("staff", "models", 8101, False),
                              check("staff", "models", 443, False, "udp")]}
    etag = put(grouped, good, etag).etag or grouped.call("GET", "/v1/tenants/acme/policy").etag
    wider = {"rules": [{**OPEN["rules"][0], "ports": []}], "tests": good["tests"]}
    answer = put(grouped, wider, etag)
    assert (answer.status, answer.reason) == (422, "policy_tests_failed")
    assert len(answer.json["failures"]) == 2 and "22" in "".join(answer.json["failures"])
    assert grouped.call("GET", "/v1/tenants/acme/policy").ok()["rules"] == OPEN["rules"]
    tried = grouped.call("POST", "/v1/tenants/acme/policy/test", wider)
    assert tried.status in (200, 422)


@pytest.mark.parametrize("rule", [
    {"from": ["nobody"]}, {"to": []}, {"transport": "sctp"}, {"ports": ["0"]}, {"ports": ["70000"]},
    {"ports": ["9-1"]}, {"ports": ["x"]}, {"name": ""}, {"from": "staff"}])
def test_rules_that_mean_nothing_are_refused(grouped, rule):
    etag = grouped.call("GET", "/v1/tenants/acme/policy").etag
    answer = put(grouped, {"rules": [{**OPEN["rules"][0], **rule}], "tests": []}, etag)
    assert answer.status in (400, 422), answer


def test_a_group_in_use_stays(grouped):
    etag = grouped.call("GET", "/v1/tenants/acme/policy").etag
    put(grouped, OPEN, etag)
    assert grouped.call("DELETE", "/v1/tenants/acme/groups/staff").reason == "in_use"
    grouped.join(groups=["models"])
    etag = grouped.call("GET", "/v1/tenants/acme/policy").etag
    put(grouped, {"rules": [], "tests": []}, etag)
    assert grouped.call("DELETE", "/v1/tenants/acme/groups/models").reason == "in_use"
    assert grouped.call("DELETE", "/v1/tenants/acme/groups/staff").status < 300


def test_a_tenant_with_nodes_stays(founded):
    founded.join()
    etag = founded.call("GET", "/v1/tenants/acme").etag
    answer = founded.call("DELETE", "/v1/tenants/acme", headers={"If-Match": etag})
    assert answer.reason == "in_use"


def test_pools_of_one_tenant_do_not_overlap(founded):
    answer = founded.call("POST", "/v1/tenants/acme/pools", {"prefix": "10.64.8.0/24"})
    assert answer.reason == "pool_overlap"
    founded.call("POST", "/v1/tenants/acme/pools", {"prefix": "10.65.0.0/24"}).ok()
    assert founded.call("DELETE", "/v1/tenants/acme/pools/10.65.0.0/24").status < 300
    founded.join()
    assert founded.call("DELETE", "/v1/tenants/acme/pools/10.64.0.0/16").reason == "in_use"


def test_every_change_is_in_the_log_and_the_log_is_a_chain(grouped, tmp_path):
    node = grouped.join()
    grouped.revoke(node).ok()
    entries = grouped.audit()
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
    actions = [entry["action"] for entry in entries]
    for word in ("organisation", "tenant", "group", "token", "enrol", "revo"):
        assert any(word in action for action in actions), (word, actions)
    assert all(a["hash"] == b["previous"] for a, b in zip(entries, entries[1:]))
    assert node.secret not in json.dumps(entries)

    def verify(lines):
        file = tmp_path / "audit.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return subprocess.run(
            [client(), "audit", "verify", str(file)],
            capture_output=True, text=True).returncode

    assert verify(entries) == 0
    edited = [dict(entry) for entry in entries]
    edited[2]["subject"] = "somebody else"
    assert verify(edited) == 1
    assert verify(entries[:2] + entries[3:]) == 1
    assert verify(entries[:1] + [entries[2], entries[1]] + entries[3:]) == 1


@pytest.mark.sqlite_only
def test_the_program_checks_its_own_store(grouped):
    grouped.join()
    done = subprocess.run([program(), "check", "--state", str(grouped.folder / "state")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
