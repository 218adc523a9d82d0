"""The few primitives of libsodium that a WireGuard peer needs, through ctypes."""

import ctypes
import ctypes.util

_library = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
if _library.sodium_init() < 0:
    raise OSError("libsodium did not start")


def x25519(private: bytes, public: bytes) -> bytes:
    """Returns the shared secret of 32 bytes (RFC 7748)."""
    shared = ctypes.create_string_buffer(32)
    if _library.crypto_scalarmult_curve25519(shared, private, public) != 0:
        raise ValueError("public key of low order")
    return shared.raw


def x25519_public(private: bytes) -> bytes:
    """Returns the public key of a private key, both 32 bytes."""
    public = ctypes.create_string_buffer(32)
    _library.crypto_scalarmult_curve25519_base(public, private)
    return public.raw


def _seal(name: str, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    output = ctypes.create_string_buffer(len(plaintext) + 16)
    getattr(_library, name)(
        output, None, plaintext, ctypes.c_ulonglong(len(plaintext)),
        associated, ctypes.c_ulonglong(len(associated)), None, nonce, key)
    return output.raw


def _open(name: str, key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    if len(sealed) < 16:
        return None
    output = ctypes.create_string_buffer(max(len(sealed) - 16, 1))
    failed = getattr(_library, name)(
        output, None, None, sealed, ctypes.c_ulonglong(len(sealed)),
        associated, ctypes.c_ulonglong(len(associated)), nonce, key)
    return None if failed else output.raw[: len(sealed) - 16]


def aead_seal(key: bytes, counter: int, plaintext: bytes, associated: bytes = b"") -> bytes:
    """Seals with ChaCha20-Poly1305 and the nonce 4 zero bytes, then the little-endian counter."""
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return _seal("crypto_aead_chacha20poly1305_ietf_encrypt", key, nonce, plaintext, associated)


def aead_open(key: bytes, counter: int, sealed: bytes, associated: bytes = b"") -> bytes | None:
    """Opens what `aead_seal` made; `None` where the tag does not fit."""
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return _open("crypto_aead_chacha20poly1305_ietf_decrypt", key, nonce, sealed, associated)


def xaead_open(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """Opens XChaCha20-Poly1305 with its nonce of 24 bytes; `None` where the tag does not fit."""
    return _open("crypto_aead_xchacha20poly1305_ietf_decrypt", key, nonce, sealed, associated)


def xaead_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Seals with XChaCha20-Poly1305 and its nonce of 24 bytes."""
    return _seal("crypto_aead_xchacha20poly1305_ietf_encrypt", key, nonce, plaintext, associated)
