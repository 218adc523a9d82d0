"""The admins' commands against a coordinator on loopback.

COORDINATOR names its program (default: the newest of .build/release and .build/debug).
"""

import base64
import json
import os
import subprocess

import pytest

from admin import Admin, Joiner, pin
from conftest import built

from coordinator import Coordinator


@pytest.fixture
def make(program, tmp_path):
    """Makes admins, each with a configuration folder of its own."""

    def one(name):
        (tmp_path / name).mkdir()
        return Admin(program, tmp_path / name)

    return one


@pytest.fixture
def coordinator(monkeypatch):
    path = os.environ.get("COORDINATOR") or built("branchline-coordinator")
    if not path:
        pytest.skip("build branchline-coordinator, or set COORDINATOR")
    monkeypatch.setenv("COORDINATOR", str(path))
    made = Coordinator(options=["--rate-limit", "100000", "--failure-rate-limit", "1000"])
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def admin(make, coordinator):
    """An admin who has founded an organisation with the tenant acme."""
    made = make("admin")
    made.found(coordinator)
    made("tenant", "add", "acme", "--pool", "10.64.0.0/16", "--pool", "fd00:64::/64")
    login = json.loads((made.configuration / "login.json").read_text())
    coordinator.owner = login["api_token"]
    return made


def modes(folder):
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


# Setting up


def test_init_keeps_keys_and_login_to_their_owner(make, coordinator):
    admin = make("admin")
    shown = admin.found(coordinator)
    assert "branchline tenant add" in shown.stdout
    assert admin.configuration.stat().st_mode & 0o777 == 0o700
    files = modes(admin.configuration)
    assert set(files) == {"login.json", "root.key", "admin.key", "admin.jws"}
    assert set(files.values()) == {0o600}
    report = admin.json("admin", "show")
    assert report["has_root_key"] and report["role"] == "owner"
    assert [one["key"] for one in report["admins"]] == [report["own_key"]]
    again = admin("admin", "init", coordinator.url, "--setup-code", "x", code=1)
    assert "holds the login of an organisation already" in again.stderr


def test_init_that_broke_off_goes_on_with_the_same_keys(make, coordinator):
    admin = make("admin")
    wrong = admin("admin", "init", coordinator.url, "--pin", pin(coordinator), "--setup-code",
                  "bls_wrong", "--no-passphrase", code=1)
    assert "set-up code is wrong" in wrong.stderr
    key = (admin.configuration / "root.key").read_bytes()
    admin.found(coordinator)
    assert (admin.configuration / "root.key").read_bytes() == key


def test_init_that_goes_on_keeps_the_protection_that_is_asked_for(make, coordinator):
    admin = make("admin")
    command = ["admin", "init", coordinator.url, "--pin", pin(coordinator), "--setup-code"]
    code = (coordinator.folder / "state" / "setup-code").read_text().strip()
    admin(*command, "bls_wrong", "--no-passphrase", "--tenant", "beta", "--days", "9", code=1)
    (admin.folder / "passphrase").write_text("correct horse\n")
    sealed = ["--passphrase-file", "passphrase"]
    result = admin(*command, code, *sealed, code=1)
    assert "has no passphrase" in result.stderr and "root.key and admin.key" in result.stderr
    (admin.configuration / "admin.key").unlink()
    (admin.configuration / "root.key").unlink()
    admin(*command, "bls_wrong", *sealed, code=1)
    assert "leave --no-passphrase away" in admin(
        *command, code, "--no-passphrase", code=1).stderr
    (admin.configuration / "admin.key").unlink()
    admin(*command, code, *sealed, "--tenant", "acme")
    assert [one["tenants"] for one in admin.json("admin", "show")["admins"]] == [["acme"]]
    admin("tenant", "add", "acme", "--pool", "10.64.0.0/16")
    assert "no terminal" in admin("token", "create", "--role", "branch", code=2).stderr


def test_short_passphrases_are_refused(make, coordinator):
    admin = make("admin")
    (admin.folder / "passphrase").write_text("1234567\n")
    result = admin("admin", "request", "--passphrase-file", "passphrase", code=2)
    assert "shorter than 8" in result.stderr and not admin.configuration.exists()
    (admin.folder / "passphrase").write_text("12345678\n")
    admin("admin", "request", "--passphrase-file", "passphrase")


def test_init_refuses_a_server_with_another_key(make, coordinator):
    other = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    result = make("admin")("admin", "init", coordinator.url, "--pin", other, "--setup-code", "x",
                           "--no-passphrase", code=1)
    assert "not the pinned one" in result.stderr
    result = make("second")("admin", "init", coordinator.url, "--setup-code", "x",
                            "--no-passphrase", code=1)
    assert "pin the coordinator's own key" in result.stderr


def test_passphrase_is_asked_for_and_not_shown(make, coordinator):
    admin = make("admin")
    code = (coordinator.folder / "state" / "setup-code").read_text().strip()
    secret = b"correct horse\x7fe\n"
    shown = admin.type("admin", "init", coordinator.url, "--pin", pin(coordinator), answers=[
        code.encode() + b"\n", secret, secret])
    assert "horse" not in shown and code not in shown
    admin("tenant", "add", "acme", "--pool", "10.64.0.0/16")
    shown = admin.type("token", "create", "--role", "branch", answers=[secret])
    assert "bl1~" in shown and "horse" not in shown
    shown = admin.type("token", "create", "--role", "branch", answers=[b"wrong\n"], code=1)
    assert "passphrase is wrong" in shown and "bl1~" not in shown
    shown = admin.type("token", "create", "--role", "branch", answers=[b"\x03"], code=1)
    assert "nothing was typed" in shown
    (admin.folder / "passphrase").write_text("correct hors" + "e\n")
    admin("token", "create", "--role", "branch", "--passphrase-file", "passphrase")
    result = admin("token", "create", "--role", "branch", code=2)
    assert "no terminal" in result.stderr


def test_passphrases_that_differ_make_nothing(make, coordinator):
    admin = make("admin")
    shown = admin.type("admin", "request", answers=[b"one\n", b"two\n"], code=2)
    assert "differ" in shown and not admin.configuration.exists()


def test_secrets_that_others_can_read_are_refused(admin):
    for name, mode in [("login.json", 0o640), ("admin.key", 0o604), ("seen.json", 0o602)]:
        path = admin.configuration / name
        if not path.exists():
            admin("admin", "show")
            admin("node", "list")
            path.touch(mode=0o600)
            path.write_text('{"lists":[],"serials":{}}')
        path.chmod(mode)
        result = admin("token", "create", "--role", "branch", code=1)
        assert f"chmod 600 {path}" in result.stderr
        path.chmod(0o600)
    admin("token", "create", "--role", "branch")


def test_keys_that_begin_with_a_hyphen_are_no_options(make, coordinator):
    admin = make("admin")
    result = admin("admin", "init", coordinator.url, "--pin", "-" + "A" * 42, "--setup-code", "x",
                   "--no-passphrase", code=1)
    assert "not the pinned one" in result.stderr
    admin.found(coordinator)
    for command in (["admin", "revoke"], ["node", "show"], ["token", "revoke"]):
        for key in ("-" + "A" * 42, "--" + "A" * 41, "-" + "A" * 21):
            result = admin(*command, key, "--yes", code=None) if command[1] == "revoke" else \
                admin(*command, key, code=None)
            assert result.returncode in (1, 2) and key in result.stderr


# Tenants, groups, policies


def test_tenants_and_pools_come_and_go(admin):
    assert [one["name"] for one in admin.json("tenant", "list")] == ["acme"]
    admin("tenant", "pool", "add", "acme", "10.65.0.0/24")
    assert "10.65.0.0/24" in admin("tenant", "show", "acme").stdout
    result = admin("tenant", "pool", "add", "acme", "10.64.8.0/24", code=1)
    assert "overlap" in result.stderr
    assert "--yes" in admin("tenant", "pool", "remove", "acme", "10.65.0.0/24", code=2).stderr
    admin("tenant", "pool", "remove", "acme", "10.65.0.0/24", "--yes")
    admin("tenant", "pool", "remove", "acme", "fd00:64::/64", "--yes")
    assert [one["prefix"] for one in admin.json("tenant", "show", "acme")["pools"]] == [
        "10.64.0.0/16"]
    admin("tenant", "add", "beta", "--pool", "10.64.0.0/16")
    result = admin("token", "create", "--role", "branch", code=2)
    assert "--tenant" in result.stderr and "acme, beta" in result.stderr
    admin("tenant", "remove", "beta", "--yes")
    assert "beta" not in admin("tenant", "list").stdout


def test_destructive_commands_ask_on_a_terminal(admin):
    admin("group", "add", "plants")
    shown = admin.type("group", "remove", "plants", answers=[b"n\n"], code=1)
    assert "nothing was changed" in shown
    admin.type("group", "remove", "plants", answers=[b"y\n"])
    assert admin.json("group", "list") == []


def test_a_policy_is_tried_before_it_is_in_force(admin):
    for group in ("plants", "models"):
        admin("group", "add", group)
    policy = {
        "services": [{"name": "chat", "destinations": ["10.9.0.0/24"]}],
        "rules": [{"name": "ask", "from": ["plants"], "to": ["models", "chat"],
                   "transport": "tcp", "ports": ["443", "8000-8100"]}],
        "tests": [{"from": "plants", "to": "models", "transport": "tcp", "port": 443,
                   "allowed": True}]}
    path = admin.folder / "policy.json"
    path.write_text(json.dumps(policy))
    refused = admin("policy", "set", "policy.json", code=2)
    assert "acme has no policy, so everything is allowed" in refused.stderr
    assert "the 1 rules allow" in refused.stderr and "give --yes" in refused.stderr
    done = admin("policy", "set", "policy.json", "--yes")
    assert "handed out to nodes; 1 tests hold" in done.stdout
    assert json.loads(admin("policy", "show").stdout)["rules"] == policy["rules"]
    table = admin("policy", "show", "--table").stdout
    assert "8000-8100" in table and "10.9.0.0/24" in table
    allowed = "allowed by the rule ask\n"
    assert admin("policy", "test", "plants", "models", "8050").stdout == allowed
    assert admin("policy", "test", "plants", "models", "tcp", "8050").stdout == allowed
    assert admin("policy", "test", "plants", "chat", "443").stdout == allowed
    assert admin.json("policy", "test", "plants", "chat", "443") == {
        "allowed": True, "rule": "ask"}
    denied = "denied: no rule allows it; nearest: ask, for other ports or transports\n"
    assert admin("policy", "test", "plants", "models", "22", code=1).stdout == denied
    assert admin("policy", "test", "plants", "models", "icmp", code=1).stdout == denied
    assert admin("policy", "test", "plants", "models", "443", "--transport", "udp",
                 code=1).stdout == denied
    assert admin.json("policy", "test", "plants", "models", "22", code=1) == {
        "allowed": False, "nearest_rule": "ask"}
    nobody = "denied: no rule allows it, and none speaks of these two\n"
    assert admin("policy", "test", "models", "plants", "tcp", "443", code=1).stdout == nobody
    assert "open no connections" in admin("policy", "test", "chat", "plants", "443",
                                          code=2).stderr
    done = admin("policy", "test", "192.0.2.1", "models", "443", code=1)
    assert done.stdout == nobody and "no node has the address" in done.stderr
    policy["tests"][0]["allowed"] = False
    path.write_text(json.dumps(policy))
    result = admin("policy", "set", "policy.json", "--yes", code=2)
    assert "test 1: plants to models" in result.stderr
    result = admin("policy", "test", "plants", "nosuch", "tcp", "443", code=2)
    assert "no group nosuch in acme" in result.stderr
    path.write_text('{"rules": [{"name": 1}]}')
    assert "rules[0]" in admin("policy", "set", "policy.json", code=2).stderr
    path.write_text("x")
    assert "not JSON" in admin("policy", "set", "policy.json", code=2).stderr


def test_what_is_shown_without_a_policy_is_in_force(admin):
    for group in ("plants", "models"):
        admin("group", "add", group)
    shown = admin("policy", "show")
    assert "acme has no policy" in shown.stderr
    rule = {"name": "everything", "from": ["*"], "to": ["*"], "transport": "*", "ports": []}
    assert json.loads(shown.stdout) == {"rules": [rule], "tests": []}
    (admin.folder / "policy.json").write_text(shown.stdout)
    admin("policy", "set", "policy.json", "--yes")
    # It is a policy from now on, and allows what was allowed.
    assert not admin("policy", "show").stderr
    assert admin("policy", "test", "plants", "models", "443").stdout == (
        "allowed by the rule everything\n")


def test_qos_is_set_and_shown(admin):
    qos = {"services": [{"name": "chat", "destination": "10.9.0.0/24", "transport": "tcp",
                         "ports": ["443"], "traffic_class": "token"}],
           "weights": {"prompt": 10, "bulk": 1}, "maximum_rate": 1_000_000_000}
    (admin.folder / "qos.json").write_text(json.dumps(qos))
    admin("qos", "set", "qos.json")
    assert json.loads(admin("qos", "show").stdout) == qos
    (admin.folder / "qos.json").write_text(json.dumps({**qos, "minimum_rat": 1}))
    assert "known of minimum_rat;" in admin("qos", "set", "qos.json", code=2).stderr
    (admin.folder / "qos.json").write_text(json.dumps({**qos, "links": {"a": {"uplink": 9000}}}))
    assert "known of links.a.uplink;" in admin("qos", "set", "qos.json", code=2).stderr
    del qos["services"][0]["transport"]
    (admin.folder / "qos.json").write_text(json.dumps(qos))
    assert "services[0].transport is missing" in admin(
        "qos", "set", "qos.json", code=2).stderr


def test_qos_with_lines_is_set_and_a_contradiction_is_named(admin):
    qos = {"services": [], "weights": {}, "priority_percent": 70, "read_usage": True,
           "links": {"plant-7": {"uplink_rate": 20_000_000, "overhead_bytes": 22}},
           "marking": {"outer": "class", "classes": {"token": "AF41"}},
           "budget": {"tokens": 1000, "per_seconds": 3600}, "believe": {"46": "token"}}
    (admin.folder / "qos.json").write_text(json.dumps(qos))
    admin("qos", "set", "qos.json")
    assert json.loads(admin("qos", "show").stdout) == qos
    wrong = {**qos, "weights": {"background": 5}, "link": {"rate": 9000}}
    (admin.folder / "qos.json").write_text(json.dumps(wrong))
    refused = admin("qos", "set", "qos.json", code=2).stderr
    assert "background has what is left, and no weight" in refused
    assert "only a node's own file has it" in refused
    assert json.loads(admin("qos", "show").stdout) == qos


def example(admin, command):
    """The file that a command's help shows."""
    text = admin(*command, "--help").stdout
    return "{" + text.split("json:", 1)[1].split("{", 1)[1].split("USAGE")[0]


def test_examples_of_policies_are_complete(admin):
    admin("group", "add", "plants")
    for command, options, words in [(["policy"], ["--yes"], "Every node enforces it"),
                                    (["qos", "set"], [], "handed out to nodes")]:
        text = example(admin, [command[0], "set"])
        (admin.folder / "file.json").write_text(text)
        admin(command[0], "set", "file.json", *options)
        assert words in " ".join(admin(*command, "--help").stdout.split())


# Tokens and nodes


def test_token_prints_the_join_string_only(admin, coordinator):
    admin("group", "add", "plants")
    result = admin("token", "create", "--role", "branch", "--route", "192.168.7.0/24", "--group",
                   "plants", "--expires", "2h", "--class", "prompt", "--note", "Plant 7")
    assert result.stdout.count("\n") == 1 and "branchline join" in result.stderr
    joiner = Joiner(result.stdout)
    claims = joiner.claims
    assert claims["routes"] == ["192.168.7.0/24"] and claims["groups"] == ["plants"]
    assert claims["exp"] - claims["nbf"] == 7200 and claims["class"] == "prompt"
    assert claims["coordinator"] == coordinator.url and claims["serverPin"] == pin(coordinator)
    assert sorted(claims["addresses"]) == ["10.64.0.1/32", "fd00:64::1/128"]
    assert "Plant 7" in admin("token", "list").stdout
    joiner.join(coordinator, "plant-7").ok()
    assert admin.json("token", "list")[0]["state"] == "used"
    assert admin.json("node", "show", "plant-7")["groups"] == ["plants"]


def test_what_cannot_be_signed_reserves_no_address(admin, make, coordinator):
    second = make("second")
    request = second("admin", "request", "--no-passphrase").stdout.strip()
    second("admin", "accept", input=admin(
        "admin", "add", request, "--tenant", "acme", "--role", "branch").stdout)
    before = admin.json("tenant", "show", "acme")["pools"]
    for route in ("10.64.3.0/24", "10.0.0.0/8", "0.0.0.0/0", "fd00:64::/80"):
        for command in (["token", "create", "--role", "branch"], ["node", "add", "x"]):
            result = admin(*command, "--route", route, code=2)
            assert f"{route} overlaps the pool" in result.stderr
    for command in (["token", "create", "--role", "branch"], ["node", "add", "x"]):
        assert "no group nosuch" in admin(*command, "--group", "nosuch", code=2).stderr
    assert "may not sign this" in second("token", "create", "--role", "gateway", code=1).stderr
    assert "may not sign this" in second("node", "add", "x", code=1).stderr
    assert admin.json("tenant", "show", "acme")["pools"] == before
    assert "token.create" not in [one["action"] for one in admin.json("audit")]
    admin("token", "create", "--role", "branch", "--route", "10.63.0.0/16")


def test_token_as_json_and_as_qr_code(admin):
    made = admin.json("token", "create", "--role", "gateway", "--address", "10.64.9.9/32")
    assert made["token"]["addresses"] == ["10.64.9.9/32"]
    assert Joiner(made["join_text"]).claims["role"] == "gateway"
    result = admin("token", "create", "--role", "gateway", "--qr")
    assert result.stdout.startswith("bl1~") and "\u2580" in result.stderr


def test_token_names_where_the_node_reaches_the_coordinator(admin):
    made = admin.json("token", "create", "--role", "branch", "--coordinator",
                      "https://hq.example:8443")
    assert Joiner(made["join_text"]).claims["coordinator"] == "https://hq.example:8443"
    for wrong in ("hq.example", "http://hq.example", "https://hq.example/?x"):
        assert "coordinator" in admin("token", "create", "--role", "branch", "--coordinator",
                                      wrong, code=1).stderr


def test_revoked_token_lets_nobody_in(admin, coordinator):
    text = admin("token", "create", "--role", "branch").stdout
    token = admin.json("token", "list")[0]["id"]
    admin("token", "revoke", token, "--yes")
    assert admin.json("token", "list")[0]["state"] == "revoked"
    assert Joiner(text).join(coordinator, "late").status >= 400
    second = admin("token", "create", "--role", "branch").stdout
    other = [one["id"] for one in admin.json("token", "list") if one["state"] == "unused"]
    admin("token", "revoke", other[0], "--withdraw-only", "--yes")
    assert Joiner(second).join(coordinator, "late").status >= 400
    assert "not a token's id" in admin("token", "revoke", "x", "--yes", code=2).stderr


def test_suspended_nodes_come_back_and_revoked_ones_do_not(admin, coordinator):
    text = admin("token", "create", "--role", "branch").stdout
    node = Joiner(text)
    node.join(coordinator, "plant-7").ok()
    key = node.key.text

    def state():
        return admin.json("node", "show", key)["state"]

    assert state() == "active"
    admin("node", "suspend", key[:10], "--yes")
    assert state() == "suspended"
    assert "already" in admin("node", "suspend", "plant-7", "--yes", code=1).stderr
    assert "resume" in admin("node", "renew", "plant-7", code=1).stderr
    admin("node", "resume", "plant-7")
    assert state() == "active"
    assert "not suspended" in admin("node", "resume", "plant-7", code=1).stderr
    admin("node", "renew", "plant-7", "--grant-for", "10d")
    shown = admin.json("node", "show", "plant-7")
    assert shown["public_key"] == node.public_key and shown["addresses"] == sorted(
        node.claims["addresses"])
    admin("node", "rename", "plant-7", "plant-seven")
    assert "revoke it first" in admin("node", "remove", "plant-seven", "--yes", code=1).stderr
    admin("node", "revoke", "plant-seven", "--yes")
    assert state() == "revoked"
    for command in ("resume", "renew", "suspend"):
        arguments = ["--yes"] if command == "suspend" else []
        assert "was revoked" in admin("node", command, key, *arguments, code=1).stderr
    admin("node", "remove", key, "--yes")
    assert admin.json("node", "list") == []
    assert "no node" in admin("node", "show", key, code=1).stderr


def test_of_nodes_with_one_name_the_fitting_one_is_meant(admin, coordinator):
    nodes = []
    for _ in range(2):
        node = Joiner(admin("token", "create", "--role", "gateway").stdout)
        node.join(coordinator, "hq").ok()
        nodes.append(node.key.text)
        result = admin("node", "revoke", "hq", code=2)
        assert "gateway hq" in result.stderr and "cut off" in result.stderr
        assert "gateway hq" in admin("node", "suspend", "hq", code=2).stderr
        if len(nodes) == 1:
            admin("node", "revoke", "hq", "--yes")
    assert admin.json("node", "show", "hq")["node"] == nodes[1]
    admin("node", "remove", "hq", "--yes")
    assert [one["node"] for one in admin.json("node", "list")] == nodes[1:]
    node = Joiner(admin("token", "create", "--role", "branch").stdout)
    node.join(coordinator, "hq")
    result = admin("node", "show", nodes[1][:5], code=1)
    assert "at least 6 characters" in result.stderr


def test_approval_shows_what_is_signed(admin, coordinator):
    text = admin("token", "create", "--role", "branch", "--approval", "--route",
                 "192.168.7.0/24").stdout
    node = Joiner(text)
    assert node.join(coordinator, "plant-7").ok()["state"] == "pending"
    assert "plant-7" in admin("node", "list", "--state", "pending").stdout
    assert "approve" in admin("node", "renew", "plant-7", code=1).stderr
    shown = admin.type("node", "approve", "plant-7", answers=[b"no\n"], code=1)
    assert node.public_key in shown and "192.168.7.0/24" in shown
    assert admin.json("node", "show", "plant-7")["state"] == "pending"
    admin("node", "approve", "plant-7", "--yes")
    assert admin.json("node", "show", "plant-7")["state"] == "active"
    assert "does not wait" in admin("node", "approve", "plant-7", "--yes", code=1).stderr


def test_regrouping_takes_the_old_grant_back(admin, coordinator):
    for group in ("plants", "offices"):
        admin("group", "add", group)
    node = Joiner(admin("token", "create", "--role", "branch", "--group", "plants").stdout)
    node.join(coordinator, "plant-7").ok()
    old = admin.json("node", "show", "plant-7")
    admin("node", "regroup", "plant-7", "--group", "offices")
    new = admin.json("node", "show", "plant-7")
    assert new["groups"] == ["offices"] and new["state"] == "active"
    answer = coordinator.call("PUT", f"/v1/tenants/acme/nodes/{old['node']}/grant",
                              {"chain": old["chain"]})
    assert answer.status >= 400
    admin("node", "regroup", "plant-7")
    assert admin.json("node", "show", "plant-7")["groups"] == []


def test_profile_is_the_tokens_and_then_the_admins(admin, coordinator):
    aes, chacha = "branchline-aes256gcm", "branchline-chacha20poly1305"
    text = admin("token", "create", "--role", "branch", "--profile", aes).stdout
    assert Joiner(text).claims["profiles"] == [aes]
    Joiner(text).join(coordinator, "plant-7").ok()
    assert admin.json("node", "show", "plant-7")["profile"] == aes
    assert Joiner(admin("token", "create", "--role", "branch").stdout).claims["profiles"] == [
        "wireguard"]
    old = admin.json("node", "show", "plant-7")
    admin("node", "reprofile", "plant-7", chacha)
    new = admin.json("node", "show", "plant-7")
    assert new["profile"] == chacha and new["addresses"] == old["addresses"]
    answer = coordinator.call("PUT", f"/v1/tenants/acme/nodes/{old['node']}/grant",
                              {"chain": old["chain"]})
    assert answer.status >= 400, "the grant before does not count any more"
    admin("node", "reprofile", "plant-7", "branchline", code=64)


def test_plain_clients_stay_plain_and_gateways_that_ask_for_more_are_named(admin, coordinator):
    gateway(admin, coordinator, "hq-1", "192.0.2.1:51820")
    assert "hq-1" not in admin("node", "add", "tablet-3").stderr
    assert admin.json("node", "show", "tablet-3")["profile"] == "wireguard"
    result = admin("node", "reprofile", "tablet-3", "branchline-aes256gcm", code=2)
    assert "plain WireGuard client" in result.stderr
    shown = admin("node", "reprofile", "hq-1", "branchline-aes256gcm")
    assert "no longer reach it" in shown.stderr and "tablet-3" in shown.stderr
    assert "reach" not in admin("node", "reprofile", "hq-1", "wireguard").stderr
    admin("node", "reprofile", "hq-1", "branchline-aes256gcm")
    shown = admin("node", "add", "tablet-4")
    assert "`branchline node reprofile hq-1 wireguard`" in shown.stderr
    assert "Profile" not in (admin.folder / "tablet-4.conf").read_text()


def test_all_nodes_are_renewed_at_once(admin, coordinator):
    for number in range(3):
        text = admin("token", "create", "--role", "branch").stdout
        Joiner(text).join(coordinator, f"plant-{number}").ok()
    assert admin("node", "renew", "--all", "--ending-within", "1d").stdout == "no node is due\n"
    assert "--yes" in admin("node", "renew", "--all", code=2).stderr
    shown = admin("node", "renew", "--all", "--yes", "--grant-for", "80d").stdout
    assert shown.count("renewed plant-") == 3
    links = [one["chain"].count("~") for one in admin.json("node", "list")]
    assert links == [1, 1, 1], "admin key and grant, without the token"


def test_rules_that_keep_branches_from_health_targets_are_told(admin, coordinator):
    gateway(admin, coordinator, "hq-1", "192.0.2.1:51820", "--route", "10.200.0.0/24")
    Joiner(admin("token", "create", "--role", "branch").stdout).join(coordinator, "plant-7").ok()
    target = ["--health", "tcp:10.200.0.5:443"]
    # Without a policy everything is allowed.
    assert not admin("node", "set", "hq-1", *target).stderr
    rule = {"name": "ping", "from": ["*"], "to": ["*"], "transport": "icmp"}
    path = admin.folder / "policy.json"
    path.write_text(json.dumps({"rules": [rule], "tests": []}))
    words = ("warning: the rules do not let 1 of 1 nodes, such as plant-7, ask the health target "
             "tcp:10.200.0.5:443 of hq-1")
    assert words in admin("policy", "set", "policy.json", "--yes").stderr
    assert words in admin("node", "set", "hq-1", *target).stderr
    assert not admin("node", "set", "hq-1", "--health", "icmp:10.200.0.5").stderr
    admin("node", "set", "hq-1", *target)
    wide = {**rule, "name": "health", "transport": "tcp", "ports": ["443"]}
    path.write_text(json.dumps({"rules": [rule, wide], "tests": []}))
    assert not admin("policy", "set", "policy.json", "--yes").stderr
    assert not admin("node", "set", "hq-1", *target).stderr


def test_refusals_and_notes_say_what_is_so(admin, make, coordinator):
    Joiner(admin("token", "create", "--role", "branch").stdout).join(coordinator, "plant-7").ok()
    result = admin("node", "endpoint", "plant-7", "vpn.example:51820", code=2)
    assert "plant-7 is a branch" in result.stderr
    assert "branchline group list" in admin("group", "remove", "x", "--yes", code=1).stderr
    assert "branchline tenant list" in admin("tenant", "show", "x", code=1).stderr
    result = admin("node", "renew", "plant-7", "--grant-for", "400d")
    assert "not 400 d" in result.stderr and "ends itself" in result.stderr
    assert "note" not in admin("node", "renew", "plant-7", "--grant-for", "40d").stderr


def test_gateways_are_preferred_by_the_admin(admin, coordinator):
    gateway(admin, coordinator, "hq-1", "192.0.2.1:51820", "--route", "10.200.0.0/24")
    Joiner(admin("token", "create", "--role", "branch").stdout).join(coordinator, "plant-7").ok()
    shown = admin("node", "show", "hq-1").stdout
    assert "priority    100\n" in shown and "health      the gateway itself\n" in shown
    assert "priority" not in admin("node", "show", "plant-7").stdout
    result = admin("node", "set", "hq-1", "--priority", "10", "--weight", "3",
                   "--health", "tcp:10.200.0.5:443", "--health", "icmp:10.200.0.6").stdout
    assert "hq-1: priority 10, weight 3, health icmp:10.200.0.6, tcp:10.200.0.5:443" in result
    node = admin.json("node", "set", "hq-1", "--weight", "0")
    assert (node["priority"], node["weight"], len(node["health"])) == (10, 0, 2)
    assert "health" not in admin.json("node", "set", "hq-1", "--no-health")
    for wrong, words in [
        (["--priority", "65536"], "0 to 65535"), (["--weight", "1001"], "0 to 1000"),
        (["--health", "10.200.0.5"], "tcp:10.0.0.5:443"),
        (["--health", "icmp:10.201.0.5"], "10.200.0.0/24"), ([], "--priority"),
        (["--health", "icmp:10.200.0.5", "--no-health"], "contradict"),
    ]:
        refused = admin("node", "set", "hq-1", *wrong, code=None)
        assert refused.returncode != 0 and words in refused.stderr, refused.stderr
    assert "plant-7 is a branch" in admin(
        "node", "set", "plant-7", "--priority", "1", code=2).stderr


# Plain WireGuard clients


def gateway(admin, coordinator, name="hq", endpoint="vpn.example:51820", *options):
    text = admin("token", "create", "--role", "gateway", *options).stdout
    joiner = Joiner(text)
    joiner.join(coordinator, name, endpoint).ok()
    return joiner


def test_client_by_hand_gets_a_file_that_wireguard_reads(admin, coordinator, tmp_path):
    hq = gateway(admin, coordinator, "hq", "192.0.2.1:51820", "--route", "10.200.0.0/24")
    result = admin("node", "add", "tablet-3", "--qr", "--dns", "10.200.0.53")
    assert "\u2580" in result.stderr
    path = admin.folder / "tablet-3.conf"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert f"PublicKey = {hq.public_key}" in text and "Endpoint = 192.0.2.1:51820" in text
    assert "10.200.0.0/24" in text and "10.64.0.1/32" in text and "DNS = 10.200.0.53" in text
    private = [line.split(" = ")[1] for line in text.splitlines() if "PrivateKey" in line][0]
    public = subprocess.run(
        ["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout
    shown = admin.json("node", "show", "tablet-3")
    assert shown["public_key"] == public.strip() and shown["is_by_hand"]
    stripped = subprocess.run(
        ["wg-quick", "strip", str(path)], capture_output=True, text=True)
    assert stripped.returncode == 0, stripped.stderr
    assert "exists already" in admin("node", "add", "tablet-3", code=2).stderr
    assert len(admin.json("node", "list")) == 2

    gateway(admin, coordinator, "hq-2", "192.0.2.2:51820", "--route", "10.200.0.0/24")
    (admin.folder / "key").write_text(private)
    again = admin("node", "config", "tablet-3", "--private-key-file", "key", "--output", "-",
                  "--allowed-ips", "0.0.0.0/0,::/0").stdout
    assert again.count("[Peer]") == 2 and again.count("0.0.0.0/0") == 1 and private in again
    other = subprocess.run(["wg", "genkey"], capture_output=True, text=True).stdout
    result = admin("node", "config", "tablet-3", "--private-key-file", "-", "--output", "-",
                   input=other, code=2)
    assert "not that of tablet-3" in result.stderr and other.strip() not in result.stderr


def test_client_with_a_key_of_its_own(admin, coordinator):
    gateway(admin, coordinator, "hq", None)
    private = subprocess.run(["wg", "genkey"], capture_output=True, text=True).stdout
    public = subprocess.run(
        ["wg", "pubkey"], input=private, capture_output=True, text=True).stdout.strip()
    result = admin("node", "add", "router-9", "--public-key", public, "--output", "r.conf")
    assert "PrivateKey" not in (admin.folder / "r.conf").read_text()
    assert "add its Endpoint" in result.stderr and "PrivateKey" in result.stderr
    admin("node", "endpoint", "hq", "vpn.example:51820")
    shown = admin("node", "config", "router-9", "--output", "-").stdout
    assert "Endpoint = vpn.example:51820" in shown
    admin("node", "endpoint", "hq", "--clear")
    assert "Endpoint" not in admin("node", "config", "router-9", "--output", "-").stdout
    result = admin("node", "add", "twin", "--public-key", public, code=1)
    assert not (admin.folder / "twin.conf").exists(), result.stderr
    assert "not a WireGuard key" in admin(
        "node", "add", "x", "--public-key", "x", code=2).stderr


# Other admins


def test_another_admin_signs_within_its_tenant_only(admin, make, coordinator):
    admin("tenant", "add", "beta", "--pool", "10.64.0.0/16")
    second = make("second")
    request = second("admin", "request", "--no-passphrase").stdout
    assert second("admin", "request").stdout == request
    line = admin("admin", "add", request.strip(), "--tenant", "acme", "--role", "branch",
                 "--days", "90", "--grant-for", "7d", "--no-revoke").stdout
    second("admin", "accept", input=line)
    assert set(modes(second.configuration).values()) == {0o600}
    text = second("token", "create", "--tenant", "acme", "--role", "branch").stdout
    assert Joiner(text).claims["grantSeconds"] == 7 * 86_400
    Joiner(text).join(coordinator, "plant-7").ok()
    assert "may not sign this" in second(
        "token", "create", "--tenant", "acme", "--role", "gateway", code=1).stderr
    assert second("token", "create", "--tenant", "beta", "--role", "branch", code=1)
    assert "may not revoke" in second("node", "suspend", "plant-7", "--yes", code=1).stderr
    assert "root key is not in" in second(
        "admin", "add", request.strip(), "--tenant", "acme", code=1).stderr
    assert admin("node", "show", "plant-7").stdout.count("counts until") == 1

    key = [one["key"] for one in admin.json("admin", "show")["admins"]
           if one.get("tenants") == ["acme"]][0]
    line = admin("admin", "renew", key, "--days", "30").stdout
    second("admin", "accept", line.strip())
    admin("admin", "revoke", key, "--yes")
    assert "does not count: adminRevoked" in admin("node", "show", "plant-7").stdout
    assert "was revoked" in second(
        "token", "create", "--tenant", "acme", "--role", "branch", code=1).stderr
    assert "was revoked" in admin("node", "renew", "plant-7", code=1).stderr


def test_invitations_for_another_key_are_refused(admin, make):
    second, third = make("second"), make("third")
    request = second("admin", "request", "--no-passphrase").stdout.strip()
    line = admin("admin", "add", request, "--tenant", "acme").stdout
    assert "admin request" in third("admin", "accept", input=line, code=1).stderr
    third("admin", "request", "--no-passphrase")
    assert "is for the key" in third("admin", "accept", input=line, code=2).stderr
    broken = line[:200] + ("A" if line[200] != "A" else "B") + line[201:]
    assert second("admin", "accept", input=broken, code=1).stderr
    assert "copy the whole line" in second("admin", "accept", input=line[:20], code=2).stderr
    assert not (third.configuration / "login.json").exists()


def test_api_tokens_log_in_and_out(admin, make, coordinator):
    token = admin("admin", "api-token", "create", "board", "--role", "observer", "--expires",
                  "1d").stdout.strip()
    listed = {one["name"]: one for one in admin.json("admin", "api-token", "list")}
    assert listed["board"]["role"] == "observer" and token not in json.dumps(listed)
    root = admin.json("admin", "show")["root"]
    observer = make("observer")
    assert "first login" in observer("admin", "login", input=token, code=2).stderr
    shown = observer("admin", "login", "--coordinator", coordinator.url, "--pin",
                     pin(coordinator), "--root", root, input=token).stdout
    assert "role observer" in shown
    assert "acme" in observer("tenant", "list").stdout
    refused = observer("group", "add", "plants", code=1).stderr
    assert "may not do this" in refused and refused.count("role") == 2
    assert "owner-token" in observer("admin", "logout", code=2).stderr
    observer("admin", "logout", "--yes")
    assert "logged out" in observer("tenant", "list", code=1).stderr
    assert token not in (observer.configuration / "login.json").read_text()
    (observer.folder / "token").write_text(token + "\n")
    observer("admin", "login", "--token-file", "token")
    own = admin.json("audit", "--limit", "1")[0]["actor"].removeprefix("api-token:")
    assert "logged in with it" in admin("admin", "api-token", "delete", own, code=2).stderr
    admin("admin", "api-token", "delete", listed["board"]["id"], "--yes")
    assert "admin login" in observer("tenant", "list", code=1).stderr


def test_root_rolls_over_and_everything_goes_on(admin, make, coordinator):
    node = Joiner(admin("token", "create", "--role", "branch").stdout)
    node.join(coordinator, "plant-7").ok()
    second = make("second")
    request = second("admin", "request", "--no-passphrase").stdout.strip()
    second("admin", "accept", input=admin("admin", "add", request, "--tenant", "acme").stdout)
    spare = Joiner(admin("token", "create", "--role", "branch").stdout)
    spare.join(coordinator, "plant-8").ok()
    admin("node", "revoke", "plant-8", "--yes")
    old = admin.json("admin", "show")["root"]
    assert "--yes" in admin("admin", "rollover", "--no-passphrase", code=2).stderr
    admin("admin", "rollover", "--no-passphrase", "--yes", "--retire-after", "1d")
    files = modes(admin.configuration)
    assert {"root.key", "root-old.key"} <= set(files) and set(files.values()) == {0o600}
    assert not {"root-next.key", "rollover.jws"} & set(files)
    report = admin.json("admin", "show")
    assert report["root"] != old and len(report["admins"]) == 2
    # What broke off between its last steps is brought to its end.
    login = json.loads((admin.configuration / "login.json").read_text())
    rollovers = coordinator.call("GET", "/v1/organisation", token=login["api_token"]).ok()
    for is_renamed in (False, True):
        if not is_renamed:
            (admin.configuration / "root.key").rename(admin.configuration / "root-next.key")
        leftover = admin.configuration / "rollover.jws"
        leftover.write_text(rollovers["rollovers"][-1] + "\n")
        leftover.chmod(0o600)
        assert report["root"] in admin("admin", "rollover", "--yes").stdout
        files = modes(admin.configuration)
        assert {"root.key", "root-old.key"} <= set(files)
        assert not {"root-next.key", "rollover.jws"} & set(files)
    text = admin("token", "create", "--role", "branch").stdout
    assert text.split("~")[1] == report["root"]
    Joiner(text).join(coordinator, "plant-9").ok()
    text = second("token", "create", "--role", "branch").stdout
    assert text.split("~")[1] == report["root"]
    admin("node", "renew", "--all", "--yes")
    admin("node", "suspend", "plant-9", "--yes")
    admin("admin", "renew", "--days", "400")
    assert "signed" in admin("node", "show", "plant-7").stdout


# The audit log


def test_audit_log_is_listed_exported_and_verified(admin, coordinator):
    admin("group", "add", "plants")
    assert "group.add" in admin("audit", "--tenant", "acme").stdout
    assert "tenant.add" in admin("audit", "list", "--since", "1h").stdout
    assert len(admin.json("audit", "--limit", "1")) == 1
    exported = admin("audit", "export", "log.jsonl")
    assert (admin.folder / "log.jsonl").stat().st_mode & 0o777 == 0o600
    verified = admin("audit", "verify", "log.jsonl").stdout
    number, last = verified.split()[1], verified.split()[-1]
    assert last in exported.stderr
    assert "exists already" in admin("audit", "export", "log.jsonl", code=2).stderr
    assert admin("audit", "export", "-").stdout == (admin.folder / "log.jsonl").read_text()
    admin("group", "add", "models")
    later = admin("audit", "export", "-").stdout
    admin("audit", "verify", "-", "--number", number, "--hash", last, input=later)


def log_in(admin, other, coordinator, *options):
    """Makes an API token and logs another admin in with it."""
    token = admin("admin", "api-token", "create", "other", *options).stdout.strip()
    other("admin", "login", "--coordinator", coordinator.url, "--pin", pin(coordinator),
          "--root", admin.json("admin", "show")["root"], input=token)


def test_export_needs_a_token_of_all_tenants(admin, make, coordinator):
    second = make("second")
    log_in(admin, second, coordinator, "--role", "security-admin", "--tenant", "acme")
    result = second("audit", "export", "log.jsonl", code=1)
    assert "token of all tenants" in result.stderr and "broken" not in result.stderr
    assert not (second.folder / "log.jsonl").exists()
    assert "tenant.add" in second("audit").stdout


def test_show_counts_what_is_revoked(admin, coordinator):
    assert "organisation: none" in admin("admin", "show").stdout
    Joiner(admin("token", "create", "--role", "branch").stdout).join(coordinator, "plant-7").ok()
    admin("node", "revoke", "plant-7", "--yes")
    one, = admin.json("admin", "show")["tenant_revocations"]
    assert one["tenant"] == "acme" and one["count"] >= 1
    shown = admin("admin", "show").stdout
    assert f"acme: list {one['number']} of {one['count']}" in shown


def test_lists_are_for_people(admin, coordinator):
    for name in ("b", "c", "a"):
        Joiner(admin("token", "create", "--role", "branch").stdout).join(coordinator, name).ok()
    admin("node", "add", "bb", "--output", "bb.conf")
    rows = admin("node", "list").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["a", "b", "bb", "c"]
    assert " - " in rows[2]
    admin("node", "suspend", "a", "--yes")
    key = admin.json("node", "show", "a")["node"]
    shown = admin("audit", "-t", "acme").stdout
    assert f"a ({key})" in shown and "api-token:owner" in shown
    admin("admin", "api-token", "create", "ci", "--role", "security-admin", "-t", "acme")


# A coordinator that was taken over


def database(coordinator, command, *arguments):
    """Changes the coordinator's storage behind its back; it must not run."""
    import sqlite3

    path = coordinator.folder / "state" / "coordinator.sqlite"
    with sqlite3.connect(path) as connection:
        rows = connection.execute(command, arguments).fetchall()
        connection.commit()
    connection.close()
    return rows


def restore(coordinator, copy):
    """Puts an older state of the coordinator in place of the current one."""
    coordinator.stop()
    state = coordinator.folder / "state"
    for path in state.glob("coordinator.sqlite*"):
        path.unlink()
    for path in copy.iterdir():
        target = state / path.name
        target.touch(0o600)
        target.write_bytes(path.read_bytes())
    coordinator.start()


def snapshot(coordinator, folder):
    coordinator.stop()
    folder.mkdir()
    for path in (coordinator.folder / "state").glob("coordinator.sqlite*"):
        (folder / path.name).write_bytes(path.read_bytes())
    coordinator.start()


def test_older_revocation_lists_and_grants_are_noticed(admin, coordinator, tmp_path):
    for name in ("plant-7", "plant-8"):
        text = admin("token", "create", "--role", "branch").stdout
        Joiner(text).join(coordinator, name).ok()
    snapshot(coordinator, tmp_path / "before")
    admin("node", "renew", "plant-7")
    snapshot(coordinator, tmp_path / "between")
    admin("node", "revoke", "plant-8", "--yes")
    restore(coordinator, tmp_path / "between")
    for arguments in (["node", "suspend", "plant-7", "--yes"], ["node", "renew", "plant-7"],
                      ["token", "create", "--role", "branch"]):
        assert "older or shorter revocation list" in admin(*arguments, code=1).stderr
    (admin.configuration / "seen.json").write_text(json.dumps({
        "lists": [], "serials": json.loads(
            (admin.configuration / "seen.json").read_text())["serials"]}))
    admin("token", "create", "--role", "branch")
    restore(coordinator, tmp_path / "before")
    assert "older grant of plant-7" in admin("node", "renew", "plant-7", code=1).stderr


def test_forged_chains_are_not_signed_again(admin, coordinator):
    text = admin("token", "create", "--role", "branch").stdout
    node = Joiner(text)
    node.join(coordinator, "plant-7").ok()
    other = Joiner(text)
    thief = coordinator.organisation  # Keys that nobody here believes.
    forged = thief.grant(node.key, "acme", "gateway", ["0.0.0.0/0"], other.public_key)
    coordinator.stop()
    database(coordinator, "UPDATE nodes SET chain = ?", forged)
    coordinator.start()
    for arguments in (["node", "renew", "plant-7"], ["node", "suspend", "plant-7", "--yes"]):
        result = admin(*arguments, code=1)
        assert "nobody in this organisation signed" in result.stderr
    assert "does not count: unknownIssuer" in admin("node", "show", "plant-7").stdout
    # It is cut off nevertheless.
    assert "only its key" in admin("node", "revoke", "plant-7", "--yes").stderr
    assert admin.json("node", "show", "plant-7")["state"] == "revoked"
