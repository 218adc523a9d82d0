"""A coordinator under test, and clients of it: well-behaved ones and raw connections.

Everything runs on loopback, in folders and databases of its own that go with the test. Processes
are ended by their id only.
"""

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import statements

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
# Longer than between two heartbeats, and than a busy machine takes for anything.
PATIENCE_SECONDS = 60
# Below those that the kernel gives to connections, one of which might take a port while its
# coordinator is away.
PORTS = range(20_000, 32_000)
_serial = itertools.count()


def program():
    """Returns the coordinator under test: COORDINATOR, or the release build of this repository."""
    return os.environ.get(
        "COORDINATOR", str(REPOSITORY / ".build/release/branchline-coordinator"))


def client():
    """Returns the admin's program: BRANCHLINE, or the release build of this repository."""
    return os.environ.get("BRANCHLINE", str(REPOSITORY / ".build/release/branchline"))


def database_server():
    """Returns the libpq connection text of a PostgreSQL server for tests, or None."""
    return os.environ.get("BRANCHLINE_TEST_POSTGRESQL")


class Answer:
    """A response: status, headers (names in lower case), body and what it is as JSON."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        """The body as JSON; None for an empty one."""
        return json.loads(self.body) if self.body else None

    @property
    def reason(self):
        """The named reason of a problem."""
        assert self.headers["content-type"].startswith("application/problem+json"), self
        return self.json["reason"]

    def ok(self):
        """Returns the JSON of a success; fails the test with the problem otherwise."""
        assert 200 <= self.status < 300, self
        return self.json

    @property
    def etag(self):
        """The ETag as it goes into If-Match."""
        return self.headers["etag"]

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


def tls_context():
    """Returns a context that takes any certificate: pins are the business of other tests."""
    # Without the system's authorities, which take a tenth of a second to read.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Coordinator:
    """Runs `branchline-coordinator serve`, again and again if need be, on the same storage."""

    def __init__(self, database=None, folder=None, options=()):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="coordinator-"))
        self.owns_folder = folder is None
        self.database = database
        self.options = list(options)
        self.port = free_port()
        self.process = None
        self.owner = None
        self.organisation = statements.Organisation()
        self.log = self.folder / "log"

    @property
    def url(self):
        """Where it answers."""
        return f"https://127.0.0.1:{self.port}"

    def start(self):
        """Starts it and waits until it is ready."""
        command = [program(), "serve", "--state", str(self.folder / "state"),
                   "--listen", f"127.0.0.1:{self.port}", "--public-url", self.url, *self.options]
        if self.database:
            command += ["--storage", "postgresql", "--postgresql", self.database]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: None)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self.process.poll() is None, f"it ended: {self.words()}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.call("GET", "/readyz", token=None).status == 200:
                    return self
            assert time.monotonic() < deadline, f"not ready: {self.words()}"
            time.sleep(0.05)

    def words(self):
        """Returns the end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self):
        """Asks it to end and waits."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS_MAX)
        return self.process.returncode if self.process else None

    def kill(self):
        """Ends it as a power failure would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)

    def close(self):
        """Ends it and removes what it left."""
        if self.process and self.process.poll() is None:
            self.kill()
        if self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def is_alive(self):
        """Tells whether it still runs and answers."""
        return self.process.poll() is None and self.call("GET", "/healthz").status == 200

    # Requests

    def connect(self, timeout=PATIENCE_SECONDS):
        """Opens a connection for several requests."""
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=timeout, context=tls_context())

    def call(self, method, path, body=None, token="owner", headers=None, connection=None):
        """Sends a request. `token` is a secret, `owner` or None; `body` is JSON or raw bytes."""
        head = {}
        if token == "owner":
            token = self.owner
        if token:
            head["Authorization"] = f"Bearer {token}"
        if body is not None:
            head["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        head.update(headers or {})
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, head)
            return Answer(connection.getresponse())
        finally:
            if own:
                connection.close()

    def raw(self, data=b"", timeout=PATIENCE_SECONDS):
        """Opens a TLS connection and sends bytes as they are."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        connection = tls_context().wrap_socket(plain)
        if data:
            connection.sendall(data)
        return connection

    # An organisation

    def found(self):
        """Founds the organisation; this object holds its keys and the owner's token."""
        code = (self.folder / "state" / "setup-code").read_text().strip()
        made = self.call("POST", "/v1/organisation", {
            "setup_code": code, "root": self.organisation.root.text,
            "admin": self.organisation.admin_link, "token_name": "owner"}, token=None).ok()
        self.owner = made["secret"]
        return self

    def add_tenant(self, name="acme", pools=("10.64.0.0/16",)):
        """Adds a tenant."""
        return self.call("POST", "/v1/tenants", {"name": name, "pools": list(pools)}).ok()

    def reserve(self, tenant="acme"):
        """Reserves addresses."""
        return self.call(
            "POST", f"/v1/tenants/{tenant}/reservations", {"addresses": []}).ok()

    def add_token(self, tenant="acme", role="branch", **claims):
        """Reserves addresses, signs a token for them and registers it."""
        reservation = self.reserve(tenant)
        token = self.organisation.token(
            tenant, role, reservation["addresses"], coordinator=self.url, **claims)
        self.register(token, reservation, tenant).ok()
        return token

    def register(self, token, reservation, tenant="acme"):
        """Registers a token; returns the answer."""
        return self.call("POST", f"/v1/tenants/{tenant}/tokens",
                         {"reservation": reservation["id"], "chain": token.chain})

    def enrol(self, node, chain, connection=None):
        """Enrols a node under a chain; returns the answer."""
        return self.call("POST", "/v1/enrolments", {
            "chain": chain, "name": node.name, "secret_hash": node.secret_hash,
            **({"endpoint": node.endpoint} if node.endpoint else {})}, token=None,
            connection=connection)

    def join(self, tenant="acme", role="branch", **claims):
        """Adds a token and lets a new node use it. Returns the node."""
        token = self.add_token(tenant, role, **claims)
        node = Node(tenant, role)
        node.token = token
        node.chain = token.join(node.key, node.public_key)
        node.state = self.enrol(node, node.chain).ok()
        return node

    def revocations(self, tenant="acme"):
        """Returns the record of a tenant's revocation list."""
        return self.call("GET", f"/v1/tenants/{tenant}/revocations").ok()

    def revoke(self, *nodes, tenant="acme", serial=(1 << 53) - 1, entries=()):
        """Revokes nodes, and whatever else `entries` names. Returns the answer."""
        record = self.revocations(tenant)
        number = max(int(time.time()) - 100, record["number"] + 1)
        revoked = [statements.revoke_node(node.key.text, serial) for node in nodes]
        chain = self.organisation.revocations([*entries, *revoked], tenant, number=number)
        return self.call("PUT", f"/v1/tenants/{tenant}/revocations", {"chain": chain},
                         headers={"If-Match": f'"{record["number"]}"'})

    def audit(self):
        """Returns all entries of the audit log."""
        answer = self.call("GET", "/v1/audit/export")
        assert answer.status == 200, answer
        return [json.loads(line) for line in answer.body.splitlines()]

    def watch(self, node, since=None):
        """Opens the watch stream of a node."""
        return Watch(self, node, since)


class Node:
    """A node's keys and secret, made in the test."""

    def __init__(self, tenant="acme", role="branch"):
        self.key = statements.Key()
        _, self.public_key = statements.wireguard_key()
        self.secret, self.secret_hash = statements.node_secret()
        self.tenant, self.role = tenant, role
        self.name = f"{role}-{next(_serial)}"
        self.endpoint = "192.0.2.1:51820" if role == "gateway" else None


class Watch:
    """A watch stream. Events are dictionaries; heartbeats are passed over unless asked for."""

    def __init__(self, coordinator, node, since=None, timeout=PATIENCE_SECONDS):
        query = "" if since is None else f"?since={since}"
        self.connection = coordinator.connect(timeout)
        self.connection.request("GET", f"/v1/self/watch{query}",
                                headers={"Authorization": f"Bearer {node.secret}"})
        self.response = self.connection.getresponse()
        if self.response.status != 200:
            self.refusal = Answer(self.response)
            raise AssertionError(f"no stream: {self.refusal}")

    def next(self, heartbeats=False):
        """Returns the next event; None at the stream's end."""
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while True:
            assert time.monotonic() < deadline, "nothing but heartbeats"
            try:
                line = self.response.readline()
            except http.client.HTTPException:
                return None
            if not line:
                return None
            event = json.loads(line)
            if heartbeats or event["kind"] != "heartbeat":
                return event

    def until(self, condition, limit=200):
        """Returns the first event for which `condition` holds."""
        for _ in range(limit):
            event = self.next()
            assert event is not None, "the stream ended"
            if condition(event):
                return event
        raise AssertionError("no such event")

    def close(self):
        """Ends the stream."""
        self.connection.close()


class Database:
    """A database of its own on the test server."""

    def __init__(self):
        self.name = f"branchline_{os.getpid()}_{secrets.token_hex(4)}"
        self.run(f"CREATE DATABASE {self.name}")

    @property
    def text(self):
        """Its libpq connection text."""
        return f"{database_server()} dbname={self.name}"

    @staticmethod
    def run(command):
        """Runs SQL as the server's administrator."""
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
                        f"{database_server()} dbname=postgres", "-c", command],
                       check=True, capture_output=True, text=True)

    def drop(self):
        """Removes it, whoever is connected."""
        self.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def free_port():
    """Returns a TCP port that nothing uses now."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", random.choice(PORTS)))
            return probe.getsockname()[1]


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """Returns the first true value of `condition`, asked until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value
