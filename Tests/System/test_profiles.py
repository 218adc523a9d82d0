"""Both profiles, alone and beside each other: what they carry, and what must not pass."""

import json
import signal
import time

import pytest

from joined import Site, branchline, inner
from lab import branchlined, run, wait_until, wireguard_go
from test_upgrade import GAP_SECONDS_MAX, EventStream, upgrade
from traffic import Worker, tcp_transfer, udp_sizes
from tunnel import MTU, Star, echo, make_tunnel, new_psk, wait_for_handshake
from wiretap import Wiretap

pytestmark = pytest.mark.branchline_only

AES, CHACHA, STOCK = "branchline-aes256gcm", "branchline-chacha20poly1305", "wireguard"
OURS = [AES, CHACHA]
HYBRID_INITIATION_BYTES, HYBRID_RESPONSE_BYTES = 1348, 1196
DATA_HEADERS = {STOCK: bytes([4, 0, 0, 0]), AES: bytes([4, 1, 0, 0]), CHACHA: bytes([4, 1, 0, 0])}


def command(*words: str) -> str:
    return run(branchline(), *words).stdout


def keys_of(end) -> dict[str, dict]:
    """Returns what `branchline keys` tells of an end's peers, by their public keys."""
    (report,) = json.loads(command("keys", end.daemon.name, "--json"))
    assert report["interface"] == end.daemon.name
    return {peer["public_key"]: peer for peer in report["peers"]}


def wrong_profiles(end) -> list[str]:
    """Returns the lines of `branchline status` that say what to change."""
    text = command("status", end.daemon.name)
    return [line.strip() for line in text.splitlines() if "wrong profile: " in line]


def ours(lab, profile: str, **options):
    return make_tunnel(
        lab, branchlined(), branchlined(), profiles=(profile, profile), **options)


# What a busy machine drops, and what the kernel sends of its own as an interface comes up.
USUAL_DROPS = {"early_drop", "interface_down", "queue_overflow", "socket_overflow", "no_route",
               "source_not_allowed", "staged_queue_full", "send_failed", "inbox_full"}


def drops(end) -> dict[str, int]:
    """Returns what was dropped for a reason that says that something is wrong."""
    counters = {key.removeprefix("drop_"): int(value)
                for key, value in end.daemon.status().items() if key.startswith("drop_")}
    return {key: count for key, count in counters.items() if count and key not in USUAL_DROPS}


@pytest.mark.parametrize("initiator", ["subject", "other"])
@pytest.mark.parametrize("profile", OURS)
def test_hybrid_tunnel_carries_everything(lab, profile, initiator):
    tunnel = ours(lab, profile, initiator=initiator)
    starter = tunnel.subject if initiator == "subject" else tunnel.other
    with Wiretap(tunnel.subject.namespace) as tap:
        tunnel.passes(starter)
        tcp_transfer(tunnel.subject, tunnel.other, 20_000_000, is_duplex=True)
        udp_sizes(tunnel.other, tunnel.subject, [0, 1, 15, 16, 17, 1000, MTU - 28, 4000])
        tcp_transfer(tunnel.other, tunnel.subject, 1_000_000, family=6)
        seen = [d for d in tap.datagrams() if len(d.payload) >= 32]
    shakes = [(d.source, len(d.payload)) for d in seen if d.payload[:2] in (b"\1\1", b"\2\1")]
    answerer = tunnel.opposite(starter)
    assert shakes[:2] == [(starter.outer(), HYBRID_INITIATION_BYTES),
                          (answerer.outer(), HYBRID_RESPONSE_BYTES)]
    assert all(d.payload[1] == 1 and d.payload[2:4] == b"\0\0" for d in seen), "stock messages"
    for end in tunnel.ends:
        assert not drops(end), drops(end)
        assert end.daemon.last_handshake(tunnel.opposite(end).key.public)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("profile", OURS)
def test_hybrid_tunnel_with_a_preshared_key_and_any_number_of_workers(lab, profile, workers):
    environment = {"BRANCHLINE_WORKERS": workers}
    tunnel = ours(lab, profile, psk=new_psk(), subject_environment=environment,
                  other_environment=environment, family=6)
    tunnel.passes(family=6)
    tcp_transfer(tunnel.subject, tunnel.other, 10_000_000, is_duplex=True)
    for end in tunnel.ends:
        assert not drops(end), drops(end)


@pytest.mark.parametrize("mtu", [1396, 1280])
@pytest.mark.parametrize("family", [4, 6])
def test_hands_are_shaken_over_small_paths(lab, family, mtu):
    """Over IPv6 an initiation is 1396 bytes; where a path is smaller, the kernel fragments it."""
    tunnel = ours(lab, AES, family=family)
    for end in tunnel.ends:
        end.namespace.configure(f"link set veth0 mtu {mtu}")
    tunnel.passes(family=family)


def test_one_daemon_speaks_to_peers_of_every_profile_at_once(lab):
    star = Star(lab, [wireguard_go(), branchlined(), branchlined(), branchlined()])
    profiles = [None, AES, CHACHA, STOCK]
    for peer, profile in zip(star.peers, profiles):
        star.hub.add_peer(peer, profile=profile)
        peer.add_peer(star.hub, endpoint=star.hub.endpoint(), profile=profile,
                      allowed=("10.77.0.0/16", "fd77::/64"))
    with Wiretap(star.hub.namespace) as tap:
        for peer in star.peers:
            echo(peer, star.hub)
        jobs = [Worker(tcp_transfer, star.hub, peer, 5_000_000, 4, True) for peer in star.peers]
        for job in jobs:
            job.result()
        headers = {}
        for datagram in tap.datagrams():
            if datagram.source == star.hub.outer() and datagram.kind == 4:
                headers.setdefault(datagram.target, set()).add(datagram.payload[:4])
    assert headers == {peer.outer(): {DATA_HEADERS[profile or STOCK]}
                       for peer, profile in zip(star.peers, profiles)}
    shown = star.hub.daemon.wg("show", star.hub.daemon.name)
    assert shown.count("latest handshake:") == 4
    known = keys_of(star.hub)
    for peer, profile in zip(star.peers, profiles):
        assert f"peer: {peer.key.public_base64}" in shown
        assert known[peer.key.public_base64]["profile"] == (profile or STOCK)
        assert known[peer.key.public_base64]["session"]["messages_sent"] > 1000
    assert not wrong_profiles(star.hub) and not drops(star.hub), drops(star.hub)


def test_wg_changes_peers_of_both_profiles_and_leaves_what_they_speak(lab):
    tunnel = ours(lab, AES)
    end, other = tunnel.ends
    tunnel.passes()
    name, public = end.daemon.name, other.key.public_base64
    end.daemon.wg("set", name, "peer", public, "persistent-keepalive", "25")
    assert end.daemon.peer(other.key.public)["profile"] == [AES]
    assert f"{public}\t25" in end.daemon.wg("show", name, "persistent-keepalive")
    assert len(end.daemon.wg("show", name, "dump").splitlines()) == 2
    # What wg knows of the interface, put back in the way of wg: the peer is the same one.
    text = end.daemon.wg("showconf", name)
    assert "Profile" not in text
    path = lab.folder / "synced.conf"
    path.write_text(text)
    end.daemon.wg("syncconf", name, str(path))
    assert end.daemon.peer(other.key.public)["profile"] == [AES]
    tunnel.passes()
    # A peer that wg removes and adds again is a WireGuard peer.
    end.daemon.wg("set", name, "peer", public, "remove")
    end.daemon.wg("set", name, "peer", public, "endpoint", other.endpoint(), "allowed-ips",
                  f"{other.inner()}/32")
    assert "profile" not in end.daemon.peer(other.key.public)
    tunnel.is_silent()


WRONG = [(AES, STOCK, "branchlined"), (STOCK, CHACHA, "branchlined"), (AES, None, "wireguard-go")]


@pytest.mark.parametrize(
    "mine, theirs, program", WRONG, ids=[f"{m}-to-{t or p}" for m, t, p in WRONG])
def test_wrong_profile_passes_nothing_and_status_says_what_to_change(lab, mine, theirs, program):
    is_ours = program == "branchlined"
    tunnel = make_tunnel(
        lab, branchlined(), branchlined() if is_ours else wireguard_go(), profiles=(mine, theirs))
    for end in tunnel.ends:
        tunnel.is_silent(end, seconds=2)
    for end in tunnel.ends[:2 if is_ours else 1]:
        opposite = tunnel.opposite(end)
        assert end.daemon.last_handshake(opposite.key.public) == 0
        wait_until(lambda: drops(end).get("wrong_profile"), 20, "a drop is counted")
        (line,) = wait_until(lambda: wrong_profiles(end), 20, "status tells")
        assert opposite.key.public_base64[:10] in line
        assert "Profile = branchline" in line and "Profile = wireguard" in line
        told = keys_of(end)[opposite.key.public_base64]["wrong_profile"]
        assert told["spoken"].startswith("wireguard" if end.daemon.peer(
            opposite.key.public).get("profile") else "branchline")
        assert "session" not in keys_of(end)[opposite.key.public_base64]
    # As the line says, and all is well.
    tunnel.subject.add_peer(tunnel.other, profile=theirs or STOCK)
    tunnel.passes(seconds=30)
    assert not wrong_profiles(tunnel.subject)


def test_ciphers_must_agree(lab):
    tunnel = make_tunnel(lab, branchlined(), branchlined(), profiles=(AES, CHACHA))
    for end in tunnel.ends:
        tunnel.is_silent(end, seconds=2)
        assert end.daemon.last_handshake(tunnel.opposite(end).key.public) == 0
    tunnel.other.add_peer(tunnel.subject, profile=AES)
    tunnel.passes(seconds=30)


def test_another_profile_ends_the_session(lab):
    tunnel = ours(lab, STOCK)
    tunnel.passes()
    for profile in (AES, CHACHA, STOCK):
        for end in tunnel.ends:
            end.add_peer(tunnel.opposite(end), profile=profile)
        tunnel.passes(seconds=30)
        shown = keys_of(tunnel.subject)[tunnel.other.key.public_base64]
        assert shown["profile"] == profile
        assert shown["post_quantum"] == (profile != STOCK)


@pytest.mark.parametrize("profile", OURS)
def test_upgrade_goes_on_with_the_session(lab, profile):
    tunnel = ours(lab, profile)
    tunnel.passes()
    subject, other = tunnel.ends
    before = [end.daemon.last_handshake(tunnel.opposite(end).key.public) for end in tunnel.ends]
    sent = keys_of(subject)[other.key.public_base64]["session"]["messages_sent"]
    tokens = EventStream(other, subject)
    for _ in range(2):
        time.sleep(0.5)
        upgrade(subject)
    time.sleep(0.5)
    assert tokens.finish() < 2 * GAP_SECONDS_MAX
    assert before == [end.daemon.last_handshake(tunnel.opposite(end).key.public)
                      for end in tunnel.ends]
    shown = keys_of(subject)[other.key.public_base64]
    assert shown["profile"] == profile and shown["session"]["messages_sent"] > sent
    for end in tunnel.ends:
        assert int(end.daemon.status()["drop_replayed"]) == 0


def test_peer_that_is_restarted_comes_back_in_its_profile(lab):
    tunnel = ours(lab, AES)
    tunnel.passes()
    tunnel.other.daemon.end(signal.SIGKILL)
    wait_until(lambda: tunnel.other.daemon.name not in tunnel.other.namespace.interfaces(), 15,
               "the interface went with its daemon")
    tunnel.other.start()
    tunnel.other.add_peer(tunnel.subject, endpoint=tunnel.subject.endpoint(), profile=AES)
    tunnel.passes(tunnel.other, seconds=30)


def test_keys_tells_how_far_a_session_is_used_up(lab):
    tunnel = ours(lab, AES, initiator="subject")
    end, other = tunnel.ends
    shown = keys_of(end)[other.key.public_base64]
    assert "session" not in shown and shown["cipher"] == "AES-256-GCM"
    assert "none" in command("keys", end.daemon.name)
    tunnel.passes()
    time.sleep(1.2)
    # The other is asked first, so that nothing can have arrived there that was not sent here.
    second, first = keys_of(other), keys_of(end)
    mine, theirs = first[other.key.public_base64], second[end.key.public_base64]
    session = mine["session"]
    assert 1 <= session["age_seconds"] < 100 and mine["post_quantum"] is True
    assert session["messages_max"] == 1 << 26
    assert session["messages_sent"] >= theirs["session"]["messages_received"] > 0
    assert abs(session["rekey_in_seconds"] + session["age_seconds"] - 120) <= 1
    assert abs(session["ends_in_seconds"] + session["age_seconds"] - 180) <= 1
    assert "rekey_in_seconds" not in theirs["session"], "who began begins again"
    text = command("keys", end.daemon.name)
    (row,) = [line for line in text.splitlines() if other.key.public_base64[:10] in line]
    for word in ("branchline", "AES-256-GCM", "yes", "messages"):
        assert word in row, text
    assert "by peer" in command("keys", other.daemon.name)
    for secret in (end.key.private_base64, end.key.private.hex()):
        assert secret not in text


def test_keys_tells_of_wireguard_peers_too(lab):
    tunnel = make_tunnel(lab, branchlined(), wireguard_go(), psk=new_psk())
    tunnel.passes()
    shown = keys_of(tunnel.subject)[tunnel.other.key.public_base64]
    assert (shown["profile"], shown["cipher"]) == (STOCK, "ChaCha20-Poly1305")
    assert shown["post_quantum"] is False and shown["has_preshared_key"] is True
    assert shown["session"]["messages_max"] == 1 << 60
    assert "by preshared key" in command("keys", tunnel.subject.daemon.name)
    # Of another program's interface it tells what can be known.
    (report,) = json.loads(command("keys", tunnel.other.daemon.name, "--json"))
    (peer,) = report["peers"]
    assert peer["profile"] == STOCK and "session" not in peer


@pytest.mark.long
def test_hybrid_tunnel_rekeys_without_a_loss(lab):
    """More than two minutes of a small stream: new keys come, and no packet is missing."""
    tunnel = ours(lab, AES)
    tunnel.passes()
    subject, other = tunnel.ends
    first = subject.daemon.last_handshake(other.key.public)
    tokens = EventStream(other, subject, interval=0.05)
    wait_for_handshake(subject, other, after=first, seconds=300)
    time.sleep(2)
    assert tokens.finish() < 5
    for end in tunnel.ends:
        assert not drops(end), drops(end)


# Joined networks


def await_profiles(node, seconds: float = 30, **expected: str):
    """Waits until the node has these peers, by the last part of their names, and profiles."""
    wanted = {f"node-{number.removeprefix('of_')}": profile
              for number, profile in expected.items()}

    def has() -> bool:
        return wanted == {
            peer["name"]: peer["profile"] for peer in node.peers() if "name" in peer}

    wait_until(has, seconds, f"{node.interface} has {wanted}")


def test_grants_decide_and_both_ends_come_to_the_same(lab):
    site = Site(lab)
    gateway = site.gateway(1)
    strong = site.branch(2, profiles=[AES])
    plain = site.branch(3)
    for node in (strong, plain):
        node.reaches(inner(1))
    await_profiles(gateway, of_2=AES, of_3=STOCK)
    await_profiles(strong, of_1=AES)
    await_profiles(plain, of_1=STOCK)
    assert "branchline-aes256gcm by its grant" in strong.command(
        "status", strong.interface).stdout
    # From now on the gateway is content with nothing weaker, and of two ciphers it is the one that
    # every machine has the means for.
    member = site.member(gateway)
    site.coordinator.set_chain(member, site.coordinator.grant(member, profile=CHACHA))
    await_profiles(plain, of_1=CHACHA)
    for node in (strong, plain):
        node.reaches(inner(1), seconds=30)
    await_profiles(gateway, of_2=CHACHA, of_3=CHACHA)
    await_profiles(strong, of_1=CHACHA)
    # As from disk.
    plain.kill()
    plain.command("up", plain.interface)
    plain.reaches(inner(1), seconds=30)
    await_profiles(plain, of_1=CHACHA)


def test_coordinator_that_keeps_a_grant_back_weakens_nothing(lab):
    """It tells the gateway of its stronger grant, and the branch nothing."""
    site = Site(lab)
    gateway, branch = site.gateway(1), site.branch(2)
    branch.reaches(inner(1))
    member = site.member(gateway)
    chain = site.coordinator.grant(member, profile=AES)
    with site.coordinator.lock:
        member.chain = chain
        site.coordinator.tell(member.node, {"own": chain})
    await_profiles(gateway, of_2=AES)
    assert branch.is_cut_off(inner(1))
    await_profiles(branch, of_1=STOCK)

    def told() -> list[str]:
        text = gateway.command("status", gateway.interface).stdout
        return [line for line in text.splitlines() if "wrong profile: " in line]

    # The branch begins anew once nothing has been answered for a quarter of a minute.
    (line,) = wait_until(told, 60, "status tells")
    assert "node-2 speaks wireguard" in line and "newest grants" in line
    assert "reprofile" not in line, "nobody is talked into less"
    site.coordinator.announce(member)
    branch.reaches(inner(1), seconds=30)
    await_profiles(branch, of_1=AES)
    assert not told()
