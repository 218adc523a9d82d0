"""A branch that has its tenant's keys and keeps no rules: what an insider can send."""

import os
import select
import socket
import struct
import time

import sodium
from lab import Key, Namespace
from wirepeer import Transport, WirePeer, first_mac_key, hashed, mac
from wiretap import COOKIE, RESPONSE

UDP_SEGMENT = 103
KEEPALIVE = b""
# A responder takes at most 50 initiations a second from one peer.
INITIATION_GAP_SECONDS = 0.025
RETRY_SECONDS = 0.5
BURST_PACKETS, BURST_PAUSE_SECONDS = 32, 0.002


class HostilePeer(WirePeer):
    """A WireGuard peer that keeps what it hears; `place` is its name to the watchers."""

    def __init__(self, namespace: Namespace, remote: tuple[str, int], remote_public: bytes,
                 family: int = 4, place: str = "", key: Key | None = None):
        super().__init__(namespace, remote, remote_public)
        self.family, self.place, self.key = family, place, key or self.key
        if family == 6:
            self.socket.close()
            self.socket = namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self.socket.bind(("::", 0))
        self.socket.setblocking(False)
        self.session: Transport | None = None
        self.sessions: list[Transport] = []
        self.heard: list[bytes] = []
        self._sent, self._next_initiation = 0, 0.0

    def send(self, message: bytes, traffic_class: int = 0):
        self.send_to(message, self.remote)

    def send_to(self, message: bytes, remote: tuple[str, int]):
        """Sends one datagram, with a pause now and then so that the receiver's buffer holds."""
        self.socket.sendto(message, remote)
        self._sent += 1
        if self._sent % BURST_PACKETS == 0:
            time.sleep(BURST_PAUSE_SECONDS)

    def send_train(self, messages: list[bytes], remote: tuple[str, int]):
        """Sends datagrams of equal size by one call; the receiver may get them as one."""
        size = struct.pack("H", len(messages[0]))
        self.socket.sendmsg(
            [b"".join(messages)], [(socket.SOL_UDP, UDP_SEGMENT, size)], 0, remote)

    def say(self, packet: bytes):
        """Sends an inner packet in the current session."""
        self.send(self.session.seal(packet))

    def listen(self):
        """Moves everything that waits in the socket to `heard`."""
        while True:
            try:
                self.heard.append(self.socket.recv(1 << 16))
            except BlockingIOError:
                return

    def take(self, kind: int) -> list[bytes]:
        """Returns and forgets the messages of one kind."""
        self.listen()
        taken = [message for message in self.heard if message[:1] == bytes([kind])]
        self.heard = [message for message in self.heard if message[:1] != bytes([kind])]
        return taken

    def await_message(self, kind: int, seconds: float) -> bytes | None:
        """Returns the first message of a kind that comes within `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            if taken := self.take(kind):
                self.heard += taken[1:]
                return taken[0]
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None

    def ask(self, seconds: float = 5.0) -> Transport | None:
        """Runs a handshake, with new attempts now and then; `None` where nobody answers."""
        deadline = time.monotonic() + seconds
        self.take(RESPONSE)
        while (left := deadline - time.monotonic()) > 0:
            self.send(self.begin())
            response = self.await_message(RESPONSE, min(left, RETRY_SECONDS))
            if response:
                return self.use(self.finish(response))
        return None

    def begin(self) -> bytes:
        """Returns an initiation that does not come too soon after the last."""
        time.sleep(max(0.0, self._next_initiation - time.monotonic()))
        self._next_initiation = time.monotonic() + INITIATION_GAP_SECONDS
        return self.initiation()

    def shake(self, seconds: float = 15.0) -> Transport:
        session = self.ask(seconds)
        assert session, f"{self.place}: no response to an initiation"
        # The first packet confirms the session; before, nothing is sent to this peer.
        self.say(KEEPALIVE)
        return session

    def use(self, session: Transport) -> Transport:
        self.session = session
        self.sessions.append(session)
        return session


def sealed_as(session: Transport, packet: bytes, index: int, counter: int | None = None) -> bytes:
    """Seals under a session's key but names another receiver index."""
    message = session.seal(packet, counter)
    return message[:4] + struct.pack("<I", index & 0xFFFF_FFFF) + message[8:]


def initiation_with_mac_for(peer: HostilePeer, public: bytes) -> bytes:
    """An initiation for the peer's own gateway with the first MAC of another."""
    body = peer.initiation()[:116]
    return body + mac(first_mac_key(public), body) + bytes(16)


def response_for(response: bytes, index: int, public: bytes) -> bytes:
    """A response, turned to another initiation and another public key."""
    body = response[:8] + struct.pack("<I", index) + response[12:60]
    return body + mac(first_mac_key(public), body) + bytes(16)


def cookie_reply(initiation: bytes, public: bytes, index: int | None = None) -> bytes:
    """Returns a reply that the initiation's sender accepts.

    `public` is the key of the peer that replies; `index` names another initiation's sender.
    """
    nonce = os.urandom(24)
    sealed = sodium.xaead_seal(
        hashed(b"cookie--", public), nonce, os.urandom(16), initiation[116:132])
    receiver = initiation[4:8] if index is None else struct.pack("<I", index)
    return struct.pack("<I", COOKIE) + receiver + nonce + sealed


def sender_index(message: bytes) -> int:
    return struct.unpack_from("<I", message, 4)[0]

