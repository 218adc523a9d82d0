"""The units, as systemd runs them: in a container that systemd-nspawn boots."""

import subprocess
import time

import pytest
from commands import PROJECT, run
from conftest import LATER
from roots import ENVIRONMENT, unpacked

# In tenths, of `systemd-analyze security`. Only CAP_SYS_ADMIN may enter a network namespace, which
# tenants of a gateway have.
EXPOSURE_MAX = {
    "branchlined.service": 20, "branchline@.service": 20, "branchline-coordinator.service": 20,
    "branchline-gateway.service": 24}
BOOT_SECONDS_MAX = 60


class Machine:
    """A container with a network of its own, and systemd as its first process."""

    def __init__(self, root):
        self.root = root
        self.log = open(root.path / "root" / "console", "w+b")
        self.spawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={root.path}", "--boot",
             "--private-network", "--register=no", "--keep-unit", "--console=pipe",
             "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_SYS_ADMIN", "--system-call-filter=bpf",
             "--resolv-conf=off", "--link-journal=no"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        self.first = None

    def boot(self):
        deadline = time.monotonic() + BOOT_SECONDS_MAX
        while time.monotonic() < deadline:
            children = subprocess.run(
                ["pgrep", "--parent", str(self.spawn.pid)], capture_output=True, text=True).stdout
            if children:
                self.first = children.split()[0]
                if self.run("systemctl is-system-running", check=False).strip() in (
                        "running", "degraded"):
                    return
            assert self.spawn.poll() is None, self.console()
            time.sleep(0.5)
        raise AssertionError(f"not booted after {BOOT_SECONDS_MAX} s\n{self.console()}")

    def console(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def run(self, command, check=True):
        done = subprocess.run(
            ["nsenter", f"--target={self.first}", "--all", "/bin/bash", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=ENVIRONMENT, timeout=120)
        if check and done.returncode != 0:
            journal = self.run("journalctl --no-pager --lines 40", check=False)
            raise AssertionError(
                f"{command}: exit code {done.returncode}\n{done.stdout}\n{journal}")
        return done.stdout

    def wait(self, command):
        """Until a command succeeds."""
        for _ in range(100):
            answer = self.run(f"{command} || echo failed", check=False)
            if not answer.endswith("failed\n"):
                return answer
            time.sleep(0.2)
        return self.run(command)

    def processes(self, unit):
        """Of the programs that a unit runs, by number."""
        group = self.run(f"systemctl show --property ControlGroup --value {unit}").strip()
        if not group:
            return []
        return self.run(f"cat /sys/fs/cgroup/systemd{group}/cgroup.procs "
                        f"/sys/fs/cgroup{group}/cgroup.procs 2>/dev/null", check=False).split()

    def close(self):
        if self.spawn.poll() is None:
            self.spawn.terminate()
            try:
                self.spawn.wait(20)
            except subprocess.TimeoutExpired:
                self.spawn.kill()
                self.spawn.wait()
        self.log.close()


@pytest.fixture(scope="module")
def machine(packages, later_packages):
    with unpacked() as root:
        root.run("apt-get -qq update && apt-get -qqy install --no-install-recommends "
                 "systemd systemd-sysv iproute2 nftables wireguard-tools procps")
        files = root.add(*packages.values())
        root.run("apt-get -qqy install --no-install-recommends " + " ".join(files))
        root.add(*later_packages.values())
        (root.path / "etc/hostname").write_text("hq\n")
        (root.path / "etc/hosts").write_text("127.0.0.1 localhost hq\n")
        machine = Machine(root)
        try:
            machine.boot()
            yield machine
        finally:
            machine.close()


@pytest.fixture(scope="module")
def organisation(machine):
    """A coordinator that was set up, and a token for each role."""
    said = machine.wait("journalctl -u branchline-coordinator -o cat | grep 'Coordinator at'")
    address, pin = said.split(",")[0].split()[-1], said.split()[-1]
    machine.run(
        f"branchline admin init {address} --pin {pin} --no-passphrase --setup-code "
        "$(cat /var/lib/branchline-coordinator/setup-code) && "
        "branchline tenant add acme --pool 10.64.0.0/16 && "
        "branchline token create --tenant acme --role gateway >/root/gateway.token")
    return machine


@pytest.fixture(scope="module")
def joined(organisation):
    organisation.run(
        "branchline join --token-file /root/gateway.token --endpoint 192.0.2.1:51830 && "
        "branchline down bl0 && systemctl start branchlined")
    organisation.wait("branchline status bl0 | grep 'state *active'")
    return organisation


@pytest.fixture(scope="module")
def tunnel(machine):
    """One of a configuration file with a default route, hooks and SaveConfig."""
    machine.run("""
        umask 077
        cat >/etc/wireguard/wg7.conf <<END
[Interface]
PrivateKey = $(branchline genkey)
Address = 10.7.0.1/24
PostUp = nft add table inet branchline-test
PostDown = nft delete table inet branchline-test
SaveConfig = true
[Peer]
PublicKey = $(branchline genkey | branchline pubkey)
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.9:51820
END
        systemctl start branchline@wg7""")
    return machine


@pytest.fixture(scope="module")
def gateway(machine):
    """One with a tenant in a network namespace."""
    machine.run("""
        umask 077
        mkdir -p /etc/branchline
        for tenant in acme beta; do
            printf '[Interface]\nPrivateKey = %s\nAddress = 10.0.0.1/24\n' "$(branchline genkey)" \
                >/etc/branchline/$tenant.conf
        done
        branchline gateway add acme --configuration /etc/branchline/acme.conf
        systemctl start branchline-gateway""")
    machine.wait("branchline gateway show | grep 'acme *up'")
    return machine


@pytest.mark.parametrize("unit", EXPOSURE_MAX)
def test_unit_exposes_no_more_than_it_must(unit):
    run("systemd-analyze", "security", "--offline=true", "--no-pager",
        f"--threshold={EXPOSURE_MAX[unit]}", str(PROJECT / "Packaging/systemd" / unit))


@pytest.mark.parametrize("unit", EXPOSURE_MAX)
def test_systemd_has_no_complaint_of_a_unit(machine, unit):
    unit = unit.replace("@.", "@wg0.")
    assert machine.run(f"systemd-analyze verify --man=no {unit} 2>&1") == ""


def test_coordinator_runs_from_installation_on_without_capabilities(organisation):
    process = organisation.processes("branchline-coordinator")[0]
    status = organisation.run(f"cat /proc/{process}/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "Seccomp:\t2" in status
    owner = organisation.run(f"stat --format %U /proc/{process}").strip()
    assert owner == "branchline-coordinator"


def test_coordinators_user_makes_a_backup_while_it_serves(organisation):
    state = "/var/lib/branchline-coordinator"
    organisation.run(f"runuser -u branchline-coordinator -- branchline-coordinator backup "
                     f"--state {state} {state}/copy.sqlite")
    assert organisation.run("systemctl is-active branchline-coordinator").strip() == "active"


def test_joined_node_runs_with_what_it_needs(joined):
    process = joined.processes("branchlined")[0]
    status = joined.run(f"cat /proc/{process}/status")
    assert "CapBnd:\t0000008000001000" in status  # CAP_NET_ADMIN and CAP_BPF
    report = joined.run("branchline status bl0")
    assert "10.64.0.1/32" in report
    # Of what the daemon would like, least privilege takes nothing that moves packets.
    assert "needs CAP_BPF" not in report and "time slice" not in report
    assert joined.wait("branchline status bl0 | grep 'coordinator.*connected'")


def test_installed_daemon_goes_on_in_the_unit_at_a_reload(joined):
    before = joined.processes("branchlined")
    joined.run("systemctl reload branchlined")
    joined.wait(f"! kill -0 {before[0]} 2>/dev/null")
    after = joined.processes("branchlined")
    assert after and not set(after) & set(before)
    assert joined.run("systemctl is-active branchlined").strip() == "active"
    assert "10.64.0.1/32" in joined.run("branchline status bl0")


def test_tunnel_of_a_file_comes_up_with_default_route_and_hooks(tunnel):
    assert "10.7.0.1/24" in tunnel.run("ip -brief address show wg7")
    assert "lookup 51820" in tunnel.run("ip rule")
    assert "inet branchline-test" in tunnel.run("nft list tables")
    assert tunnel.run("cat /proc/sys/net/ipv4/conf/all/src_valid_mark").strip() == "1"


def test_gateway_serves_tenants_in_namespaces_that_the_host_sees(gateway):
    assert "10.0.0.1/24" in gateway.run("ip -n acme -brief address show acme0")
    refused = gateway.run(
        "branchline gateway add beta --configuration /etc/branchline/beta.conf && exit 1 || true")
    assert "not allowed to prepare /run/netns" in refused
    gateway.run("ip netns add beta && "
                "branchline gateway add beta --configuration /etc/branchline/beta.conf")
    assert "10.0.0.1/24" in gateway.run("ip -n beta -brief address show beta0")


def test_new_version_goes_on_where_the_old_one_ran(joined, tunnel, gateway):
    units = ("branchlined", "branchline@wg7", "branchline-gateway", "branchline-coordinator")
    before = {unit: joined.processes(unit) for unit in units}
    joined.run(f"dpkg --install /root/branchline_{LATER}_*.deb "
               f"/root/branchline-coordinator_{LATER}_*.deb")
    for unit in units:
        joined.wait(f"! kill -0 {before[unit][0]} 2>/dev/null")
        assert joined.processes(unit), unit
        assert joined.run(f"systemctl is-active {unit}").strip() == "active"
    for interface in ("bl0", "wg7"):
        handover = joined.run(
            f"journalctl -o cat | grep '{interface}: version .* in the place of'")
        assert "packets waited" in handover
    assert "acme" in joined.run("ip netns")


def test_stopped_tunnel_leaves_nothing(tunnel):
    tunnel.run("systemctl stop branchline@wg7")
    assert "wg7" not in tunnel.run("ip -brief link")
    assert "51820" not in tunnel.run("ip rule")
    assert tunnel.run("nft list tables") == ""
    assert tunnel.run("stat --format %a /etc/wireguard/wg7.conf").strip() == "600"


def test_daemon_that_crashes_is_started_again(joined):
    joined.run("systemctl restart branchlined")
    joined.wait("branchline status bl0 | grep 'state *active'")
    # Also one that went on in the place of another.
    joined.run("systemctl reload branchlined")
    process = joined.run("systemctl show --property MainPID --value branchlined").strip()
    joined.run(f"kill -SEGV {process}")
    joined.wait("test $(systemctl show --property NRestarts --value branchlined) -ge 1 && "
                "branchline status bl0 | grep 'state *active'")


def test_removal_ends_what_runs(joined):
    joined.run("dpkg --purge branchline branchline-coordinator")
    assert joined.run("pgrep branchline || true") == ""
    assert joined.run("systemctl list-units --all --plain --no-legend 'branchline*'"
                      " | grep -v slice || true") == ""
