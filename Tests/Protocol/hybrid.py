#!/usr/bin/env python3
"""Profile `branchline` from its specification, sharing no code with the Swift implementation.

X25519 and the AEADs come from the `cryptography` package (OpenSSL), ML-KEM-768 from kyber-py,
BLAKE2s and HMAC are Python's own. As a program it prints
Tests/WireGuardProtocolTests/Vectors/branchline_handshake.json.

Section numbers are those of ProfileBranchline.md. Not for keys that anybody relies on: kyber-py
does not run in constant time.
"""
import hashlib
import hmac
import json
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768

INITIATION, RESPONSE, COOKIE_REPLY, DATA = 0x101, 0x102, 0x103, 0x104
CIPHERS = ("ChaChaPoly", "AESGCM")
REJECT_AFTER_MESSAGES = {"ChaChaPoly": 2**64 - 2**13 - 1, "AESGCM": 2**27}


class Refused(Exception):
    """What a receiver drops in silence."""


# Section 3: functions.

def blake2s(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def kdf(count: int, chaining_key: bytes, data: bytes) -> list[bytes]:
    def hmac_blake2s(key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, hashlib.blake2s).digest()

    secret, previous, outputs = hmac_blake2s(chaining_key, data), b"", []
    for index in range(1, count + 1):
        previous = hmac_blake2s(secret, previous + bytes([index]))
        outputs.append(previous)
    return outputs


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw)


def dh(private: bytes, peer: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(peer))
    except ValueError as error:
        raise Refused("a point of low order") from error


def seal(cipher: str, key: bytes, counter: int, plaintext: bytes, associated: bytes) -> bytes:
    if cipher == "ChaChaPoly":
        return ChaCha20Poly1305(key).encrypt(
            struct.pack("<IQ", 0, counter), plaintext, associated)
    return AESGCM(key).encrypt(struct.pack(">IQ", 0, counter), plaintext, associated)


def open_(cipher: str, key: bytes, counter: int, ciphertext: bytes, associated: bytes) -> bytes:
    try:
        if cipher == "ChaChaPoly":
            return ChaCha20Poly1305(key).decrypt(
                struct.pack("<IQ", 0, counter), ciphertext, associated)
        return AESGCM(key).decrypt(struct.pack(">IQ", 0, counter), ciphertext, associated)
    except InvalidTag as error:
        raise Refused("not authentic") from error


def xchacha20poly1305(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03, section 2.3."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(
        bytes(4) + nonce[16:], plaintext, associated)


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for target, add, mix, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[target] = (state[target] + state[add]) & 0xffffffff
            word = state[mix] ^ state[target]
            state[mix] = (word << turn | word >> (32 - turn)) & 0xffffffff

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *(state[:4] + state[12:]))


# Section 5: the handshake.

def construction(cipher: str) -> bytes:
    return f"Noise_IKhfs+psk2_25519+MLKEM768_{cipher}_BLAKE2s".encode()


def prologue(cipher: str) -> bytes:
    return f"Branchline profile 1 {cipher}".encode()


class SymmetricState:
    """Noise, revision 34, section 5.2."""

    def __init__(self, cipher: str, responder_static: bytes):
        self.cipher, self.key, self.counter = cipher, b"", 0
        self.ck = blake2s(construction(cipher))
        self.h = blake2s(self.ck, prologue(cipher))
        self.mix_hash(responder_static)

    def mix_hash(self, data: bytes) -> None:
        self.h = blake2s(self.h, data)

    def mix_key(self, data: bytes) -> None:
        self.ck, self.key = kdf(2, self.ck, data)
        self.counter = 0

    def mix_key_and_hash(self, data: bytes) -> None:
        self.ck, temporary, self.key = kdf(3, self.ck, data)
        self.mix_hash(temporary)
        self.counter = 0

    def mix_ephemeral(self, ephemeral: bytes) -> None:
        self.mix_hash(ephemeral)
        self.mix_key(ephemeral)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = seal(self.cipher, self.key, self.counter, plaintext, self.h)
        self.counter += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = open_(self.cipher, self.key, self.counter, ciphertext, self.h)
        self.counter += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> list[bytes]:
        return kdf(2, self.ck, b"")


def mac1(covered: bytes, receiver_static: bytes) -> bytes:
    """Section 6."""
    return mac(blake2s(b"mac1----", receiver_static), blake2s(covered))


def with_macs(message: bytes, receiver_static: bytes, cookie: bytes | None = None) -> bytes:
    message += mac1(message, receiver_static)
    return message + (mac(cookie, message) if cookie else bytes(16))


def is_mac1_valid(message: bytes, receiver_static: bytes) -> bool:
    return hmac.compare_digest(mac1(message[:-32], receiver_static), message[-32:-16])


@dataclass
class Initiator:
    cipher: str
    static: bytes
    responder_static: bytes
    preshared_key: bytes = bytes(32)
    ephemeral: bytes = b""
    kem_seed: bytes = b""
    index: int = 0

    def write_initiation(self, timestamp: bytes, cookie: bytes | None = None) -> bytes:
        encapsulation_key, _ = ML_KEM_768.key_derive(self.kem_seed)
        self.state = state = SymmetricState(self.cipher, self.responder_static)
        message = struct.pack("<II", INITIATION, self.index)
        # e, es, e1, s, ss, {t}
        message += public(self.ephemeral)
        state.mix_ephemeral(public(self.ephemeral))
        state.mix_key(dh(self.ephemeral, self.responder_static))
        message += state.encrypt_and_hash(encapsulation_key)
        message += state.encrypt_and_hash(public(self.static))
        state.mix_key(dh(self.static, self.responder_static))
        message += state.encrypt_and_hash(timestamp)
        return with_macs(message, self.responder_static, cookie)

    def read_response(self, message: bytes) -> "Session":
        if len(message) != 1196 or struct.unpack("<I", message[:4])[0] != RESPONSE:
            raise Refused("no response")
        if not is_mac1_valid(message, public(self.static)):
            raise Refused("mac1")
        sender, receiver = struct.unpack("<II", message[4:12])
        if receiver != self.index:
            raise Refused("another initiation's")
        _, decapsulation_key = ML_KEM_768.key_derive(self.kem_seed)
        state, ephemeral = self.state, message[12:44]
        # e, ee, ekem1, se, psk, {}
        state.mix_ephemeral(ephemeral)
        state.mix_key(dh(self.ephemeral, ephemeral))
        ciphertext = state.decrypt_and_hash(message[44:1148])
        state.mix_key(ML_KEM_768.decaps(decapsulation_key, ciphertext))
        state.mix_key(dh(self.static, ephemeral))
        state.mix_key_and_hash(self.preshared_key)
        if state.decrypt_and_hash(message[1148:1164]) != b"":
            raise Refused("not authentic")
        send, receive = state.split()
        return Session(self.cipher, sender, self.index, send, receive)


@dataclass
class Responder:
    cipher: str
    static: bytes
    preshared_key: bytes = bytes(32)
    ephemeral: bytes = b""
    encapsulation_randomness: bytes = b""
    index: int = 0
    initiator_static: bytes = field(default=b"", init=False)
    timestamp: bytes = field(default=b"", init=False)

    def answer(self, message: bytes) -> tuple[bytes, "Session"]:
        if len(message) != 1348 or struct.unpack("<I", message[:4])[0] != INITIATION:
            raise Refused("no initiation")
        if not is_mac1_valid(message, public(self.static)):
            raise Refused("mac1")
        remote_index = struct.unpack("<I", message[4:8])[0]
        ephemeral = message[8:40]
        self.state = state = SymmetricState(self.cipher, public(self.static))
        # e, es, e1, s, ss, {t}
        state.mix_ephemeral(ephemeral)
        state.mix_key(dh(self.static, ephemeral))
        encapsulation_key = state.decrypt_and_hash(message[40:1240])
        self.initiator_static = state.decrypt_and_hash(message[1240:1288])
        state.mix_key(dh(self.static, self.initiator_static))
        self.timestamp = state.decrypt_and_hash(message[1288:1316])

        response = struct.pack("<III", RESPONSE, self.index, remote_index)
        # e, ee, ekem1, se, psk, {}
        response += public(self.ephemeral)
        state.mix_ephemeral(public(self.ephemeral))
        state.mix_key(dh(self.ephemeral, ephemeral))
        try:
            secret, ciphertext = ML_KEM_768._encaps_internal(
                encapsulation_key, self.encapsulation_randomness)
        except ValueError as error:
            raise Refused("no encapsulation key") from error
        response += state.encrypt_and_hash(ciphertext)
        state.mix_key(secret)
        state.mix_key(dh(self.ephemeral, self.initiator_static))
        state.mix_key_and_hash(self.preshared_key)
        response += state.encrypt_and_hash(b"")
        receive, send = state.split()
        session = Session(self.cipher, remote_index, self.index, send, receive)
        return with_macs(response, self.initiator_static), session


# Section 6: cookies.

def cookie_reply(message: bytes, responder_static: bytes, cookie: bytes, nonce: bytes) -> bytes:
    """The reply to an initiation or a response that had no cookie."""
    reply = struct.pack("<II", COOKIE_REPLY, struct.unpack("<I", message[4:8])[0]) + nonce
    key = blake2s(b"cookie--", responder_static)
    return reply + xchacha20poly1305(key, nonce, cookie, message[-32:-16])


# Section 7: transport data.

@dataclass
class Session:
    cipher: str
    remote_index: int
    local_index: int
    send_key: bytes
    receive_key: bytes

    def seal(self, counter: int, packet: bytes) -> bytes:
        if counter >= REJECT_AFTER_MESSAGES[self.cipher]:
            raise Refused("the key is used up")
        header = struct.pack("<IIQ", DATA, self.remote_index, counter)
        return header + seal(self.cipher, self.send_key, counter, packet, b"")

    def open(self, message: bytes) -> bytes:
        kind, receiver, counter = struct.unpack("<IIQ", message[:16])
        if kind != DATA or receiver != self.local_index:
            raise Refused("another session's")
        if counter >= REJECT_AFTER_MESSAGES[self.cipher]:
            raise Refused("the key is used up")
        return open_(self.cipher, self.receive_key, counter, message[16:], b"")


# Section 8: control frames.

def control_frames(plaintext: bytes) -> list[tuple[int, bytes]]:
    frames, offset = [], 0
    while offset < len(plaintext):
        kind = plaintext[offset]
        if kind >> 4 in (4, 6):
            raise Refused("a packet")
        if kind == 0:
            offset += 1
            continue
        if offset + 3 > len(plaintext):
            raise Refused("cut")
        end = offset + 3 + struct.unpack("<H", plaintext[offset + 1:offset + 3])[0]
        if end > len(plaintext):
            raise Refused("cut")
        frames.append((kind, plaintext[offset + 3:end]))
        offset = end
    return frames


def path_probe(number: int, sent_at: int) -> bytes:
    value = struct.pack("<IQ", number, sent_at)
    return struct.pack("<BH", 1, len(value)) + value


def path_answer(
        number: int, sent_at: int, received_at: int, held: int, size: int, session: int,
        received: int, expected: int) -> bytes:
    value = struct.pack(
        "<IQQIHIQQ", number, sent_at, received_at, held, size, session, received, expected)
    return struct.pack("<BH", 2, len(value)) + value


# Vectors.

def seeded(label: str, count: int = 32) -> bytes:
    """Bytes that anybody can make again."""
    return hashlib.shake_128(b"branchline vector " + label.encode()).digest(count)


def vector(cipher: str, has_preshared_key: bool) -> dict:
    name = f"{cipher} {has_preshared_key}"
    initiator_static, responder_static = seeded(f"{name} s_i"), seeded(f"{name} s_r")
    preshared_key = seeded(f"{name} psk") if has_preshared_key else bytes(32)
    # 1750000000.123456789 s, rounded down to a multiple of 2^24 ns.
    timestamp = struct.pack(">QI", 2**62 + 10 + 1750000000, 123456789 // 2**24 * 2**24)
    initiator = Initiator(
        cipher, initiator_static, public(responder_static), preshared_key,
        ephemeral=seeded(f"{name} e_i"), kem_seed=seeded(f"{name} e1", 64),
        index=struct.unpack("<I", seeded(f"{name} index_i", 4))[0])
    responder = Responder(
        cipher, responder_static, preshared_key, ephemeral=seeded(f"{name} e_r"),
        encapsulation_randomness=seeded(f"{name} m"),
        index=struct.unpack("<I", seeded(f"{name} index_r", 4))[0])
    initiation = initiator.write_initiation(timestamp)
    response, responded = responder.answer(initiation)
    initiated = initiator.read_response(response)
    assert (initiated.send_key, initiated.receive_key) == (
        responded.receive_key, responded.send_key)
    assert initiator.state.h == responder.state.h
    packet = bytes([0x45]) + seeded(f"{name} packet", 63)
    later = REJECT_AFTER_MESSAGES[cipher] - 1
    cookie, nonce = seeded(f"{name} cookie", 16), seeded(f"{name} nonce", 24)
    with_cookie = initiation[:-16] + mac(cookie, initiation[:-16])
    return {
        "name": construction(cipher).decode(),
        "prologue": prologue(cipher).decode(),
        "cipher": cipher,
        "initiator_static": initiator_static.hex(),
        "responder_static": responder_static.hex(),
        "preshared_key": preshared_key.hex(),
        "initiator_ephemeral": initiator.ephemeral.hex(),
        "decapsulation_seed": initiator.kem_seed.hex(),
        "initiator_index": initiator.index,
        "responder_ephemeral": responder.ephemeral.hex(),
        "encapsulation_randomness": responder.encapsulation_randomness.hex(),
        "responder_index": responder.index,
        "timestamp": timestamp.hex(),
        "initiation": initiation.hex(),
        "response": response.hex(),
        "handshake_hash": initiator.state.h.hex(),
        "initiator_key": initiated.send_key.hex(),
        "responder_key": responded.send_key.hex(),
        "packet": packet.hex(),
        "data_from_initiator": initiated.seal(0, packet).hex(),
        "last_data_from_initiator": initiated.seal(later, packet).hex(),
        "keepalive_from_responder": responded.seal(0, b"").hex(),
        "cookie": cookie.hex(),
        "cookie_nonce": nonce.hex(),
        "cookie_reply": cookie_reply(initiation, public(responder_static), cookie, nonce).hex(),
        "initiation_with_cookie": with_cookie.hex(),
    }


def control_vector(plaintext: str) -> dict:
    try:
        frames = [[kind, value.hex()] for kind, value in control_frames(bytes.fromhex(plaintext))]
    except Refused:
        frames = None
    return {"plaintext": plaintext, "frames": frames}


def path_runs() -> list[bytes]:
    """A small probe and its answer as they are sent, and both in one message."""
    probe = path_probe(0x01020304, 0x1112131415161718)
    answer = path_answer(
        0x01020304, 0x1112131415161718, 0x2122232425262728, 0x31323334, 0x4142, 0x51525354,
        0x6162636465666768, 0x7172737475767778)
    return [run + bytes(-len(run) % 16) for run in (probe, answer, probe + answer)]


def vectors() -> dict:
    return {
        "handshakes": [vector(cipher, has) for cipher in CIPHERS for has in (False, True)],
        "control_frames": [control_vector(text) for text in (
            "00", "00000000000000000000000000000000", "010000", "0100", "01", "01030061626300",
            "0102006162ff000000000000000000", "000001010041", "0101004145", "0101004160",
            "0104006162", "70ffff", "450000", "600000", "010100455001005a00",
            *(run.hex() for run in path_runs()),
        )],
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
