"""Hostile datagrams to the gateway's port: replays, roaming, indices, handshakes, cookies.

Each function is one kind. It marks every packet with the places that may see it.
"""

import os
import struct
import time

from forgery import UDP, echo_request, icmp, ip, packed, tcp, udp, udp_datagram
from hostileinside import interleaved_flows
from hostilepeer import (
    HostilePeer, cookie_reply, initiation_with_mac_for, response_for,
    sealed_as, sender_index)
from matrix import Matrix, own
from lab import Key
from threetenants import GATEWAY, OUTER, SERVER, SERVICE_PORT, Tenant, branch
from wirepeer import Transport, first_mac_key, mac
from wiretap import COOKIE, DATA, INITIATION, INITIATION_BYTES, RESPONSE

UPLINK = ("server", "cluster", "tun")
SILENCE_SECONDS = 0.3
RETRY_SECONDS_MAX = 20
INITIATIONS_MAX = 5
LANES = range(256)
# More than enough to put a responder under load, and how long load lasts.
LOAD_MESSAGES, LOAD_SECONDS, LOAD_ATTEMPTS = 300, 1.2, 20


def ports(*tenants: Tenant) -> list[int]:
    """The gateway's ports: one where tenants share it."""
    return sorted({tenant.port for tenant in tenants})


def in_the_clear(m: Matrix, sender: Tenant) -> set[str]:
    """Where a datagram shows that was sent from a site without encryption."""
    return {f"{sender}.site", "underlay", "gateway"}


def replays(m: Matrix, attacker: Tenant, victim: Tenant):
    """A tenant's datagrams again, from others' endpoints and forged ones: never twice."""
    own_peer, other = victim.peers[1], attacker.peers[1]
    for family in (4, 6):
        recorded = []
        for number in range(4):
            mark = m.mark(f"replayed datagram {number}", own(victim, *UPLINK), is_once=True)
            recorded.append(own_peer.session.seal(m.uplink(victim, 1, family, mark)))
            own_peer.send(recorded[-1])
        mark = m.mark("replayed from branch to branch", own(victim, "tun", "1", "2"), is_once=True)
        recorded.append(own_peer.session.seal(
            udp(branch(1, family), branch(2, family), mark)))
        own_peer.send(recorded[-1])
        m.await_expected()
        for port in ports(attacker, victim):
            for datagram in recorded * 2:
                other.send_to(datagram, (OUTER[4], port))
                own_peer.send_to(datagram, (OUTER[4], port))
                attacker.peers[2 if attacker.peers[2].family == 4 else 1].send_to(
                    datagram, (OUTER[4], port))
                m.count(3)
            other.send_train(recorded[:4] * 4, (OUTER[4], port))
            for source in (victim.outer(), attacker.outer(), OUTER[4], SERVER[4], branch(1),
                           GATEWAY[4], "127.0.0.1", "192.0.2.255", "192.0.2.200", "8.8.8.8"):
                for source_port in (own_peer.port, other.port, port, 0):
                    m.raw(attacker.site, udp(source, OUTER[4], recorded[0], (source_port, port)))
                    m.count()
        # The same with other counters, other indices and other types: not authentic any more.
        for datagram in recorded:
            for position, value in ((0, 1), (0, 2), (0, 3), (1, 1), (4, 0xFF), (8, 0x55),
                                    (15, 1), (len(datagram) - 1, 1)):
                forged = bytearray(datagram)
                forged[position] ^= value
                other.send_to(bytes(forged), (OUTER[4], victim.port))
                m.count()


def roaming(m: Matrix, attacker: Tenant, victim: Tenant):
    """A branch moves to another tenant's endpoint and back: everybody keeps what is theirs."""
    mover = attacker.peers[1]
    for number, family in ((1, 4), (1, 6), (2, 4), (2, 6)):
        resident = victim.peers[number]
        moved = own(attacker, *UPLINK) | {f"{mover.place}@{resident.place}"}
        for _ in range(3):
            mark = m.mark("moves in", expected=own(attacker, *UPLINK))
            resident.send_to(
                mover.session.seal(m.uplink(attacker, 1, family, mark)),
                (OUTER[resident.family], attacker.port))
            m.await_expected()
            m.downlink(attacker, 1, m.mark("to the moved one", expected=moved), family)
            resident.say(m.uplink(victim, number, family, m.mark(
                "resident", expected=own(victim, *UPLINK))))
            m.await_expected()
            for _ in range(8):
                # In turns to one endpoint.
                m.downlink(attacker, 1, m.mark("to the moved one", expected=moved), family)
                m.downlink(victim, number, m.mark("to the resident", expected=own(
                    victim, *UPLINK, str(number))), family)
            m.await_expected()
            mover.say(m.uplink(attacker, 1, family, m.mark(
                "moves back", expected=own(attacker, *UPLINK))))
            m.await_expected()
            m.downlink(attacker, 1, m.mark("to the returned", expected=own(
                attacker, *UPLINK, "1")), family)
            m.downlink(victim, number, m.mark("to the resident", expected=own(
                victim, *UPLINK, str(number))), family)
            m.await_expected()


def roaming_to_nowhere(m: Matrix, attacker: Tenant, victim: Tenant):
    """A branch claims endpoints that are the gateway's own, a server's or many hosts'."""
    mover = attacker.peers[1]
    for source, port in (
            (OUTER[4], attacker.port), (OUTER[4], victim.port), (victim.outer(), 9),
            (victim.outer(), victim.peers[2].port), (SERVER[4], SERVICE_PORT), (branch(1), 4000),
            (GATEWAY[4], attacker.port), ("127.0.0.1", attacker.port), ("192.0.2.255", 9),
            ("224.0.0.1", 9), ("0.0.0.0", 9), ("255.255.255.255", 9)):
        mark = m.mark(f"from {source}:{port}", own(attacker, *UPLINK))
        datagram = mover.session.seal(m.uplink(attacker, 1, 4, mark))
        m.raw(attacker.site, udp(source, OUTER[4], datagram, (port, mover.remote[1])))
        time.sleep(0.005)
        # What is sent now is for nobody but the mover to read, wherever it goes.
        m.downlink(attacker, 1, m.mark(f"to {source}:{port}", own(
            attacker, *UPLINK, "1", f"1@{victim.peers[1].place}",
            f"1@{victim.peers[2].place}")))
        m.downlink(victim, 1, m.mark("to the resident", expected=own(victim, *UPLINK, "1")))
        m.await_expected()
        mover.say(m.uplink(attacker, 1, 4, m.mark("is back", own(attacker, *UPLINK))))


def mixed_trains(m: Matrix, attacker: Tenant, victim: Tenant):
    """Datagrams of all tenants in one send, which the gateway's kernel may hand over as one."""
    carrier = attacker.peers[1]
    for port in ports(*m.tenants):
        for family in (4, 6):
            with m.gateway.held():
                for _ in range(4):
                    train = []
                    for turn in range(12):
                        tenant = m.tenants[turn % len(m.tenants)]
                        mark = m.mark(f"in one train, {tenant}", own(tenant, *UPLINK))
                        train.append(tenant.peers[1].session.seal(
                            m.uplink(tenant, 1, family, mark.ljust(200))))
                    carrier.send_train(train, (OUTER[4], port))
    time.sleep(0.05)
    # Everybody was seen at the carrier's endpoint; all go home before others are tested.
    for tenant in m.tenants:
        tenant.peers[1].say(m.uplink(tenant, 1, 4, m.mark(
            "goes home", expected=own(tenant, *UPLINK))))
    m.await_expected()


def others_indices(m: Matrix, attacker: Tenant, victim: Tenant):
    """Receiver indices of others, of nobody and of neighbours, under keys that do not fit."""
    peer = attacker.peers[1]
    mine = {session.remote for session in peer.sessions}
    for target in (victim.peers[1], victim.peers[2], attacker.peers[2]):
        known = target.session.remote
        wanted = [known, 0, 0xFFFF_FFFF, known ^ 0xFFFF_FFFF, struct.unpack("I", os.urandom(4))[0]]
        wanted += [known + step for step in (-2, -1, 1, 2)]
        wanted += [known ^ 1 << bit for bit in range(32)]
        # All workers' and all lanes' sockets.
        wanted += [known & ~0xFF | low for low in range(8)]
        wanted += [known & ~0xFF00 | lane << 8 for lane in LANES]
        for index in sorted({index & 0xFFFF_FFFF for index in wanted} - mine):
            mark = m.mark(f"index {index:08x} of {target.place}")
            message = sealed_as(peer.session, m.uplink(victim, 1, 4, mark), index)
            peer.send_to(message, (OUTER[4], victim.port))
        for key in (peer.session.receiving, target.session.receiving, bytes(32), os.urandom(32)):
            forged = Transport(key, key, 0, known)
            for counter in (0, 1, 100, 1 << 40):
                mark = m.mark(f"a wrong key for {target.place}")
                peer.send_to(forged.seal(m.uplink(victim, 1, 6, mark), counter),
                             (OUTER[4], victim.port))
        # Without encryption: nobody takes it for an inner packet.
        mark = m.mark("in the clear", in_the_clear(m, attacker))
        peer.send_to(struct.pack("<IIQ", DATA, known, 5) + m.uplink(victim, 1, 4, mark)
                     + bytes(16), (OUTER[4], victim.port))
    # The victim's keys under the attacker's index, from both places.
    for sender in (peer, victim.peers[1]):
        for port in ports(attacker, victim):
            mark = m.mark("the victim's keys, the attacker's index")
            sender.send_to(sealed_as(
                victim.peers[1].session, m.uplink(victim, 1, 4, mark), peer.session.remote,
                1 << 30), (OUTER[4], port))
    for kind in (2, 3):
        for size in (64, 92):
            m.count()
            peer.send_to((struct.pack("<III", kind, 7, victim.peers[1].session.remote)
                          + os.urandom(100))[:size], (OUTER[4], victim.port))


def foreign_handshakes(m: Matrix, attacker: Tenant, victim: Tenant):
    """One tenant's peers ask another tenant's gateway: silence, and no session."""
    keys = {"branch 1": attacker.peers[1].key, "branch 2": attacker.peers[2].key,
            "nobody": Key(), "the gateway itself": attacker.key, "the victim itself": victim.key}
    asked: list[tuple[str, HostilePeer]] = []
    for name, key in keys.items():
        for port in ports(attacker, victim):
            peer = m.stranger(victim, f"stranger to {victim}", key=key)
            peer.remote = (OUTER[4], port)
            peer.send(peer.begin())
            asked.append((f"{name} of {attacker} was answered by {victim}", peer))
            m.count()
    for public, first in ((attacker.key.public, victim.key.public),
                          (victim.key.public, attacker.key.public)):
        for key in (attacker.peers[1].key, attacker.peers[2].key):
            peer = m.stranger(attacker, f"two-faced stranger to {attacker}", key=key)
            peer.remote_public = public
            message = initiation_with_mac_for(peer, first)
            for port in ports(attacker, victim):
                peer.send_to(message, (OUTER[4], port))
                m.count()
            asked.append(("an initiation with another tenant's MAC was answered", peer))
    # A recorded initiation, again and from elsewhere. One that came too soon for an answer, as on
    # a busy machine, would be as good as new.
    response = None
    for _ in range(INITIATIONS_MAX):
        recorded = victim.peers[1].begin()
        victim.peers[1].send(recorded)
        response = victim.peers[1].await_message(RESPONSE, 5)
        if response and response[8:12] == recorded[4:8]:
            break
    else:
        m.result.blind.append(f"{m.kind}: a branch of {victim} was not answered")
        return
    m.count(6)
    for sender in (attacker.peers[1], victim.peers[1]):
        for port in ports(attacker, victim):
            sender.send_to(recorded, (OUTER[4], port))
            sender.send_to(response, (OUTER[4], port))
        asked.append(("a recorded initiation was answered", sender))
    m.raw(attacker.site, udp(victim.outer(), OUTER[4], recorded,
                             (victim.peers[1].port, victim.port)))
    time.sleep(SILENCE_SECONDS)
    for text, peer in asked:
        answers = peer.take(RESPONSE) + peer.take(COOKIE)
        for answer in answers:
            m.crossing(text)
            if peer in m.strangers and answer[0] == RESPONSE:
                speak_as(m, peer, answer, victim)
        if peer in m.strangers:
            m.strangers.remove(peer)
            peer.close()


def speak_as(m: Matrix, peer: HostilePeer, response: bytes, victim: Tenant):
    """Uses a session that should not be, to show where it leads."""
    try:
        peer.use(peer.finish(response))
    except AssertionError:
        return
    peer.say(m.uplink(victim, 1, 4, m.mark("a session that should not be")))
    time.sleep(0.05)
    m.look()


def answers_to_the_gateway(m: Matrix):
    """The gateway begins: others' responses and cookies to its initiations change nothing."""
    asked = {}
    for tenant in m.tenants:
        mark = m.mark("asks for a handshake", own(tenant, "tun", "3"))
        m.raw(tenant.domain, udp(GATEWAY[4], branch(3), mark))
    for tenant in m.tenants:
        asked[tenant.letter] = tenant.peers[3].await_message(INITIATION, 15)
        if asked[tenant.letter] is None:
            m.result.blind.append(f"{m.kind}: the gateway of {tenant} did not begin")
            return
    receiver = m.tenants[-1]
    for tenant, other in m.pairs:
        mine, theirs = asked[tenant.letter], asked[other.letter]
        foreign = tenant.peers[3].answer(mine)[0]
        turned = response_for(foreign, sender_index(theirs), other.key.public)
        reply = cookie_reply(mine, tenant.peers[3].key.public, sender_index(theirs))
        forged = cookie_reply(theirs, tenant.peers[3].key.public)
        random = struct.pack("<III", RESPONSE, 1, sender_index(theirs)) + os.urandom(48)
        for sender in (tenant.peers[3], other.peers[3]):
            for message in (turned, reply, forged, mine, theirs,
                            response_for(random, sender_index(theirs), other.key.public)):
                sender.send_to(message, (OUTER[4], other.port))
                m.count()
    # One true cookie, so that silence about the others means something.
    reply = cookie_reply(asked[receiver.letter], receiver.peers[3].key.public)
    receiver.peers[3].send(reply)
    for tenant in m.tenants:
        if not tenant.uapi.peer(tenant.peers[3].key.public)["last_handshake_time_sec"] == ["0"]:
            m.crossing(f"{tenant} took another tenant's response")
    deadline = time.monotonic() + RETRY_SECONDS_MAX
    for tenant in m.tenants:
        again = tenant.peers[3].await_message(INITIATION, deadline - time.monotonic())
        while again == asked[tenant.letter]:
            again = tenant.peers[3].await_message(INITIATION, deadline - time.monotonic())
        if again is None or len(again) != INITIATION_BYTES:
            m.result.blind.append(f"{m.kind}: the gateway of {tenant} did not ask again")
            continue
        has_cookie = again[132:] != bytes(16)
        if has_cookie and tenant is not receiver:
            m.crossing(f"{tenant} took another tenant's cookie")
        if not has_cookie and tenant is receiver:
            m.result.blind.append(f"{m.kind}: a true cookie was not taken")
        response, session = tenant.peers[3].answer(again)
        tenant.peers[3].use(session)
        tenant.peers[3].send(response)
    for tenant in m.tenants:
        mark = m.mark("after the handshake", expected=own(tenant, "tun", "3"))
        m.raw(tenant.domain, udp(GATEWAY[4], branch(3), mark))
    m.await_expected()


def cookies_of_others(m: Matrix, attacker: Tenant, victim: Tenant):
    """Under load a cookie opens its own tenant's door: another tenant asks for one of its own."""
    asker = attacker.peers[1]
    # The victim's peer, at the address that the cookie is for.
    other = m.stranger(victim, f"{victim}.1 in {attacker}", key=victim.peers[1].key)
    other.socket.close()
    other.socket = asker.socket
    for _ in range(LOAD_ATTEMPTS):
        put_under_load(m, attacker, victim)
        if was_refused(m, asker, other):
            break
    else:
        m.result.blind.append(f"{m.kind}: nobody asks for cookies for long enough")
    m.strangers.remove(other)
    asker.cookie = None
    time.sleep(LOAD_SECONDS)


def put_under_load(m: Matrix, *tenants: Tenant):
    with m.gateway.held():
        for tenant in tenants:
            key = first_mac_key(tenant.key.public)
            for index in range(LOAD_MESSAGES):
                body = struct.pack("<II", INITIATION, index) + os.urandom(108)
                tenant.peers[3].send(body + mac(key, body) + bytes(16))
                m.count()


def was_refused(m: Matrix, asker: HostilePeer, other: HostilePeer) -> bool:
    """Uses the cookie that `asker` gets for `other`; `False` where load was over too soon."""
    asker.cookie = None
    if answer_to(asker) != COOKIE:
        return False
    other.cookie = asker.cookie
    m.count()
    answer = answer_to(other)
    # Without a cookie: whether its gateway is still under load.
    other.cookie = None
    if answer_to(other) != COOKIE:
        return False
    if answer == RESPONSE:
        m.crossing(f"a cookie of {asker.place} let {other.place} in")
    # Where it is from, it is good.
    return answer is not None and answer_to(asker) == RESPONSE


def answer_to(peer: HostilePeer) -> int | None:
    """Sends an initiation; returns the type of the answer, and keeps a cookie that came."""
    peer.take(COOKIE)
    peer.take(RESPONSE)
    peer.send(peer.begin())
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        if peer.await_message(RESPONSE, 0.01):
            return RESPONSE
        if replies := peer.take(COOKIE):
            peer.take_cookie(replies[-1])
            return COOKIE
    return None


def one_key_in_all_tenants(m: Matrix):
    """The same peer key and address in every tenant: sessions and packets stay apart."""
    key = Key()
    peers = {}
    for tenant in m.tenants:
        tenant.uapi.set(f"public_key={key.public.hex()}", f"allowed_ip={branch(4)}/32",
                        f"allowed_ip={branch(4, 6)}/128")
        peers[tenant.letter] = m.stranger(tenant, f"{tenant}.4", key=key)
        peers[tenant.letter].shake()
    for family in (4, 6):
        for _ in range(8):
            for tenant in m.tenants:
                mark = m.mark("one key, up", expected=own(tenant, *UPLINK))
                peers[tenant.letter].say(m.uplink(tenant, 4, family, mark))
        m.await_expected()
        for _ in range(8):
            for tenant in m.tenants:
                m.downlink(tenant, 4, m.mark("one key, down", expected=own(
                    tenant, *UPLINK, "4")), family)
        m.await_expected()
    for tenant, other in m.pairs:
        for port in ports(tenant, other):
            mark = m.mark("one key, the other session's index")
            peers[tenant.letter].send_to(sealed_as(
                peers[tenant.letter].session, m.uplink(tenant, 4, 4, mark),
                peers[other.letter].session.remote), (OUTER[4], port))
    # Removed in one tenant, it lives on in the others.
    gone, *others = m.tenants
    gone.uapi.set(f"public_key={key.public.hex()}", "remove=true")
    time.sleep(0.05)
    peers[gone.letter].say(m.uplink(gone, 4, 4, m.mark("of a removed peer")))
    for tenant in others:
        mark = m.mark("of a peer that stays", expected=own(tenant, *UPLINK))
        peers[tenant.letter].say(m.uplink(tenant, 4, 4, mark))
    m.await_expected()
    for tenant in others:
        tenant.uapi.set(f"public_key={key.public.hex()}", "remove=true")


def errors_about_the_tunnel(m: Matrix, attacker: Tenant, victim: Tenant):
    """ICMP errors outside that quote the gateway's own datagrams to somebody else."""
    allowed = in_the_clear(m, attacker)
    peer = victim.peers[1]
    for source in (attacker.outer(), victim.outer(), "192.0.2.200"):
        for kind, code in [(3, code) for code in (0, 1, 2, 3, 4, 10, 13)] + [
                (4, 0), (5, 1), (11, 0), (12, 0)]:
            mark = m.mark(f"ICMP {kind}/{code} outside", allowed)
            quoted = udp(OUTER[4], victim.outer(), peer.session.seal(bytes(16))[:16] + mark,
                         (victim.port, peer.port))
            rest = packed(attacker.outer()) if kind == 5 else struct.pack(">I", 1280)
            m.raw(attacker.site, icmp(source, OUTER[4], kind, code, quoted, rest))
    for target in ("192.0.2.255", "224.0.0.1", "255.255.255.255"):
        # To everybody on the outer link, in the clear and as a datagram of the victim's.
        everywhere = {f"{t}.site" for t in m.tenants} | {"underlay", "gateway"}
        m.raw(attacker.site, udp(attacker.outer(), target, m.mark(
            f"clear to {target}", everywhere), (9, victim.port)))
        m.raw(attacker.site, udp(attacker.outer(), target, peer.session.seal(m.uplink(
            victim, 1, 4, m.mark(f"datagram to {target}", own(victim, *UPLINK)))),
            (9, victim.port)))
    # Inner packets bare on the outer link, to the gateway and through it.
    for build in (udp, tcp, echo_request):
        for source in (branch(1), attacker.outer()):
            for target in (OUTER[4], SERVER[4], branch(2), GATEWAY[4], victim.own()):
                mark = m.mark(f"bare {build.__name__} to {target}", allowed)
                m.frame(attacker.site, "veth0", build(source, target, mark), gateway_hardware(m))


def gateway_hardware(m: Matrix) -> bytes:
    text = m.headquarters.host.run("cat", "/sys/class/net/veth0/address").stdout
    return bytes.fromhex(text.strip().replace(":", ""))


def outer_fragments(m: Matrix, attacker: Tenant, victim: Tenant):
    """A datagram in pieces, into which somebody else puts pieces of another tenant's."""
    for number, (first, last) in enumerate((
            (attacker, attacker), (attacker, victim), (victim, attacker))):
        datagrams = {}
        for tenant in {first, last}:
            mark = m.mark(f"in pieces, {tenant}", own(tenant, *UPLINK))
            sealed = tenant.peers[1].session.seal(m.uplink(tenant, 1, 4, mark.ljust(600)))
            datagrams[tenant.letter] = udp_datagram(
                attacker.outer(), OUTER[4], sealed, (attacker.peers[1].port, tenant.port))
        cut = 320
        head, tail = datagrams[first.letter][:cut], datagrams[last.letter][cut:]
        for body, field in ((head, 0x2000), (tail, cut // 8), (tail[8:], cut // 8 + 1)):
            m.raw(attacker.site, ip(attacker.outer(), OUTER[4], UDP, body, fragment=field,
                                    identification=0x7700 + 16 * attacker.number + number))
            m.count()
    attacker.peers[1].say(m.uplink(attacker, 1, 4, m.mark("whole", own(attacker, *UPLINK))))
    victim.peers[1].say(m.uplink(victim, 1, 4, m.mark("whole", own(victim, *UPLINK))))


def tenants_that_were_replaced(m: Matrix):
    """Sessions and keys of removed tenants lead nowhere, also when others take their places."""
    stays, *leaving = m.tenants
    sessions = [(tenant, peer, peer.session)
                for tenant in leaving for peer in tenant.peers.values() if peer.session]
    old_keys = {tenant.letter: tenant.key.public for tenant in leaving}

    def knock(when: str):
        for tenant, peer, session in sessions:
            for number in range(8):
                for port in ports(*m.tenants):
                    mark = m.mark(f"old session of {tenant} {when}")
                    packet = m.uplink(tenant, 1 + number % 3, 4, mark)
                    peer.send_to(session.seal(packet), (peer.remote[0], port))
        for tenant in leaving:
            ghost = m.stranger(stays, f"ghost of {tenant}", key=tenant.peers[1].key)
            ghost.remote_public = old_keys[tenant.letter]
            for port in ports(*m.tenants):
                ghost.send_to(ghost.begin(), (OUTER[4], port))
                m.count()
            if ghost.await_message(RESPONSE, SILENCE_SECONDS):
                m.crossing(f"the key of {tenant}, which was removed, was answered {when}")

    with m.gateway.held():
        # What waits in the gateway's queues is delivered to its owner, or not at all.
        for turn in range(48):
            for tenant, peer, session in sessions:
                mark = m.mark(f"waits as {tenant} is removed", own(tenant))
                number = 1 + turn % 2
                peer.send(session.seal(m.uplink(tenant, number, 4, mark.ljust(1000))))
                m.downlink(tenant, number, m.mark(
                    f"waits as {tenant} is removed", own(tenant)).ljust(1000))
        for tenant in leaving:
            m.gateway.dismiss(tenant)
    for tenant in leaving:
        m.gateway.await_removal(tenant)
    m.look()
    knock("after the removal")
    stays.peers[1].say(m.uplink(stays, 1, 4, m.mark(
        "others go on", expected=own(stays, *UPLINK))))
    m.await_expected()
    # In the other order, so that each may get what was the other's.
    for tenant in reversed(leaving):
        tenant.key = Key()
        m.gateway.add(tenant)
        tenant.add_peers()
    for tenant in leaving:
        tenant.await_service()
    knock("after others took their places")


def gateway_that_was_upgraded(m: Matrix):
    """Another process takes over: replays stay replays, and every index stays its owner's."""
    if not m.gateway.can_be_upgraded():
        return
    recorded = []
    for tenant in m.tenants:
        for _ in range(4):
            mark = m.mark("replayed to the next process", own(tenant, *UPLINK), is_once=True)
            datagram = tenant.peers[1].session.seal(m.uplink(tenant, 1, 4, mark))
            tenant.peers[1].send(datagram)
            recorded.append(datagram)
    m.await_expected()
    m.gateway.upgrade()
    for tenant in m.tenants:
        for datagram in recorded:
            tenant.peers[1].send(datagram)
            m.count()
        tenant.peers[1].say(m.uplink(tenant, 1, 4, m.mark(
            "in a session from before", expected=own(tenant, *UPLINK))))
    m.await_expected()
    for tenant in m.tenants:
        m.downlink(tenant, 1, m.mark("in a session from before", expected=own(
            tenant, *UPLINK, "1")))
    m.await_expected()
    for attacker, victim in m.pairs:
        others_indices(m, attacker, victim)
    interleaved_flows(m)


KINDS = [
    replays, roaming, roaming_to_nowhere, mixed_trains, others_indices, foreign_handshakes,
    answers_to_the_gateway, cookies_of_others, one_key_in_all_tenants, errors_about_the_tunnel,
    outer_fragments, gateway_that_was_upgraded, tenants_that_were_replaced]
