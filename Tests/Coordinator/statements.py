"""Signed statements of Branchline in Python: what a security admin and a node sign.

A second implementation, made from `Sources/ControlModel/ControlModel.docc/Trust.md`: the tests and
the benchmark enrol nodes with it and, since nothing here checks anything, forge whatever they like.

Statements are JWS (RFC 7515, EdDSA) over JSON with sorted members and no white space.
"""

import base64
import hashlib
import json
import os
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

DAY = 86_400
ROLES = ["branch", "client", "gateway"]
PROFILES = ["branchline-aes256gcm", "branchline-chacha20poly1305", "wireguard"]
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def b64url(data):
    """Returns unpadded URL-safe base64."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def canonical(value):
    """Returns the one spelling of a JSON value, as bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Key:
    """An Ed25519 key; `text` is how statements name it."""

    def __init__(self, seed=None):
        self.seed = seed or os.urandom(32)
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.text = b64url(self.private.public_key().public_bytes(*RAW))

    def sign(self, kind, claims, header=None):
        """Returns a compact JWS; `header` replaces members of the header."""
        head = {"alg": "EdDSA", "kid": self.text, "typ": f"branchline-{kind}", **(header or {})}
        text = f"{b64url(canonical(head))}.{b64url(canonical({'v': 1, **claims}))}"
        return f"{text}.{b64url(self.private.sign(text.encode()))}"


def wireguard_key():
    """Returns a WireGuard key pair: private bytes and the public key's base64."""
    private = X25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes(*RAW)).decode()
    return private.private_bytes_raw() if hasattr(private, "private_bytes_raw") else \
        private.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                              serialization.NoEncryption()), public


def validity(seconds, start=None):
    """Returns `nbf` and `exp`."""
    start = int(time.time()) if start is None else start
    return {"nbf": start, "exp": start + seconds}


def node_secret():
    """Returns a node's bearer secret and the hash that the coordinator gets."""
    secret = "bln_" + b64url(os.urandom(32))
    return secret, b64url(hashlib.sha256(secret.encode()).digest())


class Organisation:
    """A root key and one admin key that may sign everything."""

    def __init__(self, **admin_claims):
        self.root, self.admin = Key(), Key()
        self.admin_link = self.sign_admin(self.admin, **admin_claims)

    def sign_admin(self, key, tenants=None, **claims):
        """Returns an admin key as the root signs it; all tenants unless some are named."""
        scope = {"allTenants": True} if tenants is None else {"tenants": sorted(tenants)}
        return self.root.sign("admin", {
            "key": key.text, **scope, "roles": ROLES, "profiles": PROFILES, "class": "token",
            "grantSeconds": 90 * DAY, "mayRevoke": True, **validity(365 * DAY), **claims})

    def token(self, tenant, role, addresses, coordinator="https://127.0.0.1:8443", **claims):
        """Returns a new `Token` of this organisation's admin."""
        return Token(self, tenant, role, addresses, coordinator, claims)

    def grant(self, node, tenant, role, addresses, public_key, **claims):
        """Returns the chain of a grant by the admin."""
        return self.admin_link + "~" + self.admin.sign(
            "grant", grant_claims(node, tenant, role, addresses, public_key, **claims))

    def revocations(self, revoked, tenant=None, number=None, signer=None, **claims):
        """Returns the chain of a revocation list, of one tenant or of the organisation."""
        now = int(time.time())
        realm = {"organisation": True} if tenant is None else {"tenant": tenant}
        entries = sorted(revoked, key=lambda entry: revocation_order(entry))
        return self.admin_link + "~" + (signer or self.admin).sign("revocations", {
            **realm, "number": number or now, "iat": now, "revoked": entries, **claims})


def revocation_order(entry):
    """Returns where a list has an entry: by kind of subject, then by its text."""
    for kind in ("admin", "token", "node", "publicKey"):
        if kind in entry:
            return kind, entry[kind]
    return "", ""


def revoke_node(node, serial=(1 << 53) - 1, until=None):
    """Returns an entry that takes back a node's grants up to `serial`."""
    return {"node": node, "serial": serial, "until": until or int(time.time()) + 400 * DAY}


def grant_claims(node, tenant, role, addresses, public_key, **claims):
    """Returns the claims of a grant that begins now."""
    times = validity(claims.pop("seconds", 30 * DAY), claims.pop("start", None))
    return {"node": node.text, "serial": times["nbf"], "publicKey": public_key, "tenant": tenant,
            "role": role, "addresses": sorted(addresses), "routes": [], "groups": [],
            "profile": "wireguard", "class": "token", **times, **claims}


class Token:
    """An enrolment token with its private half."""

    def __init__(self, organisation, tenant, role, addresses, coordinator, claims):
        self.organisation, self.key = organisation, Key()
        self.id = b64url(os.urandom(16))
        self.claims = {
            "token": self.id, "key": self.key.text, "tenant": tenant, "role": role,
            "addresses": sorted(addresses), "routes": [], "groups": [],
            "profiles": ["wireguard"], "class": "token", "grantSeconds": 30 * DAY,
            "approval": False, "coordinator": coordinator, "uses": 1, **validity(DAY), **claims}
        self.link = organisation.admin.sign("token", self.claims)
        self.chain = f"{organisation.admin_link}~{self.link}"

    @property
    def join_text(self):
        """The string that an admin hands over."""
        return "~".join(["bl1", self.organisation.root.text, b64url(self.key.seed), self.chain])

    def join(self, node, public_key, **claims):
        """Returns the chain of a node's own grant, signed with the token's key."""
        mine = self.claims
        values = {"token": self.id, "routes": mine["routes"], "groups": mine["groups"], **claims}
        return self.chain + "~" + self.key.sign("join", grant_claims(
            node, values.pop("tenant", mine["tenant"]), values.pop("role", mine["role"]),
            values.pop("addresses", mine["addresses"]), public_key, **values))
