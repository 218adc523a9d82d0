"""wg, wg-quick and the raw UAPI socket drive the daemon."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from lab import Key, Lab, branchlined, wait_until
from pairs import CORE, INTEROPERATION, OWN, each
from traffic import SequenceFlow
from tunnel import Star, base64_text, echo, new_psk, wait_for_handshake

EINVAL, EPROTO = 22, 71


@each(CORE)
def test_wg_show_tells_every_field(lab, pair):
    psk = new_psk()
    tunnel = pair.build(lab, psk=psk)
    end, peer = tunnel.ends
    end.add_peer(peer, endpoint=peer.endpoint(), keepalive=25)
    end.daemon.set("fwmark=4660")
    echo(end, peer)
    name = end.daemon.name
    public = peer.key.public_base64
    show = {field: end.daemon.wg("show", name, field).strip() for field in (
        "public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys",
        "endpoints", "allowed-ips", "latest-handshakes", "transfer", "persistent-keepalive")}
    assert show["public-key"] == end.key.public_base64
    assert show["private-key"] == end.key.private_base64
    assert show["listen-port"] == str(end.port)
    assert show["fwmark"] == "0x1234"
    assert show["peers"] == public
    assert show["preshared-keys"] == f"{public}\t{base64_text(psk)}"
    assert show["endpoints"] == f"{public}\t{peer.endpoint()}"
    assert sorted(show["allowed-ips"].split("\t")[1].split()) == ["10.77.0.2/32", "fd77::2/128"]
    assert abs(int(show["latest-handshakes"].split("\t")[1]) - time.time()) < 120
    received, sent = map(int, show["transfer"].split("\t")[1:])
    assert received > 0 and sent > 0
    assert show["persistent-keepalive"] == f"{public}\t25"
    lines = [line.split("\t") for line in end.daemon.wg("show", name, "dump").splitlines()]
    assert lines[0] == [end.key.private_base64, end.key.public_base64, str(end.port), "0x1234"]
    assert lines[1][:3] == [public, base64_text(psk), peer.endpoint()] and lines[1][7] == "25"
    human = end.daemon.wg("show", name)
    assert "latest handshake:" in human and "transfer:" in human
    assert name in end.daemon.wg("show", "interfaces").split()


@each([INTEROPERATION[0], *OWN])
def test_transfer_counts_what_crossed_the_wire(lab, pair):
    """What one side sent is what the other received, within the packets in flight."""
    tunnel = pair.build(lab)
    tunnel.passes()
    flow = SequenceFlow(tunnel.subject, tunnel.other, 1000, byte_count=1000)
    time.sleep(1)
    assert flow.finish()[0] == 0
    here = tunnel.subject.daemon.peer(tunnel.other.key.public)
    there = tunnel.other.daemon.peer(tunnel.subject.key.public)
    for sent, received in ((here["tx_bytes"], there["rx_bytes"]),
                           (there["tx_bytes"], here["rx_bytes"])):
        assert abs(int(sent[0]) - int(received[0])) < 500, (here, there)
    assert flow.sent * 1060 <= int(here["tx_bytes"][0]) < flow.sent * 1100 + 5000


def memory_of(pid: int) -> bytes:
    """Returns what a process may write to, heap and stacks among it."""
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            span, access = line.split()[:2]
            if access.startswith("rw"):
                start, end = (int(word, 16) for word in span.split("-"))
                memory.seek(start)
                pieces.append(memory.read(end - start))
    return b"".join(pieces)


@pytest.mark.branchline_only
def test_text_of_keys_does_not_stay_in_memory(lab):
    """Swap and core files must not hold in text what is wiped as bytes.

    Without LD_BIND_NOW the dynamic linker saves vector registers, which copying has filled, on the
    stack at the first call of each function.
    """
    daemon = lab.daemon(
        lab.namespace(), branchlined(), environment={"LD_BIND_NOW": "1"}).start()
    mine, psk, peers = Key(), new_psk(), [Key() for _ in range(50)]
    daemon.set(f"private_key={mine.private.hex()}", *(
        line for key in peers
        for line in (f"public_key={key.public.hex()}", f"preshared_key={psk.hex()}")))
    for _ in range(3):
        assert mine.private.hex() in daemon.ask("get=1\n\n")
    with daemon.connect() as cut_off:
        cut_off.sendall(f"set=1\nprivate_key={mine.private.hex()}\n".encode())
        time.sleep(0.2)
    daemon.ask("set=1\nprivate_key=" + mine.private.hex() + "\nnonsense\n\n")
    time.sleep(0.2)
    parts = [part.encode() for secret in (mine.private, psk)
             for part in (secret.hex()[:32], secret.hex()[32:])]

    def is_wiped() -> bool:
        memory = memory_of(daemon.pid)
        assert mine.public in memory, "this is the memory that holds keys"
        return not any(part in memory for part in parts)

    wait_until(is_wiped, 2, "no text of a key is left")


def test_wg_set_changes_what_it_names_and_nothing_else(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    name, mine, theirs = daemon.name, Key(), Key()
    key_file = lab.folder / "key"
    key_file.write_text(mine.private_base64)
    psk, psk_file = base64_text(new_psk()), lab.folder / "psk"
    psk_file.write_text(psk)
    daemon.wg("set", name, "private-key", str(key_file), "listen-port", "51999", "fwmark", "7")
    daemon.wg("set", name, "peer", theirs.public_base64, "preshared-key", str(psk_file),
              "endpoint", "[2001:db8::1]:1234", "persistent-keepalive", "21",
              "allowed-ips", "10.1.0.0/16,2001:db8:1::/48")
    assert daemon.wg("show", name, "dump").splitlines()[1].split("\t")[:5] == [
        theirs.public_base64, psk, "[2001:db8::1]:1234", "10.1.0.0/16,2001:db8:1::/48", "0"]
    daemon.wg("set", name, "peer", theirs.public_base64, "persistent-keepalive", "off")
    fields = daemon.wg("show", name, "dump").splitlines()[1].split("\t")
    assert fields[1] == psk and fields[7] == "off"
    daemon.wg("set", name, "peer", theirs.public_base64, "allowed-ips", "")
    assert daemon.wg("show", name, "allowed-ips").strip().endswith("(none)")
    daemon.wg("set", name, "fwmark", "0", "peer", theirs.public_base64, "remove")
    assert daemon.wg("show", name, "peers").strip() == ""
    assert daemon.wg("show", name, "fwmark").strip() == "off"
    assert daemon.wg("show", name, "listen-port").strip() == "51999"
    key_file.write_text("")
    daemon.wg("set", name, "private-key", "/dev/null")
    assert daemon.wg("show", name, "private-key").strip() == "(none)"


def config(key: Key, port: int, peers: list[tuple[Key, str]]) -> str:
    text = f"[Interface]\nPrivateKey = {key.private_base64}\nListenPort = {port}\n"
    for peer, allowed in peers:
        text += f"[Peer]\nPublicKey = {peer.public_base64}\nAllowedIPs = {allowed}\n"
    return text


def test_setconf_addconf_and_syncconf_do_what_they_say(lab):
    daemon = lab.daemon(lab.namespace(), branchlined()).start()
    mine, one, two, three = Key(), Key(), Key(), Key()
    path = lab.folder / "tunnel.conf"

    def apply(verb: str, peers: list) -> set[str]:
        path.write_text(config(mine, 51888, peers))
        daemon.wg(verb, daemon.name, str(path))
        return set(daemon.wg("show", daemon.name, "peers").split())

    names = [key.public_base64 for key in (one, two, three)]
    assert apply("setconf", [(one, "10.1.0.1/32"), (two, "10.1.0.2/32")]) == set(names[:2])
    assert apply("addconf", [(three, "10.1.0.3/32")]) == set(names)
    assert apply("syncconf", [(one, "10.1.0.9/32"), (three, "10.1.0.3/32")]) == {
        names[0], names[2]}
    assert "10.1.0.9/32" in daemon.wg("show", daemon.name, "allowed-ips")
    assert "10.1.0.1/32" not in daemon.wg("show", daemon.name, "allowed-ips")
    assert apply("setconf", []) == set()
    shown = daemon.wg("showconf", daemon.name)
    assert mine.private_base64 in shown and "51888" in shown


def wg_quick(lab, namespace, verb: str, path) -> subprocess.CompletedProcess:
    """Runs wg-quick unmodified, with the kernel's own WireGuard hidden from it.

    wg-quick turns to WG_QUICK_USERSPACE_IMPLEMENTATION only where the kernel has no WireGuard.
    """
    folder = lab.folder / "bin"
    if not folder.exists():
        folder.mkdir()
        shutil.copy(shutil.which("wg-quick"), folder / "wg-quick")
        (folder / "ip").write_text(
            '#!/bin/sh\ncase "$*" in *"type wireguard"*) exit 2;; esac\n'
            f'exec {shutil.which("ip")} "$@"\n')
        (folder / "ip").chmod(0o755)
    return namespace.run(
        "unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/module && exec "$@"', "sh",
        str(folder / "wg-quick"), verb, str(path), check=False,
        environment={"WG_QUICK_USERSPACE_IMPLEMENTATION": branchlined()})


@pytest.mark.parametrize("allowed", ["10.77.0.0/24, fd77::/64", "0.0.0.0/0, ::/0"],
                         ids=["split", "full"])
def test_wg_quick_up_and_down(lab, allowed):
    """Split tunnel, and the full one, where fwmark keeps the outer packets out of the tunnel."""
    tunnel = OWN[0].build(lab)
    far = tunnel.other
    # The near side is made anew by wg-quick in the same namespace.
    near = tunnel.subject
    near.daemon.end()
    name, hook = near.daemon.name, lab.folder / "hook"
    path = lab.folder / f"{name}.conf"
    path.touch(0o600)
    path.write_text(
        f"[Interface]\nPrivateKey = {near.key.private_base64}\nListenPort = {near.port}\n"
        f"Address = {near.inner()}/24, {near.inner(6)}/64\nMTU = 1380\n"
        f"PostUp = echo up-%i >> {hook}\nPreDown = echo down-%i >> {hook}\n"
        f"[Peer]\nPublicKey = {far.key.public_base64}\nEndpoint = {far.endpoint()}\n"
        f"AllowedIPs = {allowed}\n")
    lab.closing.callback(lambda: wg_quick(lab, near.namespace, "down", path))
    up = wg_quick(lab, near.namespace, "up", path)
    assert up.returncode == 0, up.stderr
    # Duplicate address detection of the inner IPv6.
    wait_until(lambda: "tentative" not in near.namespace.run(
        "ip", "-6", "address", "show", "dev", name).stdout, 5, "addresses may be used")
    for family in (4, 6):
        echo(near, far, family)
    link = near.namespace.run("ip", "link", "show", name).stdout
    assert "mtu 1380" in link
    down = wg_quick(lab, near.namespace, "down", path)
    assert down.returncode == 0, down.stderr
    wait_until(lambda: name not in near.namespace.interfaces(), 5, "the device is gone")
    wait_until(lambda: not near.daemon.socket_path.exists(), 5, "the socket is gone")
    assert hook.read_text().split() == [f"up-{name}", f"down-{name}"]


@pytest.mark.parametrize("is_synchronised", [
    False, pytest.param(True, marks=pytest.mark.branchline_only)], ids=["set", "syncconf"])
def test_changes_lose_no_packet_of_unchanged_peers(lab, is_synchronised):
    """Peers come and go, prefixes move, keys and intervals change; one peer's flow never does.

    wg syncconf repeats port and key; wireguard-go opens its sockets anew for that and loses what
    they held.
    """
    star = Star(lab, [branchlined(), branchlined()])
    star.join()
    steady, changing = star.peers
    echo(steady, star.hub)
    flows = [SequenceFlow(steady, star.hub, 2000), SequenceFlow(star.hub, steady, 2000)]
    daemon, path = star.hub.daemon, lab.folder / "sync.conf"
    strangers = [Key() for _ in range(20)]
    for turn in range(30):
        stranger = strangers[turn % len(strangers)]
        daemon.set(f"public_key={stranger.public.hex()}", f"allowed_ip=10.78.{turn}.0/24",
                   "endpoint=192.0.2.250:9", "persistent_keepalive_interval=1")
        changing_key = changing.key.public.hex()
        daemon.set(f"public_key={changing_key}", "replace_allowed_ips=true",
                   f"allowed_ip=10.79.{turn}.0/24", f"preshared_key={new_psk().hex()}")
        if turn % 3 == 0:
            daemon.set(f"public_key={stranger.public.hex()}", "remove=true")
            daemon.set(f"public_key={changing_key}", "remove=true")
        if is_synchronised and turn % 5 == 0:
            path.write_text(daemon.wg("showconf", daemon.name))
            daemon.wg("syncconf", daemon.name, str(path))
        daemon.get()
        time.sleep(0.02)
    for flow in flows:
        assert flow.finish() == (0, 0, 0), "lost, repeated, out of order"
        assert flow.sent > 500


# The raw socket


@pytest.mark.parametrize("request_text", [
    "set=1\nprivate_key=zz\n\n",
    f"set=1\nprivate_key={'0' * 63}\n\n",
    f"set=1\nprivate_key={'0' * 66}\n\n",
    "set=1\nlisten_port=65536\n\n",
    "set=1\nlisten_port=-1\n\n",
    "set=1\nlisten_port=\n\n",
    "set=1\nfwmark=4294967296\n\n",
    "set=1\nreplace_peers=false\n\n",
    "set=1\nno_such_key=1\n\n",
    "set=1\nallowed_ip=10.0.0.0/8\n\n",
    "set=1\nendpoint=1.2.3.4:5\n\n",
    "set=1\nno equals sign\n\n",
    "set=1\npublic_key=00\n\n",
    "set=1\npublic_key={peer}\nallowed_ip=10.0.0.0/33\n\n",
    "set=1\npublic_key={peer}\nallowed_ip=10.0.0\n\n",
    "set=1\npublic_key={peer}\nallowed_ip=2001:db8::/129\n\n",
    "set=1\npublic_key={peer}\nendpoint=1.2.3.4\n\n",
    "set=1\npublic_key={peer}\nendpoint=1.2.3.4:70000\n\n",
    "set=1\npublic_key={peer}\nendpoint=host.example:1\n\n",
    "set=1\npublic_key={peer}\npreshared_key=12\n\n",
    "set=1\npublic_key={peer}\npersistent_keepalive_interval=65536\n\n",
    "set=1\npublic_key={peer}\nprotocol_version=2\n\n",
    "set=1\npublic_key={peer}\nremove=maybe\n\n",
    "set=1\npublic_key={peer}\nlisten_port=1\n\n",
], ids=lambda text: text.split("\n")[-3][:40])
def test_invalid_setting_is_answered_with_errno(lab, shared_daemon, request_text):
    peer = Key().public.hex()
    answer = shared_daemon.ask(request_text.replace("{peer}", peer))
    assert answer.startswith("errno=") and answer.endswith("\n\n"), answer
    number = int(answer[6:])
    assert number in (-EINVAL, -EPROTO), answer
    assert shared_daemon.is_alive
    assert shared_daemon.get()["device"][0]["errno"] == ["0"]


@pytest.fixture(scope="module")
def shared_daemon():
    lab = Lab()
    try:
        yield lab.daemon(lab.namespace(), branchlined()).start()
    finally:
        lab.close()


@pytest.mark.parametrize("garbage", [
    b"\n", b"\n\n", b"get=2\n\n", b"hello\n\n", b"set\n\n", b"\0" * 1000, os.urandom(4096),
    b"GET / HTTP/1.0\r\n\r\n", b"get=1\n" + b"x" * 100 + b"\n\n", b"=" * 5000 + b"\n\n",
    b"set=1\n" + b"\xff\xfe=\x80\n\n"], ids=lambda raw: repr(raw[:12]))
def test_garbage_on_the_socket_harms_nobody(shared_daemon, garbage):
    with shared_daemon.connect() as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert shared_daemon.is_alive
    assert shared_daemon.get()["device"][0]["errno"] == ["0"]


@pytest.mark.branchline_only
def test_half_open_connections_block_nobody(shared_daemon):
    """Callers that say nothing, or half a request, wait alone; closed ones give back all.

    wireguard-go holds its lock from "set=1" to the request's end.
    """
    before = shared_daemon.descriptor_count()
    waiting = [shared_daemon.connect() for _ in range(60)]
    try:
        for index, connection in enumerate(waiting):
            connection.sendall((b"", b"ge", b"set=1\n", b"get=1\n")[index % 4])
        assert shared_daemon.get()
        shared_daemon.set("fwmark=0")
        assert shared_daemon.get()
    finally:
        for connection in waiting:
            connection.close()
    wait_until(lambda: shared_daemon.descriptor_count() <= before, 5, "descriptors are given back")


def test_huge_request_is_taken_or_refused(lab, shared_daemon):
    """5,000 prefixes are fine; a line of 16 MB without end must not eat the memory."""
    key = Key().public.hex()
    prefixes = "".join(f"allowed_ip=10.{i >> 8}.{i & 255}.0/24\n" for i in range(5000))
    answer = shared_daemon.ask(f"set=1\npublic_key={key}\n{prefixes}\n")
    assert answer == "errno=0\n\n"
    assert len(shared_daemon.peer(bytes.fromhex(key))["allowed_ip"]) == 5000
    shared_daemon.set(f"public_key={key}", "remove=true")
    assert "errno=0" not in shared_daemon.ask(b"set=1\nprivate_key=" + b"0" * (16 << 20))[-20:]
    assert shared_daemon.get()


@pytest.mark.branchline_only
def test_endless_request_costs_bounded_memory(shared_daemon):
    before = shared_daemon.resident_bytes()
    shared_daemon.ask(b"set=1\nprivate_key=" + b"0" * (64 << 20))
    assert shared_daemon.resident_bytes() - before < 16 << 20


def test_several_requests_on_one_connection(shared_daemon):
    with shared_daemon.connect() as connection:
        for _ in range(5):
            connection.sendall(b"get=1\n\n")
            answer = b""
            while not answer.endswith(b"\n\n"):
                answer += connection.recv(65536)
            assert answer.endswith(b"errno=0\n\n")


def test_hundreds_of_peers_replaced_at_once_all_work(lab):
    """Numbers of removed peers are given out again, and no worker may then forget the new peer."""
    tunnel = OWN[0].build(lab)
    subject, other = tunnel.ends
    others = [f"public_key={os.urandom(32).hex()}\nallowed_ip=10.80.{n >> 8}.{n & 255}/32"
              for n in range(600)]
    real = [f"public_key={other.key.public.hex()}", f"endpoint={other.endpoint()}",
            f"allowed_ip={other.inner(4)}/32"]
    for turn in range(3):
        # The real peer comes last, and so gets one of the numbers that were in use before.
        subject.daemon.set("replace_peers=true", *others, *real)
        assert len(subject.daemon.get()["peers"]) == 601
        tunnel.passes(subject, seconds=12)
        assert subject.daemon.received_bytes(other.key.public) > 0, f"turn {turn}"


def test_failed_request_of_an_existing_peer_keeps_the_peer(lab):
    tunnel = OWN[0].build(lab)
    tunnel.passes()
    answer = tunnel.subject.daemon.ask(
        f"set=1\npublic_key={tunnel.other.key.public.hex()}\npersistent_keepalive_interval=x\n\n")
    assert answer == f"errno=-{EINVAL}\n\n"
    tunnel.passes()
    assert wait_for_handshake(tunnel.subject, tunnel.other)


def test_update_only_makes_no_peer(shared_daemon):
    stranger = Key().public
    shared_daemon.set(f"public_key={stranger.hex()}", "update_only=true", "endpoint=1.2.3.4:5")
    assert shared_daemon.peer(stranger) is None


def test_own_public_key_is_no_peer(shared_daemon):
    """As wireguard-go and the kernel do: a peer with the device's own key is skipped."""
    mine = Key()
    shared_daemon.set(f"private_key={mine.private.hex()}")
    shared_daemon.ask(f"set=1\npublic_key={mine.public.hex()}\nallowed_ip=10.9.9.9/32\n\n")
    assert shared_daemon.peer(mine.public) is None
    shared_daemon.set(f"private_key={bytes(32).hex()}")
    assert "private_key" not in shared_daemon.get()["device"][0]
