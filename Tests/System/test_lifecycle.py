"""Starting, daemonising, ending, descriptors handed in, and what goes wrong at the start."""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import Bench
from lab import (
    UAPI_FOLDER, branchlined, is_reference_under_test, run, wait_until, wireguard_go)
from pairs import OWN
from traffic import tcp_transfer, udp_sizes
from tunnel import LISTEN_PORT, End, echo, make_tunnel, outer_link, wait_for_handshake

TUNSETIFF = 0x4004_54CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x4000, 0x0100


def process_of(name: str) -> int | None:
    """Returns the id of the process whose last argument is this interface name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            is_tool = words and words[0].split(b"/")[-1] in (b"ip", b"sh", b"unshare")
            if name.encode() in words and not is_tool and state != "Z":
                return int(entry.name)
    return None


@pytest.fixture
def daemonised(lab):
    """Starts the daemon without -f; returns a function giving (name, namespace, exit, pid)."""

    def start(*prefix: str, **environment) -> tuple:
        namespace, name = lab.namespace(), lab.interface_name()

        def end():
            pid = process_of(name)
            if pid:
                os.kill(pid, signal.SIGKILL)
            (UAPI_FOLDER / f"{name}.sock").unlink(missing_ok=True)

        lab.closing.callback(end)
        done = subprocess.run(
            ["ip", "netns", "exec", namespace.name, *prefix, branchlined(), name], timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment})
        return name, namespace, done.returncode, process_of(name)

    return start


def test_daemonised_parent_ends_when_the_device_is_ready(daemonised):
    """When the parent has ended with 0, device and socket are there: wg-quick goes on at once."""
    name, namespace, status, pid = daemonised()
    assert status == 0
    assert name in namespace.interfaces()
    assert namespace.run("wg", "show", name).stdout.startswith(f"interface: {name}")
    assert pid
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: process_of(name) is None, 5, "the daemon ends on SIGTERM")
    assert name not in namespace.interfaces()
    assert not (UAPI_FOLDER / f"{name}.sock").exists()


@pytest.mark.branchline_only
def test_daemonised_process_leaves_the_session_of_its_caller(daemonised):
    """A hang-up of the terminal must not reach it; wireguard-go stays in the session."""
    _, _, status, pid = daemonised()
    assert status == 0 and os.getsid(pid) != os.getsid(0)


def test_daemonised_process_ends_with_its_device(daemonised):
    name, namespace, status, pid = daemonised()
    assert status == 0 and pid
    namespace.configure(f"link del {name}")
    wait_until(lambda: process_of(name) is None, 5, "the daemon ends with its device")
    assert not (UAPI_FOLDER / f"{name}.sock").exists()


@contextlib.contextmanager
def system_log(folder: Path):
    """Yields a system log's socket, and the words before a command that make it /dev/log there."""
    devices = folder / "dev"
    devices.mkdir()
    script = (
        'cd "$0" && mkdir net && for f in null urandom net/tun; do '
        ': > $f && mount --bind /dev/$f $f || exit; done; mount --rbind . /dev && exec "$@"')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        log.settimeout(30)
        yield log, ("unshare", "-m", "sh", "-c", script, str(devices))


@pytest.mark.branchline_only
@pytest.mark.parametrize("level", [None, "", "silent"])
def test_errors_in_the_background_reach_the_system_log(lab, daemonised, level):
    environment = {} if level is None else {"LOG_LEVEL": level}
    with system_log(lab.folder) as (log, prefix):
        name, namespace, status, pid = daemonised(*prefix, **environment)
        assert status == 0
        with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("0.0.0.0", LISTEN_PORT))
            namespace.run("wg", "set", name, "listen-port", str(LISTEN_PORT), check=False)
        if level == "silent":
            log.settimeout(0.5)
            with pytest.raises(TimeoutError):
                log.recv(1000)
            return
        message = log.recv(1000).decode()
        assert message.startswith("<27>"), "facility daemon, severity error"
        assert f"branchlined[{pid}]: {name}: " in message, message
        assert str(LISTEN_PORT) in message, message


@pytest.mark.branchline_only
def test_port_that_is_taken_when_the_link_goes_up_is_tried_again(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    daemon, namespace = tunnel.subject.daemon, tunnel.subject.namespace
    assert "socket_fault" not in daemon.status()
    namespace.configure(f"link set {daemon.name} down")
    wait_until(lambda: "UNCONN" not in namespace.run("ss", "-lun").stdout, 5, "the port is free")
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", LISTEN_PORT))
        namespace.configure(f"link set {daemon.name} up")
        fault = wait_until(lambda: daemon.status().get("socket_fault"), 5, "status tells")
        assert f"UDP port {LISTEN_PORT} is in use" in fault
        time.sleep(1.5)
        assert daemon.status()["socket_fault"] == fault
    # Attempts become rarer, the longer the port was taken.
    tunnel.passes(seconds=45)
    assert "socket_fault" not in daemon.status()
    assert daemon.log.count("no socket: ") == 1, "said once, not with every attempt"


@pytest.mark.branchline_only
def test_another_port_ends_the_wait_for_one_that_is_taken(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    with daemon.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        daemon.set(f"listen_port={LISTEN_PORT}")
        taken.bind(("0.0.0.0", LISTEN_PORT))
        daemon.namespace.configure(f"link set {daemon.name} up")
        wait_until(lambda: daemon.status().get("socket_fault"), 5, "status tells")
        daemon.set(f"listen_port={LISTEN_PORT + 1}")
        assert "socket_fault" not in daemon.status()
        assert daemon.get()["device"][0]["listen_port"] == [str(LISTEN_PORT + 1)]


def test_foreground_by_environment_does_not_daemonise(lab):
    namespace, name = lab.namespace(), lab.interface_name()
    process = namespace.popen(
        branchlined(), name, env={**os.environ, "WG_PROCESS_FOREGROUND": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lab.closing.callback(lambda: process.poll() is None and process.kill())
    wait_until((UAPI_FOLDER / f"{name}.sock").exists, 5, "the socket")
    assert process.poll() is None, "left the foreground"
    process.terminate()
    process.wait(30)


@pytest.mark.branchline_only
def test_sandbox_that_refuses_newer_calls_does_not_stop_the_tunnel(lab):
    """Older container runtimes answer EPERM, not ENOSYS, to calls that they do not know."""
    one, two = lab.namespace(), lab.namespace()
    outer_link(lab, one, two)
    sandbox = (sys.executable, str(Path(__file__).with_name("sandbox.py")), "441")
    first = End(one, lab.daemon(one, branchlined(), prefix=sandbox), 1).start()
    second = End(two, lab.daemon(two, branchlined()), 2).start()
    first.add_peer(second, endpoint=second.endpoint())
    second.add_peer(first)
    echo(first, second)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_signal_removes_device_and_socket(lab, number):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    daemon.namespace.configure(f"link set {daemon.name} up")
    assert daemon.end(number) == 0
    assert daemon.name not in daemon.namespace.interfaces()
    assert not daemon.socket_path.exists()


def test_deleted_device_ends_the_process(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    daemon = tunnel.subject.daemon
    daemon.namespace.configure(f"link del {daemon.name}")
    daemon.process.wait(30)
    assert daemon.process.returncode == 0, daemon.log
    assert not daemon.socket_path.exists()


def test_link_taken_down_and_up_again_passes(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    name = tunnel.subject.daemon.name
    tunnel.subject.namespace.configure(f"link set {name} down")
    time.sleep(0.3)
    assert tunnel.subject.daemon.is_alive
    tunnel.subject.namespace.configure(
        f"link set {name} up", f"address replace {tunnel.subject.inner(6)}/64 dev {name} nodad")
    tunnel.passes(tunnel.subject, seconds=12)


@pytest.mark.branchline_only
@pytest.mark.parametrize("other", [branchlined, wireguard_go], ids=lambda f: f.__name__)
def test_link_that_comes_up_configured_passes_at_once(lab, other):
    """As wg-quick does: keys, endpoint and persistent keepalive first, then the link.

    wireguard-go shakes hands while the link is still down.
    """
    one, two = lab.namespace(), lab.namespace()
    outer_link(lab, one, two)
    subject = End(one, lab.daemon(one, branchlined()), 1)
    peer = End(two, lab.daemon(two, other()), 2).start()
    peer.add_peer(subject)
    subject.daemon.start()
    subject.daemon.set(
        f"private_key={subject.key.private.hex()}", f"listen_port={subject.port}")
    subject.add_peer(peer, endpoint=peer.endpoint(), keepalive=25)
    name = subject.daemon.name
    one.configure(f"address add {subject.inner()}/24 dev {name}")
    time.sleep(0.5)
    for _ in range(2):
        began = time.time()
        one.configure(f"link set {name} up")
        # Another attempt would come after 5 s.
        wait_for_handshake(subject, peer, after=began - 0.01, seconds=1.5)
        assert echo(subject, peer, seconds=4.5) < 4.5
        one.configure(f"link set {name} down")
        time.sleep(0.5)


def test_socket_admits_only_its_owner(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    assert daemon.socket_path.stat().st_mode & 0o077 == 0


def test_socket_left_by_a_killed_daemon_is_replaced(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    daemon.end(signal.SIGKILL)
    assert daemon.socket_path.exists()
    daemon.start()


@pytest.mark.parametrize("level", ["silent", "error", "verbose", "debug", "info", "trace", "?"])
def test_log_levels_are_accepted(lab, level):
    """wireguard-go's silent, error, verbose and debug, ours besides; unknown text is no error."""
    tunnel = make_tunnel(
        lab, branchlined(), branchlined(), subject_environment={"LOG_LEVEL": level})
    tunnel.passes()
    tunnel.subject.daemon.end()
    log = tunnel.subject.daemon.log
    assert level != "silent" or is_reference_under_test() or not log.strip(), log
    assert level not in ("verbose", "debug", "trace") or log.strip()


def test_no_log_level_shows_a_secret(lab):
    """Not even at the finest level do private or preshared keys appear, in any spelling."""
    psk = os.urandom(32)
    tunnel = make_tunnel(lab, branchlined(), branchlined(), psk=psk,
                         subject_environment={"LOG_LEVEL": "trace"})
    tunnel.passes()
    log = tunnel.subject.daemon.log
    assert tunnel.subject.key.private.hex() not in log
    assert tunnel.subject.key.private_base64 not in log
    assert psk.hex() not in log


@pytest.mark.branchline_only
def test_log_tells_of_a_session_once_the_peer_has_confirmed_it(lab):
    """An answered initiation is no session yet, and whoever sends many makes no lines."""
    bench = Bench(lab)
    daemon, name = bench.end.daemon, bench.peer.key.public_base64[:10]

    def told() -> list[str]:
        return [line for line in daemon.log.splitlines() if "session established" in line]

    session = bench.peer.shake()
    time.sleep(0.3)
    assert told() == []
    assert bench.delivers(session.seal(bench.inner(b"first")), b"first")
    wait_until(told, 2, "a line in the log")
    assert bench.delivers(session.seal(bench.inner(b"second")), b"second")
    assert len(told()) == 1 and name in told()[0] and " info" in told()[0], told()
    # What a datagram brings about is told at the finest level only.
    bench.peer.socket.close()
    bench.peer.socket = bench.peer.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert bench.delivers(session.seal(bench.inner(b"moved")), b"moved")
    port = str(bench.peer.port)
    wait_until(lambda: port in daemon.peer(bench.peer.key.public)["endpoint"][0], 2, "it moved")
    assert port not in daemon.log
    assert name in daemon.log and "peer 0" not in daemon.log


def open_tun(namespace, name: str, flags: int) -> int:
    """Returns the descriptor of a TUN device made by the test."""
    with namespace.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return descriptor


def open_uapi(name: str) -> socket.socket:
    UAPI_FOLDER.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(UAPI_FOLDER / f"{name}.sock"))
    listener.listen()
    return listener


@pytest.mark.parametrize(
    "flags", [IFF_VNET_HDR, 0, pytest.param(
        IFF_VNET_HDR | IFF_MULTI_QUEUE, marks=pytest.mark.branchline_only)],
    ids=["offloads", "plain", "queues"])
@pytest.mark.parametrize("has_uapi", [False, True], ids=["tun", "tun-and-uapi"])
def test_descriptors_handed_in_carry_traffic(lab, flags, has_uapi):
    """A TUN without virtio headers stands for a kernel that lacks the offloads.

    wireguard-go of 2022 knows neither virtio headers nor queues on a descriptor it is given and
    wants the four bytes of packet information that branchlined does without.
    """
    if is_reference_under_test() and flags:
        pytest.skip("wireguard-go of 2022 reads no virtio headers")
    one, two = lab.namespace(), lab.namespace()
    outer_link(lab, one, two)
    first = lab.daemon(one, branchlined())
    flags |= IFF_TUN | (0 if is_reference_under_test() else IFF_NO_PI)
    descriptor = open_tun(one, first.name, flags)
    first.environment["WG_TUN_FD"] = str(descriptor)
    first.descriptors = (descriptor,)
    if has_uapi:
        listener = open_uapi(first.name)
        first.environment["WG_UAPI_FD"] = str(listener.fileno())
        first.descriptors += (listener.fileno(),)
    ends = End(one, first, 1), End(two, lab.daemon(two, branchlined()), 2)
    try:
        for end in ends:
            end.start()
    finally:
        os.close(descriptor)
        if has_uapi:
            listener.close()
    ends[0].add_peer(ends[1], endpoint=ends[1].endpoint())
    ends[1].add_peer(ends[0])
    echo(*ends)
    tcp_transfer(*ends, 20_000_000, is_duplex=True)
    udp_sizes(*ends, range(0, 1500, 7))
    if not flags & IFF_VNET_HDR and not is_reference_under_test():
        lines = [line for line in first.log.splitlines() if "offload" in line.lower()]
        assert len(lines) == 1, f"one line says what is missing: {lines}\n{first.log}"


# Errors at the start: a sentence on standard error, a status other than 0, nothing left behind.


def failed_start(lab, *prefix: str, name: str | None = None, namespace=None,
                 arguments: tuple[str, ...] = ("-f",)) -> str:
    """Runs the daemon where it cannot start and returns what it said."""
    namespace, name = namespace or lab.namespace(), name or lab.interface_name()
    done = subprocess.run(
        ["ip", "netns", "exec", namespace.name, *prefix, branchlined(), *arguments, name],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "LOG_LEVEL": "error"})
    said = done.stdout + done.stderr
    assert done.returncode not in (0, None) and done.returncode > 0, (done.returncode, said)
    assert said.strip(), "ended without a word"
    assert "Fatal error" not in said and "goroutine" not in said, said
    return said


def test_missing_tun_device_is_explained(lab):
    said = failed_start(
        lab, "unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    assert "/dev/net/tun" in said or "TUN" in said, said


@pytest.mark.branchline_only
def test_missing_tun_device_says_what_to_do(lab):
    said = failed_start(
        lab, "unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    assert "modprobe tun" in said, said


def test_missing_privilege_is_explained(lab):
    said = failed_start(lab, "setpriv", "--bounding-set=-all", "--inh-caps=-all",
                        "--reuid=65534", "--regid=65534", "--clear-groups")
    assert any(w in said.lower() for w in ("permi", "privilege", "denied", "root")), said


@pytest.mark.branchline_only
def test_missing_privilege_says_what_to_do(lab):
    said = failed_start(lab, "setpriv", "--bounding-set=-all", "--inh-caps=-all",
                        "--reuid=65534", "--regid=65534", "--clear-groups")
    assert "CAP_NET_ADMIN" in said, said


def test_name_of_a_living_tunnel_is_refused_and_the_tunnel_lives_on(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    name = tunnel.subject.daemon.name
    said = failed_start(lab, name=name, namespace=tunnel.subject.namespace)
    assert "busy" in said.lower() or "in use" in said.lower(), said
    tunnel.passes()
    assert tunnel.subject.daemon.get(), "the first daemon's socket was taken away"


def test_name_of_another_device_is_refused(lab):
    namespace, name = lab.namespace(), lab.interface_name()
    namespace.configure(f"link add {name} type veth peer name far0")
    failed_start(lab, name=name, namespace=namespace)
    assert name in namespace.interfaces()


@pytest.mark.parametrize("name", ["a-name-of-sixteen", "a/b"])
def test_impossible_name_is_refused(lab, name):
    failed_start(lab, name=name)


def test_failure_reaches_the_parent_of_a_daemonised_start(lab):
    """Without -f too, the caller sees the status and the sentence (wg-quick depends on it)."""
    namespace, name = lab.namespace(), lab.interface_name()
    namespace.configure(f"link add {name} type veth peer name far0")
    failed_start(lab, name=name, namespace=namespace, arguments=())


@pytest.mark.branchline_only
def test_unknown_option_is_refused(lab):
    done = run(branchlined(), "--no-such-option", "x", check=False, timeout=60)
    assert done.returncode != 0 and (done.stdout + done.stderr).strip()


def test_port_in_use_is_refused_and_named(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    with tunnel.subject.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        done = tunnel.subject.namespace.run(
            "wg", "set", tunnel.subject.daemon.name, "listen-port", str(port), check=False)
        assert done.returncode != 0
        assert "Address already in use" in done.stderr, done.stderr
    assert tunnel.subject.daemon.is_alive
    tunnel.subject.daemon.set(f"listen_port={LISTEN_PORT}")
    tunnel.passes(seconds=12)


@pytest.mark.branchline_only
def test_refused_port_leaves_the_old_one_in_service(lab):
    """wireguard-go closes its socket first and stands there without one."""
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    with tunnel.subject.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        answer = tunnel.subject.daemon.ask(f"set=1\nlisten_port={taken.getsockname()[1]}\n\n")
        assert answer == "errno=-98\n\n"
        tunnel.passes()


@pytest.mark.branchline_only
@pytest.mark.parametrize("is_up", [True, False], ids=["up", "down"])
def test_refused_mark_leaves_the_port_as_it_was(lab, is_up):
    """Without CAP_NET_ADMIN and CAP_NET_RAW the daemon may bind ports but set no mark."""
    namespace = lab.namespace()
    daemon = lab.daemon(namespace, branchlined(), prefix=(
        "setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all"))
    descriptor = open_tun(namespace, daemon.name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
    daemon.environment["WG_TUN_FD"] = str(descriptor)
    daemon.descriptors = (descriptor,)
    try:
        daemon.start()
    finally:
        os.close(descriptor)
    daemon.set("listen_port=4500")
    if is_up:
        namespace.configure(f"link set {daemon.name} up")
        wait_until(lambda: "4500" in namespace.run("ss", "-lun").stdout, 5, "the port is open")
    answer = daemon.ask("set=1\nlisten_port=4501\nfwmark=7\n\n")
    assert answer == "errno=-1\n\n"
    (device,) = daemon.get()["device"]
    assert device["listen_port"] == ["4500"] and "fwmark" not in device
    if is_up:
        assert "4501" not in namespace.run("ss", "-lun").stdout
    assert "CAP_NET_ADMIN" in daemon.log


def test_port_of_another_tunnel_is_not_shared(lab):
    """SO_REUSEPORT among our own workers must not let two daemons split one port's packets."""
    namespace = lab.namespace()
    first, second = (lab.daemon(namespace, branchlined()).start() for _ in range(2))
    first.set("listen_port=4500")
    namespace.configure(f"link set {first.name} up", f"link set {second.name} up")
    assert second.ask("set=1\nlisten_port=4500\n\n") == "errno=-98\n\n"


@pytest.mark.branchline_only
@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("is_flag", [True, False], ids=["flag", "environment"])
def test_number_of_workers_is_a_setting(lab, count, is_flag):
    daemon = lab.daemon(
        lab.namespace(), branchlined(), arguments=("--workers", count) if is_flag else (),
        environment={} if is_flag else {"BRANCHLINE_WORKERS": count}).start()
    assert daemon.status()["workers"] == count


@pytest.mark.branchline_only
@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_impossible_number_of_workers_is_refused(lab, count):
    failed_start(lab, arguments=("-f", "--workers", count))


@pytest.mark.branchline_only
def test_status_tells_cipher_and_offloads(lab):
    """The choice of the packet cipher is made once at the start and shown."""
    status = lab.daemon(lab.namespace(), branchlined()).start().status()
    assert status.pop("errno") == "0"
    assert any(name in status["cipher"] for name in ("libipsec-mb", "libsodium")), status
    assert any("offload" in key for key in status), status
