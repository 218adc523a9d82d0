"""A newer daemon goes on in the place of the one that runs, and nobody in the tunnel notices."""

import os
import re
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from gatewaylab import Gateway
from joined import Ping, Site, branchline, inner
from lab import branchlined, run, wait_until
from traffic import Worker, tcp_connection
from tunnel import LISTEN_PORT, End, Star, echo, make_tunnel

pytestmark = pytest.mark.branchline_only

# The target is 300 ms; a machine that also builds something may be late.
GAP_SECONDS_MAX = float(os.environ.get("BRANCHLINE_GAP_SECONDS_MAX", "2.0"))
HANDOVER_FOLDER = Path("/run/branchline")


def handover_path(end: End) -> Path:
    return HANDOVER_FOLDER / f"{end.daemon.name}.handover"


def begin_takeover(end: End, program: str | None = None) -> subprocess.Popen:
    """Starts the newer daemon; the old one is still `end.daemon.process`."""
    daemon = end.daemon
    with open(daemon.log_path, "ab") as log:
        return daemon.namespace.popen(
            program or daemon.program, "--take-over", "-f", daemon.name, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, env={**os.environ, **daemon.environment})


def upgrade(end: End):
    """Lets a newer daemon take over; from here on it is `end.daemon`."""
    old, new = end.daemon.process, begin_takeover(end)
    try:
        assert old.wait(60) == 0
    except BaseException:
        new.kill()
        new.wait()
        raise
    end.daemon.process = new
    assert new.poll() is None, end.daemon.log


class EventStream:
    """Small events at a steady rate over TCP, as tokens come; keeps when each arrived."""

    def __init__(self, source: End | None = None, target: End | None = None,
                 interval: float = 0.01, connection: tuple | None = None):
        self.interval = interval
        self.client, self.server = connection or tcp_connection(target, source)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stop = threading.Event()
        self.arrivals: list[float] = []
        self._sending, self._receiving = Worker(self._send), Worker(self._receive)

    def _send(self) -> int:
        number, due = 0, time.monotonic()
        while not self._stop.is_set():
            self.server.sendall(struct.pack("<Q", number) + bytes(192))
            number += 1
            due += self.interval
            time.sleep(max(due - time.monotonic(), 0))
        self.server.shutdown(socket.SHUT_WR)
        return number

    def _receive(self) -> int:
        buffer, number = b"", 0
        while piece := self.client.recv(1 << 16):
            buffer += piece
            while len(buffer) >= 200:
                assert struct.unpack("<Q", buffer[:8])[0] == number
                buffer, number = buffer[200:], number + 1
                self.arrivals.append(time.monotonic())
        return number

    def finish(self) -> float:
        """Ends the stream, checks that all of it arrived; returns the longest gap in seconds."""
        self._stop.set()
        assert self._receiving.result() == self._sending.result()
        self.client.close()
        self.server.close()
        return max(b - a for a, b in zip(self.arrivals, self.arrivals[1:]))


def usual_gap(**source_and_target) -> float:
    """Returns the longest gap of such a stream while nothing is upgraded."""
    stream = EventStream(**source_and_target)
    time.sleep(1.5)
    return stream.finish()


class Bulk:
    """A TCP transfer without end, whose bytes are checked."""

    def __init__(self, source: End, target: End):
        self.client, self.server = tcp_connection(source, target)
        self._stop = threading.Event()
        self._sending, self._receiving = Worker(self._send), Worker(self._receive)

    def _send(self) -> int:
        count = 0
        while not self._stop.is_set():
            self.client.sendall(struct.pack("<Q", count) * 4_096)
            count += 1
        self.client.shutdown(socket.SHUT_WR)
        return count

    def _receive(self) -> int:
        buffer, count = b"", 0
        while piece := self.server.recv(1 << 20):
            buffer += piece
            while len(buffer) >= 32_768:
                assert buffer[:32_768] == struct.pack("<Q", count) * 4_096
                buffer, count = buffer[32_768:], count + 1
        return count

    def finish(self) -> int:
        self._stop.set()
        count = self._sending.result()
        assert self._receiving.result() == count
        self.client.close()
        self.server.close()
        return count


@pytest.mark.parametrize("workers", ["1", "2"])
def test_streams_survive_three_upgrades_in_a_row(lab, workers):
    tunnel = make_tunnel(
        lab, other=branchlined(), subject_environment={"BRANCHLINE_WORKERS": workers})
    subject, other = tunnel.ends
    tunnel.passes()
    handshakes = [end.daemon.last_handshake(tunnel.opposite(end).key.public)
                  for end in tunnel.ends]
    usual = usual_gap(source=other, target=subject)
    tokens, upload = EventStream(other, subject), Bulk(subject, other)
    counts, pids = [], {subject.daemon.pid}
    for _ in range(3):
        time.sleep(0.7)
        upgrade(subject)
        pids.add(subject.daemon.pid)
        peer = subject.daemon.peer(other.key.public)
        counts.append((int(peer["tx_bytes"][0]), int(peer["rx_bytes"][0])))
        assert f"peer: {other.key.public_base64}" in subject.daemon.wg("show", subject.daemon.name)
        assert f"listening port: {LISTEN_PORT}" in subject.daemon.wg("show", subject.daemon.name)
    time.sleep(0.5)
    blocks, gap = upload.finish(), tokens.finish()
    waits = re.findall(r"packets waited (\d+) ms", subject.daemon.log)
    print(f"packets waited {waits} ms; longest gap {gap * 1000:.0f} ms, {usual * 1000:.0f} ms "
          f"without an upgrade; {blocks * 32_768 / 1e6:.0f} MB beside it")
    assert len(pids) == 4
    assert counts == sorted(counts) and counts[0][0] > 10_000
    assert int(subject.daemon.peer(other.key.public)["tx_bytes"][0]) > blocks * 32_768
    # The sessions are those of before.
    assert handshakes == [end.daemon.last_handshake(tunnel.opposite(end).key.public)
                          for end in tunnel.ends]
    assert gap < GAP_SECONDS_MAX + usual
    for end in tunnel.ends:
        assert int(end.daemon.status()["drop_replayed"]) == 0
        assert int(end.daemon.status()["drop_unknown_receiver_index"]) == 0


def test_both_ends_upgrade_at_once_and_go_on_rekeying(lab):
    tunnel = make_tunnel(lab, other=branchlined())
    tunnel.passes()
    tokens = EventStream(tunnel.other, tunnel.subject)
    jobs = [Worker(upgrade, end) for end in tunnel.ends]
    for job in jobs:
        job.result()
    time.sleep(0.3)
    gap = tokens.finish()
    assert gap < 2 * GAP_SECONDS_MAX
    # New peers and new handshakes are as ever: the other end begins anew.
    tunnel.other.daemon.end(signal.SIGKILL)
    wait_until(lambda: tunnel.other.daemon.name not in tunnel.other.namespace.interfaces(), 5,
               "the interface went with its daemon")
    tunnel.other.start()
    tunnel.other.add_peer(tunnel.subject, endpoint=tunnel.subject.endpoint())
    tunnel.passes(tunnel.other)


def test_upgraded_daemon_is_configured_and_ends_as_any_other(lab):
    tunnel = make_tunnel(lab)
    tunnel.passes()
    subject, other = tunnel.ends
    upgrade(subject)
    mode = handover_path(subject).stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    subject.remove_peer(other)
    tunnel.is_silent()
    subject.add_peer(other, endpoint=other.endpoint())
    tunnel.passes()
    subject.daemon.set("listen_port=51999")
    assert subject.daemon.get()["device"][0]["listen_port"] == ["51999"]
    tunnel.passes()
    # What is down goes on being down.
    subject.namespace.configure(f"link set {subject.daemon.name} down")
    upgrade(subject)
    subject.namespace.configure(f"link set {subject.daemon.name} up")
    tunnel.passes()
    assert subject.daemon.end() == 0
    assert subject.daemon.name not in subject.namespace.interfaces()
    assert not subject.daemon.socket_path.exists()
    assert not handover_path(subject).exists()


def test_peer_of_stock_wireguard_notices_nothing(lab):
    tunnel = make_tunnel(lab)
    tunnel.passes()
    before = tunnel.other.daemon.last_handshake(tunnel.subject.key.public)
    tokens = EventStream(tunnel.other, tunnel.subject)
    for _ in range(2):
        time.sleep(0.3)
        upgrade(tunnel.subject)
    time.sleep(0.3)
    assert tokens.finish() < 2 * GAP_SECONDS_MAX
    assert tunnel.other.daemon.last_handshake(tunnel.subject.key.public) == before


@pytest.mark.parametrize("way", ["ends", "silent", "nonsense", "ready", "foreign-state"])
def test_newer_daemon_that_fails_leaves_the_running_one(lab, way):
    """Whatever the newer process does or leaves undone, the running one serves on."""
    tunnel = make_tunnel(lab, other=branchlined())
    subject = tunnel.subject
    tunnel.passes()
    before = subject.daemon.descriptor_count()
    handshake = subject.daemon.last_handshake(tunnel.other.key.public)
    tokens = EventStream(tunnel.other, subject)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(handover_path(subject)))
        hello = message(1, FORMATS)
        if way == "nonsense":
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        elif way == "ends":
            client.sendall(hello)
        elif way == "ready":
            client.sendall(hello)
            passed = receive_offer(client)
            client.sendall(message(3))
            state = receive(client)
            assert state[0] == 4 and len(state[2]) == 1
            for descriptor in passed + state[2]:
                os.close(descriptor)
        elif way == "foreign-state":
            client.sendall(message(1, FOREIGN_FORMATS))
            kind, text, _ = receive(client)
            assert kind == 8 and b"restart" in text
        elif way == "silent":
            assert client.recv(100), "it says that it took too long"
    time.sleep(0.5)
    # The tunnel stood still for as long as the newer process was asked at most.
    assert tokens.finish() < 8.0
    assert subject.daemon.is_alive
    tunnel.passes()
    assert subject.daemon.last_handshake(tunnel.other.key.public) == handshake
    wait_until(lambda: subject.daemon.descriptor_count() == before, 5, "nothing is left open")
    upgrade(subject)
    tunnel.passes()


def test_newer_daemon_that_dies_after_it_was_let_go_on(lab):
    """The running one begins new sessions: the other may have used any counter of the old ones."""
    tunnel = make_tunnel(lab, other=branchlined())
    subject = tunnel.subject
    tunnel.passes()
    handshake = subject.daemon.last_handshake(tunnel.other.key.public)
    tokens = EventStream(tunnel.other, subject)
    child = os.fork()
    if child == 0:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(handover_path(subject)))
                client.sendall(message(1, FORMATS))
                receive_offer(client)
                client.sendall(message(3))
                receive(client)
                client.sendall(message(5))
                assert receive(client)[0] == 6
                time.sleep(60)
        finally:
            os._exit(1)  # Whatever happens, the tests go on in one process only.
    time.sleep(0.1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    time.sleep(1)
    tokens.finish()
    tunnel.passes()
    assert subject.daemon.last_handshake(tunnel.other.key.public) > handshake
    assert "not handed over" in subject.daemon.log


def test_program_that_cannot_go_on_says_why(lab):
    tunnel = make_tunnel(lab, other=branchlined())
    tunnel.passes()
    name = lab.interface_name()
    done = tunnel.subject.namespace.run(branchlined(), "--take-over", "-f", name, check=False)
    assert done.returncode != 0 and "start one as usual" in done.stderr
    program = lab.folder / "broken"
    program.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 127\n")
    program.chmod(0o755)
    subject = tunnel.subject
    new = begin_takeover(subject, str(program))
    assert new.wait(30) == 127
    assert subject.daemon.is_alive
    tunnel.passes()


def test_only_the_daemons_user_is_heard(lab):
    tunnel = make_tunnel(lab, other=branchlined())
    tunnel.passes()
    path = handover_path(tunnel.subject)
    # Even where file and folder would let others in.
    mode = path.parent.stat().st_mode
    path.parent.chmod(0o755)
    path.chmod(0o666)
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(20); "
        f"s.connect({str(path)!r}); s.sendall(b'x'); sys.exit(0 if s.recv(1)==b'' else 1)")
    done = run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c",
        script, check=False)
    path.parent.chmod(mode)
    refusals = ("ConnectionReset", "BrokenPipe")
    assert done.returncode == 0 or any(word in done.stderr for word in refusals), done.stderr
    tunnel.passes()


def test_killed_daemon_that_is_started_again_reaches_all_peers_by_itself(lab):
    """After a crash nothing but the configuration is left; peers are found without being asked."""
    star = Star(lab, [branchlined()] * 3)
    star.join()
    hub = star.hub
    for peer in star.peers:
        echo(peer, hub)
    hub.daemon.end(signal.SIGKILL)
    wait_until(lambda: hub.daemon.name not in hub.namespace.interfaces(), 5, "no interface")
    hub.start()
    star.hub = hub
    for peer in star.peers:
        hub.add_peer(peer, endpoint=peer.endpoint())
    for peer in star.peers:
        echo(hub, peer)
    upgrade(hub)
    for peer in star.peers:
        echo(peer, hub)


def test_joined_interface_is_upgraded_with_its_agent(lab):
    """By the command that an operator types; the agent's peers and their sessions stay."""
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    handshakes = [node.peers()[0]["latest_handshake_seconds"] for node in (gateway, branch)]
    ping = Ping(branch, inner(1))
    for node in (branch, gateway, branch):
        pid = node.pid
        done = node.command("upgrade", node.interface)
        assert re.fullmatch(
            rf"{node.interface}: version \S+ \(process \d+\) in the place of version \S+ "
            rf"\(process {pid}\); packets waited \d+ ms\n", done.stdout), done.stdout + node.log
        node.await_agent(lambda status: status["process_identifier"] not in (pid, None))
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the old daemon is gone")
        assert node.pid != pid
        assert f"process {node.pid})" in done.stdout
        assert Path(f"/proc/{node.pid}/comm").read_text() == "branchlined\n"
    sent, received, _ = ping.finish()
    print(f"{sent - received} of {sent} pings lost")
    assert sent - received <= 5
    assert handshakes == [node.peers()[0]["latest_handshake_seconds"] for node in (gateway, branch)]
    # The new agents follow the coordinator.
    branch.await_agent(lambda status: status.get("connected_since"))
    late = site.branch(3)
    late.reaches(inner(1))
    gateway.await_agent(lambda status: status["accepted_peers"] == 2)
    branch.command("down", branch.interface)
    assert branch.pid is None
    branch.command("up", branch.interface)
    branch.reaches(inner(1))


def test_daemon_of_another_namespace_is_upgraded_where_it_is(lab):
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    elsewhere = Elsewhere(branch)
    for _ in range(2):
        pid, namespace = branch.pid, os.readlink(f"/proc/{branch.pid}/ns/net")
        done = elsewhere.command("upgrade", branch.interface)
        assert done.returncode == 0, done.stderr
        assert f"(process {pid}); packets waited" in done.stdout
        wait_until(lambda: branch.pid not in (pid, None), 5, "the new daemon")
        assert os.readlink(f"/proc/{branch.pid}/ns/net") == namespace
        branch.reaches(inner(1))
    # What opens sockets after the upgrade opens them there.
    branch.await_agent(lambda status: status.get("connected_since"))
    pid = branch.pid
    done = elsewhere.command("upgrade", sees_others=False)
    assert done.returncode == 1 and not done.stdout
    assert f"left alone in other network namespaces: {branch.interface};" in done.stderr
    assert "no interface here" in done.stderr
    assert branch.pid == pid


def test_upgrade_says_why_it_cannot(lab):
    site = Site(lab)
    branch = site.branch()
    pid = branch.pid
    for program, words in [("/bin/false", "ended with status 1"),
                           ("/bin/true", "ended with status 0, and did not take over")]:
        done = branch.command("upgrade", branch.interface, "--daemon", program, check=False)
        assert done.returncode == 1 and not done.stdout
        assert f"{branch.interface}: the new program {program} {words}" in branch.log
        assert f"served as before: {branch.interface}" in branch.log
    assert branch.pid == pid
    name = lab.interface_name()
    assert branch.command("upgrade", name, check=False).returncode == 1
    assert f"no daemon serves {name}\n" in branch.log


def test_tenants_are_not_upgraded_one_by_one(lab):
    gateway = Gateway(lab)
    tenant = gateway.add("acme").add_branch()
    gateway.start().settle()
    done = gateway.command("upgrade", tenant.interface, check=False)
    assert done.returncode == 2
    words = f"{tenant.interface} is a tenant of the gateway: use --gateway"
    assert words in gateway.log


class Elsewhere:
    """A network namespace without daemons, in which one daemon's handover can be seen."""

    def __init__(self, node):
        self.node, self.namespace = node, node.lab.namespace()

    def command(self, *words: str, sees_others=True) -> subprocess.CompletedProcess:
        node = self.node
        words = (branchline(), *words)
        if not sees_others:
            socket_path = HANDOVER_FOLDER / f"{node.interface}.handover"
            hide = (f"exec 3<{HANDOVER_FOLDER} && mount -t tmpfs none {HANDOVER_FOLDER} && "
                    f"touch {socket_path} && "
                    f"mount -c --bind /proc/self/fd/3/{socket_path.name} {socket_path} && "
                    "exec \"$@\"")
            words = ("sh", "-c", hide, "sh", *words)
        output, errors = (node.lab.folder / f"elsewhere.{end}" for end in ("out", "err"))
        with open(output, "wb") as results, open(errors, "wb") as messages:
            done = subprocess.run(
                ["ip", "netns", "exec", self.namespace.name, "unshare", "-m", *words],
                stdout=results, stderr=messages, timeout=180,
                env={**os.environ, **node.environment})
        done.stdout, done.stderr = output.read_text(), errors.read_text()
        return done


def test_killed_gateway_comes_back_with_all_its_peers(lab):
    """Without the coordinator, and without a word from the branches."""
    site = Site(lab)
    gateway, branch = site.gateway(), site.branch()
    branch.reaches(inner(1))
    gateway.command("upgrade", gateway.interface)
    gateway.await_agent(lambda status: status["process_identifier"] == gateway.pid)
    branch.reaches(inner(1))
    time.sleep(1)
    gateway.kill()
    gateway.command("up", gateway.interface)
    branch.reaches(inner(1), 60)


def tenant_connection(tenant) -> tuple[socket.socket, socket.socket]:
    """Returns both ends of a connection from the tenant's branch to a server in its domain."""
    with tenant.inner.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("10.0.0.1", 0))
        listener.listen()
        client = tenant.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    for made in (client, server):
        made.settimeout(30)
    return client, server


def test_gateway_is_upgraded_with_all_of_its_tenants(lab):
    """Three tenants with the same addresses; each has a stream, which survives three times."""
    gateway = Gateway(lab)
    tenants = [gateway.add(name).add_branch() for name in ("acme", "beta", "gamma")]
    gateway.start().settle()
    for tenant in tenants:
        tenant.reaches()
    handshakes = [tenant.branch.last_handshake(tenant.key.public) for tenant in tenants]
    namespaces = [tenant.status()["place"] for tenant in tenants]
    usual = usual_gap(connection=tenant_connection(tenants[0]))
    streams = [EventStream(connection=tenant_connection(tenant)) for tenant in tenants]
    for _ in range(3):
        time.sleep(0.5)
        pid = gateway.pid
        done = gateway.command("upgrade", "--gateway")
        assert "packets waited" in done.stdout + gateway.log, gateway.log
        wait_until(lambda: gateway.status().get("processIdentifier") not in (pid, None), 15,
                   "the new process follows the folder")
        wait_until(lambda: not is_running(pid), 5, "the old process has ended")
        for tenant in tenants:
            tenant.await_up()
            assert not tenant.status()["notes"], tenant.status()
    time.sleep(0.3)
    gaps = [stream.finish() for stream in streams]
    waits = re.findall(r"packets waited (\d+) ms", gateway.log)
    print(f"packets waited {waits} ms; longest gaps {[f'{gap * 1000:.0f} ms' for gap in gaps]}, "
          f"{usual * 1000:.0f} ms without an upgrade")
    assert max(gaps) < GAP_SECONDS_MAX + usual, gateway.log
    assert handshakes == [tenant.branch.last_handshake(tenant.key.public) for tenant in tenants]
    assert namespaces == [tenant.status()["place"] for tenant in tenants]
    # It is a gateway as any other: tenants come and go, and leave nothing behind.
    late = gateway.add("late").add_branch()
    os.kill(gateway.pid, signal.SIGHUP)
    late.await_up()
    late.reaches()
    gateway.remove("beta")
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(lambda: gateway.tenant("beta") is None, 10, "the tenant is gone")
    tenants[0].reaches()
    pid = gateway.pid
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid), 10, "the gateway ends")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# What the processes say to each other, as seen from outside. A hello names the versions of the
# messages, of the state and of the device.
FORMATS = struct.pack("<HHH", 1, 4, 2)
FOREIGN_FORMATS = struct.pack("<HHH", 1, 5, 2)


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<4sII", b"BLHO", 1 + len(body), 0) + bytes([kind]) + body


def receive(client: socket.socket) -> tuple[int, bytes, list[int]]:
    """Returns kind, body and descriptors of one message."""
    header, descriptors = receive_exactly(client, 12)
    magic, byte_count, descriptor_count = struct.unpack("<4sII", header)
    assert magic == b"BLHO"
    body, more = receive_exactly(client, byte_count)
    descriptors += more
    while len(descriptors) < descriptor_count:
        descriptors += receive_exactly(client, 1)[1]
    return body[0], body[1:], descriptors


def receive_offer(client: socket.socket) -> list[int]:
    kind, _, descriptors = receive(client)
    # The handover's socket, two of UDP for each worker and one more, a queue and a socket.
    assert kind == 2 and len(descriptors) >= 5
    return descriptors


def receive_exactly(client: socket.socket, count: int) -> tuple[bytes, list[int]]:
    data, descriptors = b"", []
    while len(data) < count:
        piece, control, _, _ = client.recvmsg(count - len(data), 2_048)
        assert piece, "hung up"
        data += piece
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % 4
                descriptors += struct.unpack(f"{whole // 4}i", content[:whole])
    return data, descriptors
