"""A coordinator that does what it is told: obedient, or as malicious as a test wants it.

It keeps nothing, checks nothing and sends whatever it is given. Statements are signed by
`Tests/Coordinator/statements.py`.
"""

import base64
import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import json
import queue
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.append(str(Path(__file__).parents[1] / "Coordinator"))

import statements  # noqa: E402

PORT = 8443
HEARTBEAT_SECONDS = 5.0
TENANT = "acme"


def claims_of(link: str) -> dict:
    """Returns what a statement says, whoever signed it."""
    payload = link.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def grant_of(chain: str) -> dict:
    """Returns the grant in a chain."""
    return next(claims for claims in map(claims_of, reversed(chain.split("~"))) if "node" in claims)


def self_signed(folder: Path, address: str) -> tuple[ssl.SSLContext, str]:
    """Returns a server's side of TLS with a new key, and that key's pin."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256()))
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return context, statements.b64url(hashlib.sha256(public).digest())


class Member:
    """A node as the coordinator has it."""

    def __init__(self, chain: str, name: str, secret_hash: str, endpoint: str | None):
        self.chain, self.name, self.endpoint = chain, name, endpoint
        self.secret_hash, self.applied, self.reports = secret_hash, 0, []
        grant = grant_of(chain)
        self.node, self.role, self.public_key = grant["node"], grant["role"], grant["publicKey"]
        self.serial, self.state = grant["serial"], "active"
        self.streams: list[queue.Queue] = []
        # Priority, weight and health of a gateway, where somebody has set them.
        self.preference: dict = {}

    def as_peer(self) -> dict:
        return {"node": self.node, "name": self.name, "chain": self.chain,
                **({"endpoint": self.endpoint} if self.endpoint else {}), **self.preference}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, handler):
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.context = listener, context

    def get_request(self):
        connection, origin = self.socket.accept()
        # The handshake belongs to the connection's own thread.
        return self.context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False), origin

    def handle_error(self, request, client_address):
        pass


class Coordinator:
    """Listens in a namespace; everything public may be changed while it runs."""

    def __init__(self, lab, namespace, address: str, port: int = PORT):
        self.namespace, self.address, self.port = namespace, address, port
        self.context, self.pin = self_signed(lab.folder, address)
        self.url = f"https://{address}:{port}"
        self.organisation = statements.Organisation()
        self.lock = threading.RLock()
        self.members: dict[str, Member] = {}
        self.used_tokens: dict[str, str] = {}
        self.changes: list[tuple[int, str, dict]] = []
        self.number = 1
        self.tenant_revocations: str | None = None
        self.organisation_revocations: str | None = None
        # What a test may put in: (member, state) -> state, and (member) -> bytes sent at once.
        self.change_state = lambda member, state: state
        self.noise = None
        self.enrolment_problem = None
        self.server = None
        lab.closing.callback(self.stop)
        self.start()

    def start(self):
        with self.namespace.entered():
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(64)
        # One that is gone before it is accepted must not hold up the others, nor the end.
        listener.settimeout(1)
        owner = self

        class Handler(Conversation):
            coordinator = owner

        self.server = Server(listener, self.context, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Goes away as a process that is killed: connections are cut."""
        if self.server is None:
            return
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        self.hang_up()

    def hang_up(self):
        """Ends every stream."""
        with self.lock:
            for member in self.members.values():
                for stream in member.streams:
                    stream.put(None)
                member.streams = []

    def token(self, role: str, addresses: list[str], **claims) -> statements.Token:
        claims.setdefault("serverPin", self.pin)
        return self.organisation.token(
            TENANT, role, addresses, coordinator=self.url, **claims)

    # What happens

    def tell(self, audience: str, change: dict):
        """Numbers a change and sends it: to `all`, `gateways`, `others` or one node."""
        with self.lock:
            self.number += 1
            self.changes.append((self.number, audience, change))
            event = {"kind": "change", "number": self.number, "change": change}
            for member in self.members.values():
                if self.concerns(audience, member):
                    self.send(member, event)

    @staticmethod
    def concerns(audience: str, member: Member) -> bool:
        return audience in ("all", member.node) or audience == (
            "gateways" if member.role == "gateway" else "others")

    def send(self, member: Member, event: dict | bytes):
        line = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
        for stream in member.streams:
            stream.put(line)

    def announce(self, member: Member):
        """Tells others of a node that is new or changed."""
        others = "others" if member.role == "gateway" else "gateways"
        self.tell(others, {"peer": member.as_peer()})

    def revoke(self, *nodes: str, number: int | None = None, public_keys=(), is_told: bool = True,
               serials: dict[str, int] | None = None):
        """Signs a list; with `is_told` false it is not sent."""
        number = number or int(time.time())
        entries = [statements.revoke_node(node, (serials or {}).get(node, (1 << 53) - 1))
                   for node in nodes]
        until = int(time.time()) + 400 * statements.DAY
        entries += [{"publicKey": key, "until": until} for key in public_keys]
        chain = self.organisation.revocations(entries, tenant=TENANT, number=number)
        if is_told:
            self.tenant_revocations = chain
            self.tell("all", {"revocations": chain})
        return chain

    def grant(self, member: Member, **claims) -> str:
        """Returns the chain of a grant by the admin for a node that is there."""
        old = grant_of(member.chain)
        node = type("Node", (), {"text": member.node})
        values = {"routes": old["routes"], "groups": old["groups"], "class": old["class"],
                  "start": max(int(time.time()), old["serial"] + 1), **claims}
        return self.organisation.grant(
            node, values.pop("tenant", TENANT), values.pop("role", old["role"]),
            values.pop("addresses", old["addresses"]),
            values.pop("public_key", member.public_key), **values)

    def set_chain(self, member: Member, chain: str):
        """Gives a node a new chain, and tells it and its peers."""
        with self.lock:
            member.chain, member.state = chain, "active"
            self.tell(member.node, {"own": chain})
            self.announce(member)

    def network_state(self, member: Member) -> dict:
        with self.lock:
            peers = [other.as_peer() for other in self.members.values()
                     if other.state == "active" and (other.role == "gateway")
                     != (member.role == "gateway")]
            state = {"own": member.chain, "rollovers": [], "peers": peers}
            if self.tenant_revocations:
                state["tenant_revocations"] = self.tenant_revocations
            if self.organisation_revocations:
                state["organisation_revocations"] = self.organisation_revocations
            return self.change_state(member, state)

    def own_state(self, member: Member, with_network: bool = False) -> dict:
        with self.lock:
            behind = sum(1 for other in self.members.values()
                         if other.role == "gateway" and other is not member and other.streams
                         and other.applied < self.number)
            state = {"state": member.state, "chain": member.chain, "number": self.number,
                     "gateways_behind": behind}
            if with_network:
                state["network"] = self.network_state(member)
            return state

    def enrol(self, body: dict) -> Member:
        with self.lock:
            token = claims_of(body["chain"].split("~")[1])
            if token["token"] in self.used_tokens:
                raise Problem(409, "token_used", "the token was used")
            member = Member(body["chain"], body["name"], body["secret_hash"], body.get("endpoint"))
            self.used_tokens[token["token"]] = member.node
            self.members[member.node] = member
            if token["approval"]:
                member.state = "pending"
            else:
                self.announce(member)
            return member

    def rotate(self, member: Member, chain: str):
        with self.lock:
            member.chain = chain
            member.public_key = claims_of(chain.split("~")[-1])["publicKey"]
            self.tell(member.node, {"own": chain})
            self.announce(member)

    def by_secret(self, secret: str) -> Member:
        digest = statements.b64url(hashlib.sha256(secret.encode()).digest())
        for member in self.members.values():
            if member.secret_hash == digest and member.state != "left":
                return member
        raise Problem(401, "unauthenticated", "no node has that secret")

    def named(self, name: str) -> Member:
        return next(member for member in self.members.values() if member.name == name)


class Problem(Exception):
    def __init__(self, status: int, reason: str, detail: str):
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


class Conversation(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    coordinator: Coordinator
    timeout = 120

    def setup(self):
        self.request.settimeout(30)
        self.request.do_handshake()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.converse()

    do_POST = do_PUT = do_DELETE = do_GET

    def converse(self):
        owner, parts = self.coordinator, urlsplit(self.path)
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        if owner.server is None:
            self.close_connection = True
            return
        try:
            if (self.command, parts.path) == ("POST", "/v1/enrolments"):
                if owner.enrolment_problem:
                    raise owner.enrolment_problem
                self.answer(owner.own_state(owner.enrol(body), with_network=True))
                return
            member = owner.by_secret(
                self.headers.get("authorization", "").removeprefix("Bearer "))
            match self.command, parts.path:
                case "GET", "/v1/self":
                    self.answer(owner.own_state(member))
                case "GET", "/v1/self/watch":
                    self.stream(member, parse_qs(parts.query))
                case "PUT", "/v1/self/rotation":
                    owner.rotate(member, body["chain"])
                    self.answer(owner.own_state(member))
                case "POST", "/v1/self/report":
                    with owner.lock:
                        member.applied = max(member.applied, body["applied_number"])
                        member.reports.append(body)
                    self.answer({})
                case "DELETE", "/v1/self":
                    with owner.lock:
                        if member.state == "revoked":
                            raise Problem(403, "node_revoked", "an admin has revoked it")
                        member.state = "left"
                        others = "others" if member.role == "gateway" else "gateways"
                        owner.tell(others, {"peer_removed": member.node})
                    self.answer({})
                case _:
                    raise Problem(404, "not_found", self.path)
        except Problem as problem:
            self.answer({"reason": problem.reason, "title": problem.reason,
                         "status": problem.status, "detail": problem.detail}, problem.status,
                        "application/problem+json")

    def answer(self, value, status: int = 200, kind: str = "application/json"):
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self, member: Member, query: dict):
        owner, lines = self.coordinator, queue.Queue()
        with owner.lock:
            since = int(query["since"][0]) if "since" in query else None
            if since is None or since > owner.number:
                lines.put(json.dumps({
                    "kind": "state", "number": owner.number,
                    "state": owner.network_state(member)}).encode() + b"\n")
            else:
                for number, audience, change in owner.changes:
                    if number > since and owner.concerns(audience, member):
                        lines.put(json.dumps({
                            "kind": "change", "number": number,
                            "change": change}).encode() + b"\n")
                lines.put(self.heartbeat())
            if owner.noise:
                lines.put(owner.noise(member))
            member.streams.append(lines)
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            while True:
                try:
                    line = lines.get(timeout=HEARTBEAT_SECONDS)
                except queue.Empty:
                    line = self.heartbeat()
                if line is None:
                    break
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        except OSError:
            pass
        finally:
            with owner.lock, contextlib.suppress(ValueError):
                member.streams.remove(lines)
            self.close_connection = True

    def heartbeat(self) -> bytes:
        return json.dumps(
            {"kind": "heartbeat", "number": self.coordinator.number}).encode() + b"\n"
