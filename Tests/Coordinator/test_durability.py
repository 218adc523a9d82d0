"""Power failures, full disks, restarts: what was answered stays, and nothing is half."""

import subprocess
import threading
import time

import pytest
from coordinator import Coordinator, client, program, wait_until

KILLS = 8


def keep_joining(coordinator, done, stop, refused=None):
    """Enrols nodes until told to stop; keeps those whose enrolment was answered."""
    while not stop.is_set():
        try:
            done.append(coordinator.join())
        except AssertionError as error:
            if refused is not None:
                refused.append(str(error))
            time.sleep(0.02)
        except (OSError, ValueError):
            time.sleep(0.02)
        except Exception:  # http.client's, where the process went away in mid-answer
            time.sleep(0.02)


def nodes_of(coordinator):
    """Returns all node keys of the tenant, and their addresses."""
    keys, addresses, after = set(), [], ""
    while True:
        page = coordinator.call("GET", f"/v1/tenants/acme/nodes?limit=1000&after={after}").ok()
        keys |= {node["node"] for node in page["items"]}
        addresses += [address for node in page["items"] for address in node["addresses"]]
        if not page.get("next"):
            return keys, addresses
        after = page["next"]


def verify_audit(coordinator, tmp_path):
    """Requires that the exported log is whole."""
    answer = coordinator.call("GET", "/v1/audit/export")
    file = tmp_path / "audit.jsonl"
    file.write_bytes(answer.body)
    done = subprocess.run([client(), "audit", "verify", str(file)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_again_and_again_no_answered_change_is_lost(founded, tmp_path):
    done = []
    for _ in range(KILLS):
        stop = threading.Event()
        workers = [threading.Thread(target=keep_joining, args=(founded, done, stop))
                   for _ in range(3)]
        for worker in workers:
            worker.start()
        before = len(done)
        time.sleep(0.4)
        wait_until(lambda: len(done) > before + 1, "nodes join")
        founded.kill()
        stop.set()
        for worker in workers:
            worker.join()
        founded.start()
        keys, addresses = nodes_of(founded)
        assert {node.key.text for node in done} <= keys
        assert len(addresses) == len(set(addresses))
    assert len(done) > KILLS
    verify_audit(founded, tmp_path)
    node = founded.join()
    assert founded.call("GET", "/v1/self", token=node.secret).status == 200


@pytest.mark.sqlite_only
def test_a_full_disk_refuses_and_recovers(make, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    try:
        coordinator = make(folder=folder)
        coordinator.log = tmp_path / "log"
        coordinator.start().found()
        coordinator.add_tenant()
        before = coordinator.join()
        filler = folder / "filler"
        try:
            with open(filler, "wb") as file:
                while True:
                    file.write(b"\0" * 4096)
                    file.flush()
        except OSError:
            pass
        done, refused, stop = [before], [], threading.Event()
        worker = threading.Thread(target=keep_joining, args=(coordinator, done, stop, refused))
        worker.start()
        time.sleep(3)
        wait_until(lambda: any("storage_unavailable" in text and "503" in text
                               for text in refused), f"a refusal that says why: {refused[:3]}")
        stop.set()
        worker.join()
        assert coordinator.process.poll() is None
        assert coordinator.call("GET", "/v1/tenants").status == 200
        filler.unlink()
        done.append(coordinator.join())
        assert {node.key.text for node in done} <= nodes_of(coordinator)[0]
        verify_audit(coordinator, tmp_path)
        coordinator.stop()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.sqlite_only
def test_a_backup_is_taken_while_nodes_join_and_serves(founded, make, tmp_path):
    stop, done = threading.Event(), []
    worker = threading.Thread(target=keep_joining, args=(founded, done, stop))
    worker.start()
    wait_until(lambda: len(done) > 2, "nodes join")
    known = {node.key.text for node in done}
    copy = tmp_path / "copy.sqlite"
    taken = subprocess.run(
        [program(), "backup", str(copy), "--state", str(founded.folder / "state")],
        capture_output=True, text=True)
    wait_until(lambda: len(done) > len(known), "nodes join all the while")
    stop.set()
    worker.join()
    assert taken.returncode == 0, taken.stderr
    assert copy.stat().st_mode & 0o077 == 0
    again = subprocess.run(
        [program(), "backup", str(copy), "--state", str(founded.folder / "state")],
        capture_output=True, text=True)
    assert again.returncode != 0 and "exists" in again.stderr
    restored = make()
    (restored.folder / "state").mkdir(mode=0o700)
    copy.rename(restored.folder / "state" / "coordinator.sqlite")
    restored.start()
    restored.owner = founded.owner
    keys, _ = nodes_of(restored)
    assert known <= keys, "what was answered before the backup began is in it"
    verify_audit(restored, tmp_path)


@pytest.mark.sqlite_only
def test_what_is_no_database_is_refused_at_start(make):
    coordinator = make()
    (coordinator.folder / "state").mkdir(mode=0o700)
    file = coordinator.folder / "state" / "coordinator.sqlite"
    file.write_bytes(b"not a database" * 1000)
    file.chmod(0o600)
    with pytest.raises(AssertionError, match="it ended"):
        coordinator.start()
    assert "coordinator.sqlite" in coordinator.words()


@pytest.mark.sqlite_only
@pytest.mark.parametrize("what, mode", [("tls.key", 0o644), ("coordinator.sqlite", 0o666),
                                        (".", 0o777)])
def test_a_state_that_others_may_use_is_refused_at_start(founded, what, mode):
    founded.stop()
    (founded.folder / "state" / what).chmod(mode)
    with pytest.raises(AssertionError, match="it ended"):
        founded.start()
    assert "chmod" in founded.words()


@pytest.mark.postgresql_only
def test_the_database_restarts_under_load(founded, storage):
    gateway = founded.join(role="gateway")
    watch = founded.watch(gateway)
    watch.next()
    stop, done = threading.Event(), []
    workers = [threading.Thread(target=keep_joining, args=(founded, done, stop)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(3):
        time.sleep(0.7)
        # What a restart is for its clients: every connection ends.
        storage.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE datname = '{storage.name}' AND pid <> pg_backend_pid()")
    time.sleep(1)
    before = len(done)
    wait_until(lambda: len(done) >= before + 3, "things work again")
    stop.set()
    for worker in workers:
        worker.join()
    keys, addresses = nodes_of(founded)
    assert {node.key.text for node in done} <= keys
    assert len(addresses) == len(set(addresses))
    # The stream brings what was changed while the database was away.
    last = founded.join()
    seen = set()
    while last.key.text not in seen:
        event = watch.next()
        assert event is not None
        if event["kind"] == "state":
            seen |= {peer["node"] for peer in event["state"]["peers"]}
        elif event["change"].get("peer"):
            seen.add(event["change"]["peer"]["node"])
    assert {node.key.text for node in done} <= seen


@pytest.mark.postgresql_only
def test_a_server_that_is_not_there_is_named(make):
    coordinator = Coordinator("host=/nonexistent dbname=x", options=[])
    try:
        with pytest.raises(AssertionError, match="it ended|not ready"):
            coordinator.start()
        assert "nonexistent" in coordinator.words()
    finally:
        coordinator.close()
