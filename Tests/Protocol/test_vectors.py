"""The second implementation of profile `branchline` against the vectors that the Swift tests check,
and against what the Swift responder wrote."""
import json
import pathlib
import struct

import pytest

import hybrid

FOLDER = pathlib.Path(__file__).parents[1] / "WireGuardProtocolTests" / "Vectors"
VECTORS = json.loads((FOLDER / "branchline_handshake.json").read_text())
RECORDED = json.loads((FOLDER / "branchline_responses.json").read_text())
HANDSHAKES = VECTORS["handshakes"]


def initiator_of(vector: dict, cipher: str | None = None) -> hybrid.Initiator:
    text = {name: bytes.fromhex(vector[name]) for name in (
        "initiator_static", "responder_static", "preshared_key", "initiator_ephemeral",
        "decapsulation_seed")}
    return hybrid.Initiator(
        cipher or vector["cipher"], text["initiator_static"],
        hybrid.public(text["responder_static"]), text["preshared_key"],
        text["initiator_ephemeral"], text["decapsulation_seed"], vector["initiator_index"])


def responder_of(vector: dict, cipher: str | None = None) -> hybrid.Responder:
    return hybrid.Responder(
        cipher or vector["cipher"], bytes.fromhex(vector["responder_static"]),
        bytes.fromhex(vector["preshared_key"]), bytes.fromhex(vector["responder_ephemeral"]),
        bytes.fromhex(vector["encapsulation_randomness"]), vector["responder_index"])


def test_the_vectors_are_what_this_implementation_makes():
    assert hybrid.vectors() == VECTORS


def test_published_xchacha20_poly1305_comes_out():
    # draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    key = bytes(range(0x80, 0xa0))
    nonce = bytes(range(0x40, 0x58))
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    plaintext = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
                 b"the future, sunscreen would be it.")
    sealed = hybrid.xchacha20poly1305(key, nonce, plaintext, associated)
    assert sealed[:16].hex() == "bd6d179d3e83d43b9576579493c0e939"
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"


@pytest.mark.parametrize("vector", HANDSHAKES, ids=lambda vector: vector["name"])
def test_both_sides_reproduce_the_handshake(vector):
    initiator, responder = initiator_of(vector), responder_of(vector)
    initiation = initiator.write_initiation(bytes.fromhex(vector["timestamp"]))
    assert initiation.hex() == vector["initiation"] and len(initiation) == 1348
    response, responded = responder.answer(initiation)
    assert response.hex() == vector["response"] and len(response) == 1196
    assert responder.initiator_static == hybrid.public(
        bytes.fromhex(vector["initiator_static"]))
    assert responder.timestamp.hex() == vector["timestamp"]
    initiated = initiator.read_response(response)
    assert initiated.send_key.hex() == vector["initiator_key"] == responded.receive_key.hex()
    assert initiated.receive_key.hex() == vector["responder_key"] == responded.send_key.hex()
    packet = bytes.fromhex(vector["packet"])
    assert responded.open(bytes.fromhex(vector["data_from_initiator"])) == packet
    assert responded.open(bytes.fromhex(vector["last_data_from_initiator"])) == packet
    assert initiated.open(bytes.fromhex(vector["keepalive_from_responder"])) == b""


@pytest.mark.parametrize("recorded", RECORDED["responses"], ids=lambda each: each["name"])
def test_what_the_other_implementation_answered_is_understood(recorded):
    vector = next(
        each for each in HANDSHAKES if each["initiation"] == recorded["initiation"])
    initiator = initiator_of(vector)
    initiator.write_initiation(bytes.fromhex(vector["timestamp"]))
    session = initiator.read_response(bytes.fromhex(recorded["response"]))
    assert session.open(bytes.fromhex(recorded["keepalive"])) == b""
    assert session.open(bytes.fromhex(recorded["data"])) == bytes.fromhex(vector["packet"])


def test_every_vector_was_answered():
    assert {each["initiation"] for each in RECORDED["responses"]} == {
        each["initiation"] for each in HANDSHAKES}


@pytest.mark.parametrize("vector", HANDSHAKES, ids=lambda vector: vector["name"])
def test_another_cipher_is_refused(vector):
    other = next(cipher for cipher in hybrid.CIPHERS if cipher != vector["cipher"])
    with pytest.raises(hybrid.Refused):
        responder_of(vector, other).answer(bytes.fromhex(vector["initiation"]))
    initiator = initiator_of(vector, other)
    initiator.write_initiation(bytes.fromhex(vector["timestamp"]))
    with pytest.raises(hybrid.Refused):
        initiator.read_response(bytes.fromhex(vector["response"]))


@pytest.mark.parametrize("offset", [4, 8, 39, 40, 1239, 1240, 1287, 1288, 1315])
def test_altered_initiations_are_refused(offset):
    vector = HANDSHAKES[0]
    message = bytearray.fromhex(vector["initiation"])
    message[offset] ^= 1
    responder = responder_of(vector)
    if offset == 4:
        # The index is covered by mac1 only.
        with pytest.raises(hybrid.Refused):
            responder.answer(bytes(message))
        return
    sealed = hybrid.with_macs(bytes(message[:-32]), hybrid.public(responder.static))
    with pytest.raises(hybrid.Refused):
        responder.answer(sealed)


def test_mac1_over_the_whole_message_is_refused():
    vector = HANDSHAKES[0]
    keys = {name: hybrid.public(bytes.fromhex(vector[f"{name}_static"]))
            for name in ("initiator", "responder")}
    initiator = initiator_of(vector)
    initiator.write_initiation(bytes.fromhex(vector["timestamp"]))
    for name, receiver, receive in (
            ("initiation", "responder", responder_of(vector).answer),
            ("response", "initiator", initiator.read_response)):
        message = bytes.fromhex(vector[name])
        key = hybrid.blake2s(b"mac1----", keys[receiver])
        whole = message[:-32] + hybrid.mac(key, message[:-32]) + bytes(16)
        with pytest.raises(hybrid.Refused, match="mac1"):
            receive(whole)
        receive(message)


def test_an_encapsulation_key_that_is_not_reduced_is_refused():
    vector = HANDSHAKES[0]
    initiator = initiator_of(vector)
    encapsulation_key, decapsulation_key = hybrid.ML_KEM_768.key_derive(initiator.kem_seed)
    # The first coefficient becomes 4095.
    invalid = bytes([0xff, encapsulation_key[1] | 0x0f]) + encapsulation_key[2:]
    original = hybrid.ML_KEM_768.key_derive
    hybrid.ML_KEM_768.key_derive = lambda seed: (invalid, decapsulation_key)
    try:
        message = initiator.write_initiation(bytes.fromhex(vector["timestamp"]))
    finally:
        hybrid.ML_KEM_768.key_derive = original
    with pytest.raises(hybrid.Refused, match="no encapsulation key"):
        responder_of(vector).answer(message)


@pytest.mark.parametrize("vector", HANDSHAKES, ids=lambda vector: vector["name"])
def test_the_key_limit_is_the_first_counter_that_is_refused(vector):
    session = hybrid.Session(
        vector["cipher"], 1, 2, bytes.fromhex(vector["initiator_key"]), bytes(32))
    limit = hybrid.REJECT_AFTER_MESSAGES[vector["cipher"]]
    assert struct.unpack("<Q", session.seal(limit - 1, b"")[8:16])[0] == limit - 1
    with pytest.raises(hybrid.Refused):
        session.seal(limit, b"")
