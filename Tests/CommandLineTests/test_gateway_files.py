"""`branchline gateway` without a running gateway: what it writes, and what it refuses."""

import json
import os

import pytest


@pytest.fixture
def gateway(run, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the gateway's folder is root's")
    return Files(run, tmp_path)


class Files:
    """A state folder of its own, and the commands on it."""

    def __init__(self, run, folder):
        self.run, self.state = run, folder / "state"
        self.folder = self.state / "gateway"

    def call(self, *arguments, **options):
        return self.run(*arguments, environment={"BRANCHLINE_STATE": str(self.state)}, **options)

    def add(self, tenant, *options):
        done = self.call("gateway", "add", tenant, *options)
        assert done.returncode == 0, done.stderr
        return self.read(tenant)

    def refuse(self, *arguments, code=2):
        done = self.call("gateway", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def read(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def write(self, name, text, mode=0o600):
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        path = self.folder / f"{name}.json"
        path.write_text(text)
        path.chmod(mode)


ADDRESS = ("--address", "10.0.0.1/24")


def test_add_writes_one_private_file(gateway):
    written = gateway.add(
        "acme", *ADDRESS, "--address", "fd00::1/64", "--weight", "3", "--minimum-rate", "10M",
        "--maximum-rate", "1.5G", "--maximum-packets", "200k", "--handshakes", "50",
        "--peers-max", "100", "--flows-max", "64", "--route-hook", "/bin/true",
        "--configuration", "acme.conf")
    assert written == {
        "tenant": "acme", "interface": "acme0", "place": {"namespace": "acme"},
        "addresses": ["10.0.0.1/24", "fd00::1/64"],
        "configuration": f"{gateway.state.parent}/acme.conf", "routeHook": "/bin/true",
        "limits": {
            "weight": 3, "minimumRate": 10_000_000, "maximumRate": 1_500_000_000,
            "maximumPacketsPerSecond": 200_000, "handshakesPerSecond": 50, "peersMax": 100,
            "flowsMax": 64}}
    assert gateway.folder.stat().st_mode & 0o777 == 0o700
    assert (gateway.folder / "acme.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("options, place", [
    (("--table", "100"), {"table": 100}), (("--vrf", "blue"), {"vrf": "blue"}),
    (("--host",), {"host": True}), (("--namespace", "x"), {"namespace": "x"}),
    (("--namespace", "/proc/1/ns/net"), {"namespace": "/proc/1/ns/net"}), ((), {"namespace": "t"}),
])
def test_places(gateway, options, place):
    assert gateway.add("t", *ADDRESS, *options)["place"] == place


def test_interfaces_get_free_names(gateway):
    gateway.add("acme", *ADDRESS, "--interface", "beta0")
    assert gateway.add("beta", *ADDRESS)["interface"] == "beta1"
    assert gateway.add("a-tenant-with-a-long-name", *ADDRESS)["interface"] == "a-tenant-with-0"


@pytest.mark.parametrize("options, words", [
    ((), "has no addresses"),
    ((*ADDRESS, "--minimum-rate", "2M", "--maximum-rate", "1M"), "contradict"),
    ((*ADDRESS, "--weight", "0"), "weight"), ((*ADDRESS, "--weight", "1001"), "weight"),
    ((*ADDRESS, "--table", "254"), "table 254"), (("--address", "127.0.0.1/8"), "127.0.0.1/8"),
    ((*ADDRESS, *ADDRESS), "twice"), ((*ADDRESS, "--interface", "a b"), "a b"),
    ((*ADDRESS, "--namespace", "a/b"), "a/b"), ((*ADDRESS, "--vrf", "a/b"), "a/b"),
])
def test_add_refuses_by_name(gateway, options, words):
    assert words in gateway.refuse("add", "acme", *options)
    assert not (gateway.folder / "acme.json").exists()


@pytest.mark.parametrize("options", [
    ("--table", "0x1"), ("--maximum-rate", "fast"), ("--maximum-rate", "1e99G"),
    ("--address", "10.0.0.1/33"), ("--namespace", "a", "--table", "1"),
])
def test_add_refuses_wrong_usage(gateway, options):
    gateway.refuse("add", "acme", *options, code=64)


@pytest.mark.parametrize("name", ["Acme", "a_b", "-", "gateway", "status", "../x", "é"])
def test_impossible_names_are_refused(gateway, name):
    assert "cannot name a tenant" in gateway.refuse("add", "--", name, *())
    assert not gateway.folder.exists() or not list(gateway.folder.iterdir())


def test_one_name_interface_and_place_each(gateway):
    gateway.add("acme", *ADDRESS, "--table", "100")
    assert "already" in gateway.refuse("add", "acme", *ADDRESS)
    assert "acme0" in gateway.refuse("add", "beta", *ADDRESS, "--interface", "acme0")
    assert "table 100" in gateway.refuse("add", "beta", *ADDRESS, "--table", "100")
    gateway.add("beta", *ADDRESS, "--table", "101")
    assert "table 100" in gateway.refuse("set", "beta", "--table", "100")
    assert gateway.read("beta")["place"] == {"table": 101}


def test_set_changes_what_is_given(gateway):
    gateway.add("acme", *ADDRESS, "--maximum-rate", "1G", "--peers-max", "5")
    done = gateway.call(
        "gateway", "set", "acme", "--maximum-rate", "none", "--weight", "9", "--address",
        "10.0.0.2/24")
    assert done.returncode == 0 and "does not run" in done.stdout, done.stderr
    written = gateway.read("acme")
    assert written["limits"] == {"weight": 9, "peersMax": 5}
    assert written["addresses"] == ["10.0.0.2/24"] and written["interface"] == "acme0"
    assert "nothing would change" in gateway.refuse("set", "acme")
    same = gateway.call("gateway", "set", "acme", "--weight", "9")
    assert same.returncode == 0 and "acme is so already" in same.stdout, same.stderr
    assert "no tenant beta" in gateway.refuse("set", "beta", "--weight", "9")
    assert "contradict" in gateway.refuse("set", "acme", "--weight", "0")


def test_remove_takes_a_broken_file_too(gateway):
    gateway.write("acme", "{")
    assert "give --yes" in gateway.refuse("remove", "acme")
    done = gateway.call("gateway", "remove", "acme", "--yes")
    assert done.returncode == 0 and not (gateway.folder / "acme.json").exists()
    assert "no tenant acme" in gateway.refuse("remove", "acme", "--yes")


def test_show_tells_of_faults_without_a_gateway(gateway):
    gateway.add("acme", *ADDRESS)
    gateway.write("broken", '{"tenant":"broken",')
    gateway.write("open", "{}", mode=0o644)
    gateway.write("typo", '{"tenant":"typo","interface":"t0","place":{"host":true},"limit":{}}')
    shown = json.loads(gateway.call("gateway", "show", "--json").stdout)
    assert shown["is_running"] is False and shown["listen_port"] == 51820
    faults = {t["tenant"]: t.get("fault", {}).get("kind") for t in shown["tenants"]}
    assert faults == {
        "acme": None, "broken": "fileBroken", "open": "fileUnreadable", "typo": "unknownMember"}
    text = gateway.call("gateway", "show").stdout
    assert "does not run" in text and "broken.json" in text and '"limit"' in text


def test_tenant_show_prefers_the_gateway_here(gateway):
    gateway.add("acme", *ADDRESS, "--maximum-rate", "20M", "--table", "100")
    for command in (("tenant", "show", "acme"), ("status", "--tenant", "acme")):
        done = gateway.call(*command)
        assert done.returncode == 0, done.stderr
        for word in ("tenant acme", "stopped", "table 100", "at most 20.00 Mbit/s"):
            assert word in done.stdout, done.stdout
        shown = json.loads(gateway.call(*command, "--json").stdout)
        assert shown["tenant"] == "acme" and shown["limits"]["maximum_rate"] == 20_000_000
    assert gateway.call("status", "--tenant", "beta").returncode == 2
    typo = gateway.call("tenant", "show", "acmee")
    assert typo.returncode != 0
    assert "the gateway here has no tenant acmee; it has acme" in typo.stderr, typo.stderr
    assert gateway.call("status", "wg0", "--tenant", "acme").returncode == 64


def test_what_needs_a_running_gateway_says_so(gateway):
    for command in (["stop"], ["reload"]):
        assert "gateway start" in gateway.refuse(*command, code=1)


def test_start_refuses_unusable_settings(gateway):
    gateway.write("gateway", '{"listenPort":0}')
    assert "listenPort" in gateway.refuse("start")
    gateway.refuse("start", "--listen-port", "0", code=64)
    gateway.write("gateway", '{"listenport":1}')
    assert '"listenport"' in gateway.refuse("start")


def test_status_tells_of_a_gateway_that_does_not_run(gateway):
    gateway.add("acme", *ADDRESS, "--interface", "quiet0")
    assert "the gateway does not run; 1 tenant stopped" in gateway.call("status").stdout
    told = json.loads(gateway.call("status", "--json").stdout)[-1]["gateway"]
    assert told["is_running"] is False and told["tenants"][0]["state"] == "stopped"
    done = gateway.call("status", "quiet0")
    assert done.returncode == 1, done.stdout
    assert "quiet0 is the tenant acme" in done.stderr and "gateway start" in done.stderr


def test_words_of_one(gateway):
    done = gateway.call("gateway", "add", "acme", *ADDRESS, "--peers-max", "1")
    assert "gateway set acme --configuration" in done.stdout, done.stdout
    assert "1 peer" in (shown := gateway.call("gateway", "show").stdout) and "1 peers" not in shown
    done = gateway.call("gateway", "add", "beta", "--configuration", "/etc/beta.conf")
    assert "no key" not in done.stdout


def test_start_that_fails_keeps_no_option(gateway):
    options = ("start", "--listen-port", "4000", "--daemon", "/bin/false")
    gateway.refuse(*options, code=1)
    assert not (gateway.folder / "gateway.json").exists()
    gateway.write("gateway", '{"listenPort":4001}')
    gateway.refuse(*options, code=1)
    assert gateway.read("gateway")["listenPort"] == 4001


def test_folder_of_others_is_refused(gateway):
    gateway.folder.mkdir(parents=True, mode=0o755)
    gateway.folder.chmod(0o755)
    assert "mode 755" in gateway.refuse("add", "acme", *ADDRESS, code=1)
