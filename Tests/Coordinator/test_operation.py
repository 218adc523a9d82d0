"""What whoever runs a coordinator does on its machine, and what he reads when it does not work."""

import signal
import socket
import sqlite3
import subprocess
import time

import pytest
from coordinator import Node, program


def run(*arguments, coordinator=None, stdin=subprocess.DEVNULL):
    """Runs the program on a coordinator's state and storage."""
    more = []
    if coordinator:
        more += ["--state", str(coordinator.folder / "state")]
        if coordinator.database:
            more += ["--storage", "postgresql", "--postgresql", coordinator.database]
    return subprocess.run([program(), *map(str, arguments), *more], stdin=stdin,
                          capture_output=True, text=True, timeout=180)


def test_a_lost_owner_gets_a_token_while_the_coordinator_serves(founded):
    made = run("owner-token", "--name", "rescue", coordinator=founded)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("bla_") and secret not in made.stderr
    assert founded.call("GET", "/v1/me", token=secret).ok()["role"] == "owner"
    entry = founded.audit()[-1]
    assert (entry["action"], entry["actor"]) == ("api-token.create", "coordinator")


def test_no_owner_token_without_an_organisation(empty):
    made = run("owner-token", coordinator=empty)
    assert made.returncode == 3 and "admin init" in made.stderr, made.stderr


def test_the_last_owner_token_stays(founded):
    listed = founded.call("GET", "/v1/api-tokens").ok()["items"]
    answer = founded.call("DELETE", f"/v1/api-tokens/{listed[0]['id']}")
    assert answer.status == 409 and answer.reason == "in_use"
    assert founded.call("GET", "/v1/me").status == 200


@pytest.mark.sqlite_only
def test_one_coordinator_serves_from_a_state_folder(founded):
    second = run("serve", "--listen", "127.0.0.1:0", coordinator=founded)
    assert second.returncode == 4, second.stderr
    assert f"process {founded.process.pid}" in second.stderr and "--state" in second.stderr
    founded.kill()
    founded.start()


@pytest.mark.sqlite_only
def test_a_backup_is_restored_and_the_old_database_is_kept(founded, tmp_path):
    copy = tmp_path / "copy.sqlite"
    assert run("backup", copy, coordinator=founded).returncode == 0
    founded.add_tenant("later", ["10.99.0.0/16"])
    refused = run("restore", copy, "--yes", coordinator=founded)
    assert refused.returncode == 4 and "stop it first" in refused.stderr, refused.stderr
    founded.kill()
    asked = run("restore", copy, coordinator=founded)
    assert asked.returncode == 4 and "--yes" in asked.stderr
    copy.chmod(0o644)
    before = copy.read_bytes()
    done = run("restore", copy, "--yes", coordinator=founded)
    assert done.returncode == 0, done.stderr
    assert copy.read_bytes() == before
    state = founded.folder / "state"
    assert (state / "coordinator.sqlite").stat().st_mode & 0o777 == 0o600
    kept = [file for file in state.iterdir() if file.name.endswith(".replaced")]
    assert len(kept) == 1
    # With the log beside it, nothing of what a killed process wrote is lost.
    with sqlite3.connect(kept[0]) as old:
        assert ("later",) in old.execute("SELECT name FROM tenants").fetchall()
    founded.start()
    names = [tenant["name"] for tenant in founded.call("GET", "/v1/tenants").ok()["items"]]
    assert names == ["acme"]


@pytest.mark.sqlite_only
def test_what_is_no_backup_is_not_restored(founded, tmp_path):
    copy = tmp_path / "copy.sqlite"
    assert run("backup", copy, coordinator=founded).returncode == 0
    founded.stop()
    changed = tmp_path / "changed.sqlite"
    changed.write_bytes(copy.read_bytes())
    with sqlite3.connect(changed) as database:
        database.execute("UPDATE audit_entries SET actor = 'nobody' WHERE number = 1")
    database.close()
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(b"not a database" * 1000)
    nothing = tmp_path / "nothing.sqlite"
    nothing.touch()
    for file in (changed, garbage, nothing, tmp_path / "missing"):
        done = run("restore", file, "--yes", coordinator=founded)
        assert done.returncode in (3, 4), (file, done)
        assert str(file) in done.stderr
    left = {file.name for file in (founded.folder / "state").iterdir()}
    assert not [name for name in left if "restore" in name or "replaced" in name]
    founded.start()
    assert founded.call("GET", "/v1/tenants").ok()["items"][0]["name"] == "acme"


def test_it_says_goodbye_and_stops_at_once(founded):
    gateway = founded.join(role="gateway")
    watches = [founded.watch(founded.join()) for _ in range(4)] + [founded.watch(gateway)]
    for watch in watches:
        watch.next()
    began = time.monotonic()
    founded.process.send_signal(signal.SIGTERM)
    for watch in watches:
        assert watch.until(lambda event: event["kind"] == "bye")
        assert watch.next() is None
    founded.process.wait(60)
    # Streams that were not ended would be waited for as long as they go on.
    assert time.monotonic() - began < 20
    assert "stopping" in founded.words()


def test_a_busy_port_is_named(founded):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        founded.stop()
        done = run("serve", "--listen", f"127.0.0.1:{port}", coordinator=founded)
    assert done.returncode == 4, done
    assert f"127.0.0.1:{port}" in done.stderr and "--listen" in done.stderr
    assert "bind(" not in done.stderr


def test_a_folder_that_cannot_be_made_is_named():
    done = run("serve", "--state", "/proc/x", "--listen", "127.0.0.1:0")
    assert done.returncode == 4, done
    assert "/proc/x" in done.stderr and "--state" in done.stderr
    assert "Cocoa" not in done.stderr and "NSUnderlying" not in done.stderr


def report(coordinator, node, **more):
    """Reports as a node."""
    return coordinator.call("POST", "/v1/self/report", {
        "applied_number": 1, "tenant_revocations": 0, "organisation_revocations": 0,
        "refusals": {}, **more}, token=node.secret)


def test_a_list_that_nodes_are_ahead_of_is_refused(founded):
    node = founded.join()
    # Before the coordinator began: what a restored backup does not know.
    newest = int(time.time()) - 50
    report(founded, node, tenant_revocations=newest,
           refusals={"revocationListBackwards": 2}).ok()
    shown = founded.call("GET", f"/v1/tenants/acme/nodes/{node.key.text}").ok()
    assert shown["newest_revocations"] == newest
    assert shown["refusals"] == {"revocationListBackwards": 2}
    refused = founded.revoke(node)
    assert refused.status == 409 and refused.reason == "revocations_behind"
    assert str(newest) in refused.json["detail"]
    chain = founded.organisation.revocations([], "acme", number=newest)
    founded.call("PUT", "/v1/tenants/acme/revocations", {"chain": chain},
                 headers={"If-Match": '"0"'}).ok()
    founded.revoke(node).ok()


def test_a_taken_name_is_given_with_a_number(founded):
    nodes = []
    for _ in range(3):
        token = founded.add_token()
        node = Node()
        node.name = "plant"
        founded.enrol(node, token.join(node.key, node.public_key)).ok()
        nodes.append(founded.call("GET", f"/v1/tenants/acme/nodes/{node.key.text}"))
    assert [node.ok()["name"] for node in nodes] == ["plant", "plant-2", "plant-3"]
    path = f"/v1/tenants/acme/nodes/{nodes[2].json['node']}"
    taken = founded.call("PATCH", path, {"name": "plant"}, headers={"If-Match": nodes[2].etag})
    assert taken.status == 409 and taken.reason == "already_exists"
    no_gateway = founded.call("PATCH", path, {"endpoint": "gw.example:51820"},
                              headers={"If-Match": nodes[2].etag})
    assert no_gateway.status == 400 and "gateway" in no_gateway.json["detail"]
