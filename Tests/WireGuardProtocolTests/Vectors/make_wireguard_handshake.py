#!/usr/bin/env python3
"""Computes wireguard_handshake.json from the WireGuard paper, sections 5.4.2 to 5.4.7.

Independent of the Swift code: BLAKE2s and HMAC are Python's own, X25519 and the AEADs come from
the `cryptography` package (OpenSSL). Usage: make_wireguard_handshake.py > wireguard_handshake.json
"""
import hashlib, hmac, json, struct
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def hash_(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def hmac_(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def kdf(count, key, data):
    secret, previous, outputs = hmac_(key, data), b"", []
    for index in range(1, count + 1):
        previous = hmac_(secret, previous + bytes([index]))
        outputs.append(previous)
    return outputs


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw)


def dh(private, peer):
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(peer))


def aead(key, counter, plaintext, associated):
    return ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, counter), plaintext, associated)


initiator, responder = bytes([11] * 32), bytes([22] * 32)
e_i, e_r, psk = bytes([0x33] * 32), bytes([0x44] * 32), bytes([0x55] * 32)
index_i, index_r = 0x33333333, 0x44444444
# 1750000000.123456789 s, rounded down to a multiple of 2^24 ns.
timestamp = struct.pack(">QI", 2**62 + 10 + 1750000000, 123456789 // 2**24 * 2**24)
packet = bytes(range(16))

# First message.
ck = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
h = hash_(ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com")
h = hash_(h, public(responder))
h = hash_(h, public(e_i))
(ck,) = kdf(1, ck, public(e_i))
ck, key = kdf(2, ck, dh(e_i, public(responder)))
static = aead(key, 0, public(initiator), h)
h = hash_(h, static)
ck, key = kdf(2, ck, dh(initiator, public(responder)))
stamp = aead(key, 0, timestamp, h)
h = hash_(h, stamp)
initiation = struct.pack("<II", 1, index_i) + public(e_i) + static + stamp
initiation += mac(hash_(b"mac1----", public(responder)), initiation) + bytes(16)

# Second message.
h = hash_(h, public(e_r))
(ck,) = kdf(1, ck, public(e_r))
(ck,) = kdf(1, ck, dh(e_r, public(e_i)))
(ck,) = kdf(1, ck, dh(e_r, public(initiator)))
ck, tau, key = kdf(3, ck, psk)
h = hash_(h, tau)
nothing = aead(key, 0, b"", h)
response = struct.pack("<III", 2, index_r, index_i) + public(e_r) + nothing
response += mac(hash_(b"mac1----", public(initiator)), response) + bytes(16)

# Transport messages.
from_initiator, from_responder = kdf(2, ck, b"")
data_i = struct.pack("<IIQ", 4, index_r, 0) + aead(from_initiator, 0, packet, b"")
data_r = struct.pack("<IIQ", 4, index_i, 0) + aead(from_responder, 0, b"", b"")

print(json.dumps({
    "initiator_static": initiator.hex(), "responder_static": responder.hex(),
    "preshared_key": psk.hex(), "initiation": initiation.hex(), "response": response.hex(),
    "packet": packet.hex(), "data_from_initiator": data_i.hex(),
    "keepalive_from_responder": data_r.hex(),
}, indent=1))
