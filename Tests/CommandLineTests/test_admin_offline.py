"""The admins' commands without a coordinator: usage, help, and verifying an audit log."""

import hashlib
import json
import subprocess

import pytest

from admin import Admin

COMMANDS = {
    "admin": ["init", "show", "request", "add", "accept", "renew", "revoke", "rollover", "login",
              "logout", "api-token"],
    "tenant": ["add", "list", "show", "remove", "pool"],
    "token": ["create", "list", "revoke"],
    "node": ["list", "show", "suspend", "resume", "revoke", "approve", "renew", "regroup",
             "rename", "endpoint", "remove", "add", "config"],
    "group": ["add", "list", "remove"],
    "policy": ["show", "set", "test"],
    "qos": ["status", "explain", "local", "show", "set"],
    "audit": ["list", "export", "verify"],
}


@pytest.fixture
def admin(program, tmp_path):
    return Admin(program, tmp_path)


@pytest.mark.parametrize("group", COMMANDS)
def test_every_command_has_help_with_an_example(admin, group):
    overview = admin(group, "--help").stdout
    assert f"branchline {group}" in overview.split("USAGE")[0]
    for command in COMMANDS[group]:
        assert f"  {command}" in overview.split("SUBCOMMANDS")[1]
        text = admin(group, command, "--help").stdout.split("USAGE")[0]
        assert f"branchline {group} {command}" in text, command


@pytest.mark.parametrize("arguments", [
    ["admin"], ["admin", "frob"], ["admin", "init"], ["tenant", "add", "acme"],
    ["tenant", "add", "Acme", "--pool", "10.0.0.0/8"], ["tenant", "add", "acme", "--pool", "x"],
    ["tenant", "add", "acme", "--pool", "10.64.0.5/16"],
    ["token", "create"], ["token", "create", "--role", "king"],
    ["token", "create", "--role", "branch", "--expires", "91d"],
    ["token", "create", "--role", "branch", "--profile", "branchline"],
    ["token", "create", "--role", "branch", "--expires", "1"],
    ["token", "create", "--role", "branch", "--expires", "0s"],
    ["token", "create", "--role", "branch", "--grant-for", "399d"],
    ["node", "renew"], ["node", "renew", "x", "--all"], ["node", "endpoint", "x"],
    ["node", "list", "--state", "dead"], ["policy", "test", "a", "b", "tcp"],
    ["policy", "test", "a", "b", "icmp", "1"], ["policy", "test", "a", "b", "sctp", "1"],
    ["policy", "test", "a", "b", "1", "2"], ["policy", "test", "a", "b", "65536"],
    ["policy", "test", "a", "b", "1", "--transport", "icmp"],
    ["policy", "test", "a", "b", "tcp", "1", "--transport", "tcp"],
    ["node", "config", "x", "--qr"], ["node", "add", "x", "--json", "--output", "-"],
    ["node", "add", "x", "--public-key", "x", "--qr"],
    ["audit", "verify", "x", "--number", "1"], ["admin", "renew", "--days", "0"],
    ["admin", "renew", "--days", "1097"], ["audit", "--since", "yesterday"],
])
def test_wrong_usage_is_64(admin, arguments):
    code = 0 if arguments == ["admin"] else 64
    admin(*arguments, code=code)


@pytest.mark.parametrize("arguments", [
    ["admin", "show"], ["tenant", "list"], ["token", "list"], ["node", "list"],
    ["group", "list"], ["policy", "show"], ["qos", "show"], ["audit"],
])
def test_without_a_login_the_way_to_one_is_told(admin, arguments):
    result = admin(*arguments, code=1)
    assert "branchline admin init" in result.stderr and not result.stdout
    assert not admin.configuration.exists()


@pytest.mark.parametrize("url", ["hq.example", "http://hq.example", "https://hq.example:0"])
def test_impossible_addresses_are_bad_input(admin, url):
    result = admin("admin", "init", url, "--setup-code", "x", "--no-passphrase", code=2)
    assert "https://hq.example:8443" in result.stderr


def test_unreachable_coordinators_are_told(admin):
    result = admin("admin", "init", "https://127.0.0.1:1", "--setup-code", "x",
                   "--no-passphrase", code=1)
    assert "cannot be reached" in result.stderr and "refused" in result.stderr


def test_policy_files_are_tried_offline(admin):
    policy = {"rules": [{"name": "r", "from": ["*"], "to": ["models"], "transport": "*",
                         "ports": []}],
              "tests": [{"from": "a", "to": "models", "transport": "udp", "port": 53,
                         "allowed": True}],
              "services": [{"name": "chat", "destinations": ["10.9.0.0/24"]}]}
    (admin.folder / "p.json").write_text(json.dumps(policy))
    admin("policy", "test", "a", "models", "udp", "53", "--file", "p.json")
    admin("policy", "test", "models", "a", "udp", "53", "--file", "p.json", code=1)
    result = admin("policy", "test", "10.0.0.1", "a", "53", "--file", "p.json", code=2)
    assert "leave --file out" in result.stderr
    for sides in (("nosuch", "models"), ("a", "nosuch")):
        result = admin("policy", "test", *sides, "53", "--file", "p.json", code=2)
        assert "nosuch is no group or service that p.json names" in result.stderr
        assert not result.stdout
    result = admin("policy", "test", "chat", "models", "53", "--file", "p.json", code=2)
    assert "services open no connections" in result.stderr


@pytest.mark.parametrize("change, message", [
    ({"ports": [443]}, 'a text is wanted at rules[0].ports[0]; ports are texts such as "443"'),
    ({"ports": "443"}, "a list is wanted at rules[0].ports"),
    ({"form": ["a"]}, "nothing is known of rules[0].form"),
    ({"name": None}, "a text is wanted at rules[0].name"),
])
def test_policy_files_are_refused_with_the_place(admin, change, message):
    rule = {"name": "r", "from": ["*"], "to": ["models"], "transport": "tcp", "ports": []}
    (admin.folder / "p.json").write_text(json.dumps({"rules": [{**rule, **change}], "tests": []}))
    result = admin("policy", "test", "a", "models", "udp", "53", "--file", "p.json", code=2)
    assert message in result.stderr


def test_only_icmp_needs_no_ports(admin):
    rule = {"name": "r", "from": ["a"], "to": ["models"], "transport": "icmp"}
    (admin.folder / "p.json").write_text(json.dumps({"rules": [rule], "tests": []}))
    admin("policy", "test", "a", "models", "icmp", "--file", "p.json")
    rule["transport"] = "tcp"
    (admin.folder / "p.json").write_text(json.dumps({"rules": [rule], "tests": []}))
    result = admin("policy", "test", "a", "models", "tcp", "1", "--file", "p.json", code=2)
    assert "ports is missing" in result.stderr


# The audit log: made here as its description says, so that two implementations agree.


def text_of(entry):
    def field(text):
        return f"{len(text.encode())}:{text}\n"

    details = sorted(entry["details"].items(), key=lambda item: item[0].encode())
    return (
        f"branchline-audit-1\n{entry['number']}\n{entry['at']}\n" + field(entry["actor"])
        + field(entry["action"])
        + (field(entry["tenant"]) if "tenant" in entry else "-\n") + field(entry["subject"])
        + f"{len(details)}\n" + "".join(field(name) + field(value) for name, value in details)
        + field(entry["previous"]))


def log(count):
    entries, previous = [], "0" * 64
    for number in range(1, count + 1):
        entry = {"number": number, "at": 1_800_000_000 + number, "actor": "api-token:x",
                 "action": "tenant.add", "subject": "Zürich \u2028",
                 "details": {"b": "2", "a": "1\n", "A_b": ""}, "previous": previous}
        if number % 2:
            entry["tenant"] = "acme"
        previous = entry["hash"] = hashlib.sha256(text_of(entry).encode()).hexdigest()
        entries.append(entry)
    return entries


def lines(entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def verify(admin, text, code=0, *options):
    result = admin("audit", "verify", "-", "--json", *options, input=text, code=code)
    return json.loads(result.stdout)


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_an_intact_log_verifies(admin, count):
    entries = log(count)
    report = verify(admin, lines(entries))
    assert report["is_intact"] and report["entries"] == count
    assert report["last_hash"] == entries[-1]["hash"]
    assert verify(admin, lines(entries).rstrip("\n"))["entries"] == count


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_log_without_entries_is_broken(admin, text):
    report = verify(admin, text, 1)
    assert not report["is_intact"] and "no entries" in report["fault"]
    assert "no entries" in admin("audit", "verify", "-", input=text, code=1).stdout


def changed(entries, index, **fields):
    copy = [dict(entry) for entry in entries]
    copy[index].update(fields)
    return copy


def test_the_first_bad_entry_is_named(admin):
    good = log(9)
    for broken, first in [
        (changed(good, 4, actor="somebody"), 5), (changed(good, 4, at=1), 5),
        (changed(good, 4, subject="x"), 5), (changed(good, 4, details={}), 5),
        (changed(good, 4, details={**good[4]["details"], "c": ""}), 5),
        (changed(good, 4, hash=good[3]["hash"]), 5), (changed(good, 4, number=6), 5),
        (changed(good, 8, action="x"), 9), (changed(good, 0, previous="1" * 64), 1),
        (good[1:], 1), (good[:4] + good[5:], 5), (good[:4] + [good[3]] + good[4:], 5),
        (good[:3] + [good[4], good[3]] + good[5:], 4),
    ]:
        report = verify(admin, lines(broken), 1)
        assert not report["is_intact"] and report["first_bad"] == first, report
    for text, first in [("x\n", 1), ("{}\n", 1), (lines(good) + "{", 10),
                        (lines(good[:2]) + "\0" + lines(good[2:]), 3)]:
        assert verify(admin, text, 1)["first_bad"] == first


def test_a_log_that_was_cut_off_or_written_anew_shows_by_a_noted_hash(admin):
    good = log(9)
    noted = ["--number", "7", "--hash", good[6]["hash"]]
    assert verify(admin, lines(good), 0, *noted)["is_intact"]
    assert verify(admin, lines(good[:7]), 0, *noted)["is_intact"]
    assert verify(admin, lines(good[:6]), 1, *noted)["first_bad"] == 7
    noted[3] = good[5]["hash"]
    assert verify(admin, lines(good), 1, *noted)["first_bad"] == 7


def test_verify_tells_people_in_a_line(admin):
    (admin.folder / "log").write_text(lines(changed(log(3), 1, actor="x")))
    result = admin("audit", "verify", "log", code=1)
    assert result.stdout.startswith("broken at entry 2") and result.stdout.count("\n") == 1
    assert "cannot read" in admin("audit", "verify", "nosuch", code=2).stderr


def test_endless_lines_are_refused(program):
    reader = subprocess.Popen(
        [program, "audit", "verify", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for _ in range(20):
            reader.stdin.write(b"a" * (1 << 20))
        reader.stdin.close()
    except BrokenPipeError:
        pass
    assert reader.wait(60) == 2
    assert b"a line of more than" in reader.stderr.read()
