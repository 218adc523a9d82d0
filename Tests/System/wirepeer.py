"""A WireGuard peer in Python, for packets that no honest implementation would send.

Follows sections 5.4.2 to 5.4.7 of the WireGuard paper. It keeps no timers: a test says when it
shakes hands, what it sends and from which address.
"""

import hashlib
import hmac
import os
import select
import socket
import struct
import time

import sodium
from lab import Key, Namespace
from wiretap import COOKIE, DATA, INITIATION, INITIATION_BYTES, RESPONSE, RESPONSE_BYTES

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"


def hashed(*pieces: bytes) -> bytes:
    return hashlib.blake2s(b"".join(pieces)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def derive(key: bytes, data: bytes, count: int) -> list[bytes]:
    """The paper's KDF_n: HKDF with HMAC-BLAKE2s and an empty label."""
    secret, output, outputs = hmac.digest(key, data, "blake2s"), b"", []
    for index in range(1, count + 1):
        output = hmac.digest(secret, output + bytes([index]), "blake2s")
        outputs.append(output)
    return outputs


def tai64n() -> bytes:
    now = time.time_ns()
    return struct.pack(">QI", (1 << 62) + 10 + now // 1_000_000_000, now % 1_000_000_000)


def first_mac_key(public: bytes) -> bytes:
    return hashed(b"mac1----", public)


class Transport:
    """The keys of one session and its counters."""

    def __init__(self, sending: bytes, receiving: bytes, local: int, remote: int):
        self.sending, self.receiving = sending, receiving
        self.local, self.remote, self.counter = local, remote, 0

    def seal(self, packet: bytes, counter: int | None = None, is_padded: bool = True) -> bytes:
        """Returns transport data; with `counter` the own counter stays as it is."""
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        if is_padded:
            packet += bytes(-len(packet) % 16)
        sealed = sodium.aead_seal(self.sending, counter, packet)
        return struct.pack("<IIQ", DATA, self.remote, counter) + sealed

    def open(self, message: bytes) -> bytes | None:
        """Returns the padded packet inside; `None` where it is not of this session."""
        kind, receiver, counter = struct.unpack_from("<IIQ", message)
        if kind != DATA or receiver != self.local:
            return None
        return sodium.aead_open(self.receiving, counter, message[16:])


class WirePeer:
    """A socket in a namespace, and the Noise handshake in both roles."""

    def __init__(self, namespace: Namespace, remote: tuple[str, int], remote_public: bytes,
                 psk: bytes = bytes(32), port: int = 0):
        self.key, self.psk = Key(), psk
        self.remote, self.remote_public = remote, remote_public
        self.namespace = namespace
        self.socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.socket.bind(("0.0.0.0", port))
        self.cookie: bytes | None = None
        self.last_mac = bytes(16)
        self._pending: tuple | None = None

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def close(self):
        self.socket.close()

    def send(self, message: bytes, traffic_class: int = 0):
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, traffic_class)
        self.socket.sendto(message, self.remote)

    def receive(self, seconds: float, kind: int | None = None) -> tuple[bytes, int] | None:
        """Returns (message, ToS byte) of the next message of a kind, `None` after `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return None
            message, control, _, _ = self.socket.recvmsg(1 << 16, 64)
            traffic_class = next(
                (data[0] for level, name, data in control
                 if (level, name) == (socket.IPPROTO_IP, socket.IP_TOS)), 0)
            if message and kind in (None, message[0]):
                return message, traffic_class
        return None

    def _add_macs(self, body: bytes, seconds_mac: bool = True) -> bytes:
        self.last_mac = mac(first_mac_key(self.remote_public), body)
        body += self.last_mac
        return body + (mac(self.cookie, body) if self.cookie and seconds_mac else bytes(16))

    def initiation(self, timestamp: bytes | None = None) -> bytes:
        """Builds an initiation and remembers what its response needs."""
        index = struct.unpack("<I", os.urandom(4))[0]
        ephemeral, chain = Key(), hashed(CONSTRUCTION)
        digest = hashed(hashed(chain, IDENTIFIER), self.remote_public)
        # e
        chain, = derive(chain, ephemeral.public, 1)
        digest = hashed(digest, ephemeral.public)
        # es, s
        chain, key = derive(chain, sodium.x25519(ephemeral.private, self.remote_public), 2)
        static = sodium.aead_seal(key, 0, self.key.public, digest)
        digest = hashed(digest, static)
        # ss, {t}
        chain, key = derive(chain, sodium.x25519(self.key.private, self.remote_public), 2)
        stamp = sodium.aead_seal(key, 0, timestamp or tai64n(), digest)
        digest = hashed(digest, stamp)
        self._pending = (index, ephemeral, chain, digest)
        return self._add_macs(
            struct.pack("<II", INITIATION, index) + ephemeral.public + static + stamp)

    def finish(self, response: bytes) -> Transport:
        """Takes the response to the last initiation."""
        assert len(response) == RESPONSE_BYTES
        index, ephemeral, chain, digest = self._pending
        kind, remote_index, local_index = struct.unpack_from("<III", response)
        assert (kind, local_index) == (RESPONSE, index), "a response to something else"
        theirs, empty = response[12:44], response[44:60]
        assert response[60:76] == mac(first_mac_key(self.key.public), response[:60]), "mac1"
        # e, ee, se, psk
        chain, = derive(chain, theirs, 1)
        digest = hashed(digest, theirs)
        chain, = derive(chain, sodium.x25519(ephemeral.private, theirs), 1)
        chain, = derive(chain, sodium.x25519(self.key.private, theirs), 1)
        chain, mixed, key = derive(chain, self.psk, 3)
        digest = hashed(digest, mixed)
        assert sodium.aead_open(key, 0, empty, digest) == b"", "the response does not open"
        sending, receiving = derive(chain, b"", 2)
        return Transport(sending, receiving, index, remote_index)

    def take_cookie(self, reply: bytes):
        """Opens a cookie reply to the last message with mac1."""
        key = hashed(b"cookie--", self.remote_public)
        self.cookie = sodium.xaead_open(key, reply[8:32], reply[32:64], self.last_mac)
        assert self.cookie, "the cookie reply does not open"

    def shake(self, seconds: float = 15.0) -> Transport:
        """Runs the handshake as the initiator."""
        self.send(self.initiation())
        answer = self.receive(seconds, RESPONSE)
        assert answer, "no response to an initiation"
        return self.finish(answer[0])

    def answer(self, initiation: bytes) -> tuple[bytes, Transport]:
        """Reads an initiation to this peer; returns the response and the session."""
        assert len(initiation) == INITIATION_BYTES
        remote_index = struct.unpack_from("<I", initiation, 4)[0]
        theirs, static, stamp = initiation[8:40], initiation[40:88], initiation[88:116]
        assert initiation[116:132] == mac(first_mac_key(self.key.public), initiation[:116])
        chain = hashed(CONSTRUCTION)
        digest = hashed(hashed(chain, IDENTIFIER), self.key.public)
        # e, es, s
        chain, = derive(chain, theirs, 1)
        digest = hashed(digest, theirs)
        chain, key = derive(chain, sodium.x25519(self.key.private, theirs), 2)
        assert sodium.aead_open(key, 0, static, digest) == self.remote_public
        digest = hashed(digest, static)
        # ss, {t}
        chain, key = derive(chain, sodium.x25519(self.key.private, self.remote_public), 2)
        assert sodium.aead_open(key, 0, stamp, digest) is not None
        digest = hashed(digest, stamp)
        # e, ee, se, psk
        index, ephemeral = struct.unpack("<I", os.urandom(4))[0], Key()
        chain, = derive(chain, ephemeral.public, 1)
        digest = hashed(digest, ephemeral.public)
        chain, = derive(chain, sodium.x25519(ephemeral.private, theirs), 1)
        chain, = derive(chain, sodium.x25519(ephemeral.private, self.remote_public), 1)
        chain, mixed, key = derive(chain, self.psk, 3)
        digest = hashed(digest, mixed)
        empty = sodium.aead_seal(key, 0, b"", digest)
        receiving, sending = derive(chain, b"", 2)
        body = struct.pack("<III", RESPONSE, index, remote_index) + ephemeral.public + empty
        return self._add_macs(body), Transport(sending, receiving, index, remote_index)


def is_cookie_reply(message: bytes) -> bool:
    return len(message) == 64 and message[0] == COOKIE
