"""Who may do what at the interface: API tokens, roles, and tokens of an OpenID provider."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import statements
from coordinator import wait_until
from statements import b64url

ISSUER, AUDIENCE = "https://sso.example", "branchline"


def api_token(coordinator, role, tenant=None, **more):
    """Makes an API token. Returns its secret."""
    request = {"name": role, "role": role, **({"tenant": tenant} if tenant else {}), **more}
    return coordinator.call("POST", "/v1/api-tokens", request).ok()["secret"]


@pytest.mark.parametrize("token", [
    None, "", "x", "bla_", "bla_" + "A" * 43, "bln_" + "A" * 43, "bla_" + "A" * 5000, "a.b.c",
    "bla_' OR 1=1 --"])
def test_strangers_are_turned_away(founded, token):
    for method, path in [("GET", "/v1/tenants"), ("POST", "/v1/tenants"), ("GET", "/v1/audit"),
                         ("GET", "/v1/self"), ("GET", "/v1/self/watch"), ("GET", "/v1/me"),
                         ("PUT", "/v1/tenants/acme/policy"), ("DELETE", "/v1/tenants/acme")]:
        answer = founded.call(method, path, {} if method in ("POST", "PUT") else None, token=token)
        assert (answer.status, answer.reason) == (401, "unauthenticated"), (path, answer)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_roles(founded):
    founded.add_tenant("beta", ["10.64.0.0/16"])
    admin = api_token(founded, "security-admin", "acme")
    auditor, observer = api_token(founded, "auditor"), api_token(founded, "observer")
    beta_only = api_token(founded, "observer", "beta")

    def status(token, method, path, body=None):
        return founded.call(method, path, body, token=token).status

    group = {"name": "staff"}
    assert status(admin, "POST", "/v1/tenants/acme/groups", group) < 300
    assert status(admin, "GET", "/v1/tenants/beta") == 404
    assert status(admin, "POST", "/v1/tenants/beta/groups", group) == 404
    assert status(admin, "POST", "/v1/tenants", {"name": "x", "pools": []}) == 403
    assert status(admin, "POST", "/v1/api-tokens", {"name": "x", "role": "owner"}) == 403
    for reader in (auditor, observer):
        assert status(reader, "GET", "/v1/tenants/acme") == 200
        assert status(reader, "POST", "/v1/tenants/acme/groups", {"name": "y"}) == 403
    assert status(auditor, "GET", "/v1/audit") == 200
    assert status(observer, "GET", "/v1/audit") == 403
    assert status(beta_only, "GET", "/v1/tenants/beta") == 200
    assert status(beta_only, "GET", "/v1/tenants/acme") == 404
    listed = founded.call("GET", "/v1/tenants", token=beta_only).ok()["items"]
    assert [tenant["name"] for tenant in listed] == ["beta"]


def test_one_tenant_learns_of_no_other_by_the_organisation(founded):
    founded.add_tenant("beta", ["10.65.0.0/16"])
    founded.call("POST", "/v1/organisation/admins", {
        "statement": founded.organisation.sign_admin(statements.Key(), tenants=["beta"])}).ok()
    secret = api_token(founded, "security-admin", "acme")
    seen = founded.call("GET", "/v1/organisation", token=secret).ok()
    assert [admin["key"] for admin in seen["admins"]] == [founded.organisation.admin.text]
    assert len(founded.call("GET", "/v1/organisation").ok()["admins"]) == 2


def test_a_security_admin_needs_a_tenant(founded):
    answer = founded.call("POST", "/v1/api-tokens", {"name": "x", "role": "security-admin"})
    assert answer.status in (400, 422)


def test_deleted_and_expired_tokens_do_not_count(founded):
    secret = api_token(founded, "observer")
    assert founded.call("GET", "/v1/me", token=secret).ok()["role"] == "observer"
    listed = founded.call("GET", "/v1/api-tokens").ok()["items"]
    assert secret not in json.dumps(listed)
    identity = next(token["id"] for token in listed if token["role"] == "observer")
    founded.call("DELETE", f"/v1/api-tokens/{identity}").ok()
    assert founded.call("GET", "/v1/me", token=secret).status == 401
    expires_at = int(time.time()) + 6
    short = api_token(founded, "observer", expires_at=expires_at)
    time.sleep(max(0, expires_at + 1.1 - time.time()))
    assert founded.call("GET", "/v1/me", token=short).status == 401


def test_secrets_are_stored_nowhere(founded):
    node = founded.join()
    if founded.database:
        pytest.skip("looks into files")
    for file in (founded.folder / "state").iterdir():
        content = file.read_bytes()
        assert founded.owner.encode() not in content and node.secret.encode() not in content
        assert file.stat().st_mode & 0o077 == 0 or file.name == "tls.crt"
    log = founded.log.read_bytes()
    assert founded.owner.encode() not in log and node.secret.encode() not in log
    assert node.token.join_text.encode() not in log


def test_a_nodes_secret_opens_its_own_door_only(founded):
    node = founded.join()
    assert founded.call("GET", "/v1/self", token=node.secret).ok()["state"] == "active"
    for path in ("/v1/tenants", "/v1/tenants/acme/nodes", "/v1/audit", "/v1/api-tokens"):
        assert founded.call("GET", path, token=node.secret).status in (401, 403)
    assert founded.call("GET", "/v1/self").status in (401, 403)


def test_set_up_happens_once(founded):
    answer = founded.call("POST", "/v1/organisation", {
        "setup_code": "bls_" + "A" * 43, "root": founded.organisation.root.text,
        "admin": founded.organisation.admin_link, "token_name": "again"}, token=None)
    assert answer.status in (401, 403, 409), answer


def test_set_up_needs_the_code(empty):
    answer = empty.call("POST", "/v1/organisation", {
        "setup_code": "bls_" + "A" * 43, "root": empty.organisation.root.text,
        "admin": empty.organisation.admin_link, "token_name": "owner"}, token=None)
    assert (answer.status, answer.reason) in ((401, "unauthenticated"), (403, "forbidden"))
    empty.found()


# OpenID Connect


class Provider:
    """An OpenID provider's keys, and tokens good and bad."""

    def __init__(self, folder):
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.jwks = folder / "jwks.json"
        numbers, point = self.rsa.public_key().public_numbers(), \
            self.ec.public_key().public_numbers()
        self.jwks.write_text(json.dumps({"keys": [
            {"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig",
             "n": b64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"},
            {"kty": "EC", "kid": "e", "alg": "ES256", "use": "sig", "crv": "P-256",
             "x": b64url(point.x.to_bytes(32, "big")), "y": b64url(point.y.to_bytes(32, "big"))},
        ]}))
        self.file = folder / "oidc.json"
        self.file.write_text(json.dumps({
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256", "ES256"],
            "jwks": str(self.jwks), "role_claim": "branchline_role",
            "tenant_claim": "branchline_tenant", "clock_skew_seconds": 5}))

    def token(self, header=None, sign=None, **claims):
        """Returns a token with some members replaced; `None` takes a member away."""
        now = int(time.time())
        head = {"alg": "RS256", "kid": "r", "typ": "JWT", **(header or {})}
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 300, "iat": now,
                "branchline_role": "owner", **claims}
        parts = [b64url(json.dumps({k: v for k, v in part.items() if v is not None}).encode())
                 for part in (head, body)]
        text = ".".join(parts)
        return text + "." + b64url((sign or self.sign_rsa)(text.encode()))

    def sign_rsa(self, data):
        """RS256."""
        return self.rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def sign_ec(self, data):
        """ES256."""
        r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign_hmac(self, data):
        """HS256 with the public key as the secret."""
        pem = self.rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hmac.new(pem, data, hashlib.sha256).digest()


@pytest.fixture
def provider(tmp_path):
    """A provider with its configuration file."""
    return Provider(tmp_path)


@pytest.fixture
def federated(make, provider):
    """A coordinator that believes the provider."""
    coordinator = make(["--oidc", str(provider.file)]).start().found()
    coordinator.add_tenant()
    return coordinator


@pytest.mark.sqlite_only
def test_good_tokens_of_the_provider_count(federated, provider):
    me = federated.call("GET", "/v1/me", token=provider.token()).ok()
    assert me["role"] == "owner" and "ada" in me["actor"]
    token = provider.token(header={"alg": "ES256", "kid": "e"}, sign=provider.sign_ec,
                           branchline_role="security-admin", branchline_tenant="acme")
    me = federated.call("GET", "/v1/me", token=token).ok()
    assert (me["role"], me["tenant"]) == ("security-admin", "acme")
    assert federated.call("GET", "/v1/audit", token=provider.token(aud=["x", AUDIENCE])).ok()


BAD_TOKENS = {
    "no algorithm": lambda p: p.token(header={"alg": "none"}, sign=lambda _: b""),
    "HMAC with the public key": lambda p: p.token(header={"alg": "HS256"}, sign=p.sign_hmac),
    "another algorithm than the key's": lambda p: p.token(
        header={"alg": "ES256", "kid": "r"}, sign=p.sign_ec),
    "an algorithm that is not allowed": lambda p: p.token(header={"alg": "RS512"}),
    "another audience": lambda p: p.token(aud="else"),
    "no audience": lambda p: p.token(aud=None),
    "another issuer": lambda p: p.token(iss="https://sso.example.evil"),
    "no issuer": lambda p: p.token(iss=None),
    "expired": lambda p: p.token(exp=int(time.time()) - 60),
    "no expiry": lambda p: p.token(exp=None),
    "not yet": lambda p: p.token(nbf=int(time.time()) + 600),
    "an unknown key": lambda p: p.token(header={"kid": "z"}),
    "no key": lambda p: p.token(header={"kid": None}),
    "no role": lambda p: p.token(branchline_role=None),
    "a made-up role": lambda p: p.token(branchline_role="root"),
    "a security admin of no tenant": lambda p: p.token(branchline_role="security-admin"),
    "a changed signature": lambda p: p.token()[:-8] + "AAAAAAAA",
    "no signature": lambda p: p.token(sign=lambda _: b""),
    "a critical extension": lambda p: p.token(header={"crit": ["x"], "x": 1}),
}


@pytest.mark.sqlite_only
@pytest.mark.parametrize("what", BAD_TOKENS)
def test_bad_tokens_of_the_provider_do_not(federated, provider, what):
    answer = federated.call("GET", "/v1/me", token=BAD_TOKENS[what](provider))
    assert answer.status in (401, 403), answer
    if what not in ("no role", "a made-up role", "a security admin of no tenant"):
        assert (answer.status, answer.reason) == (401, "unauthenticated")


@pytest.mark.sqlite_only
def test_addresses_in_a_token_are_never_asked(federated, provider):
    """Server-side request forgery: `jku` and `x5u` point at a listener inside."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(2)
        asked = []

        def accept():
            try:
                asked.append(listener.accept())
            except TimeoutError:
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
        for header in ({"jku": url}, {"x5u": url}, {"jku": url, "kid": "z"}):
            federated.call("GET", "/v1/me", token=provider.token(header=header))
        issuer = provider.token(iss=url)
        assert federated.call("GET", "/v1/me", token=issuer).status == 401
        thread.join()
    assert not asked


@pytest.mark.sqlite_only
def test_a_key_set_elsewhere_is_refused_at_start(make, provider):
    configuration = json.loads(provider.file.read_text())
    configuration["jwks"] = "http://169.254.169.254/latest/jwks.json"
    provider.file.write_text(json.dumps(configuration))
    coordinator = make(["--oidc", str(provider.file)])
    with pytest.raises(AssertionError, match="it ended"):
        coordinator.start()
    assert "jwks" in coordinator.words()


@pytest.mark.sqlite_only
def test_keys_are_read_again_when_the_provider_changes_them(federated, provider):
    old = provider.token()
    assert federated.call("GET", "/v1/me", token=old).status == 200
    time.sleep(1.1)
    Provider.__init__(provider, provider.jwks.parent)
    deadline = time.monotonic() + 60
    while federated.call("GET", "/v1/me", token=provider.token()).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert federated.call("GET", "/v1/me", token=old).status == 401


@pytest.mark.sqlite_only
def test_strangers_failures_lock_nobody_out_who_shares_their_address(founded):
    gateway = founded.join(role="gateway")

    def is_refused():
        return founded.call("GET", "/v1/self", token="bln_" + "A" * 43).status == 429

    # Failures are forgiven with time, which a busy machine takes for many of them.
    wait_until(is_refused, "a stranger is refused")
    for _ in range(5):
        is_refused()
    assert founded.call("GET", "/v1/self", token=gateway.secret).status == 200
    wait_until(is_refused, "a stranger is refused still")


def test_basic_authentication_is_no_bearer(founded):
    basic = base64.b64encode(f"owner:{founded.owner}".encode()).decode()
    answer = founded.call("GET", "/v1/me", token=None, headers={"Authorization": f"Basic {basic}"})
    assert answer.status == 401
