"""A running coordinator with an organisation, and the requests that a load consists of."""

import asyncio
import functools
import os
import socket
import ssl
import sys

import aiohttp

from harness.build import PROJECT
from harness.lab import LabError, run, wait_until

sys.path.insert(0, os.path.join(PROJECT, "Tests", "Coordinator"))

import statements  # noqa: E402

TENANT = "acme"
POOL = "10.64.0.0/10"
REQUESTS_AT_ONCE = 32
# One address stands for thousands of branches here.
NO_LIMITS = ["--rate-limit", "1000000", "--enrolment-rate-limit", "1000000",
             "--caller-rate-limit", "1000000", "--connections-per-address", "100000"]


class Service:
    """Starts `branchline-coordinator serve` and founds an organisation, whose keys are here.

    `database` is the connection text of a PostgreSQL server; without it SQLite stores.
    """

    def __init__(self, lab, programs, namespace=None, address="127.0.0.1", database=None):
        self.folder = lab.path(f"coordinator-{lab.unique_name()}")
        self.address, self.port = address, free_port() if namespace is None else 8443
        self.namespace = namespace
        self.url = f"https://{address}:{self.port}"
        command = [os.path.join(programs, "branchline-coordinator"), "serve",
                   "--state", self.folder, "--listen", f"{address}:{self.port}",
                   "--public-url", self.url, *NO_LIMITS]
        if database:
            command += ["--storage", "postgresql", "--postgresql", database]
        self.process = lab.start(namespace, command)
        code = os.path.join(self.folder, "setup-code")
        wait_until(self.answers, "the coordinator", 20, self.process)
        with open(code, encoding="utf-8") as file:
            self.setup_code = file.read().strip()
        self.organisation = statements.Organisation()
        self.owner = None
        self.etag = None  # Of the last answer.
        self.revoked = []

    def answers(self):
        """Returns whether the port is open."""
        within = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return self.process.poll() is None and f":{self.port}" in run(
            [*within, "ss", "-Htln", f"sport = {self.port}"])

    @functools.cached_property
    def pin(self):
        """The pin of the server's key."""
        pem = run(["openssl", "x509", "-in", os.path.join(self.folder, "tls.crt"), "-noout",
                   "-pubkey"])
        key = statements.serialization.load_pem_public_key(pem.encode())
        return statements.b64url(statements.hashlib.sha256(key.public_bytes(
            statements.serialization.Encoding.DER,
            statements.serialization.PublicFormat.SubjectPublicKeyInfo)).digest())

    def session(self):
        """Returns a client session that does not check the certificate: this is a load."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=REQUESTS_AT_ONCE))

    async def call(self, session, method, path, body=None, secret=None, **headers):
        """Sends a request. Returns the answer's JSON; raises LabError for any refusal."""
        if secret or self.owner:
            headers["Authorization"] = f"Bearer {secret or self.owner}"
        async with session.request(method, self.url + path, json=body, headers=headers) as answer:
            if answer.status >= 300:
                raise LabError(f"{method} {path}: {answer.status} {await answer.text()}")
            self.etag = answer.headers.get("ETag")
            return await answer.json() if answer.content_type == "application/json" else None

    async def found(self, session):
        """Founds the organisation with one tenant."""
        made = await self.call(session, "POST", "/v1/organisation", {
            "setup_code": self.setup_code, "root": self.organisation.root.text,
            "admin": self.organisation.admin_link, "token_name": "benchmark"})
        self.owner = made["secret"]
        await self.call(session, "POST", "/v1/tenants", {"name": TENANT, "pools": [POOL]})

    async def token(self, session, role):
        """Returns a registered enrolment token."""
        path = f"/v1/tenants/{TENANT}"
        reservation = await self.call(session, "POST", path + "/reservations", {"addresses": []})
        token = self.organisation.token(
            TENANT, role, reservation["addresses"], coordinator=self.url, serverPin=self.pin)
        await self.call(session, "POST", path + "/tokens",
                        {"reservation": reservation["id"], "chain": token.chain})
        return token

    async def prepare_node(self, session, role="branch", number=0):
        """Returns a node that has its token and has signed its grant, but not enrolled."""
        token = await self.token(session, role)
        node = statements.Key()
        secret, secret_hash = statements.node_secret()
        body = {"chain": token.join(node, statements.wireguard_key()[1]),
                "name": f"{role}-{number}", "secret_hash": secret_hash}
        if role == "gateway":
            body["endpoint"] = f"192.0.2.9:{10_000 + number}"
        return {"key": node, "secret": secret, "enrolment": body}

    async def enrol(self, session, node):
        """Enrols a prepared node."""
        await self.call(session, "POST", "/v1/enrolments", node["enrolment"])

    async def change_policy(self, session):
        """Changes what concerns every node. Returns when the answer was there, as `revoke` does."""
        path = f"/v1/tenants/{TENANT}/policy"
        await self.call(session, "GET", path)
        await self.call(session, "PUT", path, {"rules": [], "tests": []},
                        **{"If-Match": self.etag})
        return statements.time.time()

    async def revoke(self, session, node_key):
        """Revokes a node for good. Returns the seconds since the epoch when the answer was there."""
        self.revoked.append(statements.revoke_node(node_key))
        path = f"/v1/tenants/{TENANT}/revocations"
        record = await self.call(session, "GET", path)
        number = max(int(statements.time.time()), record["number"] + 1)
        chain = self.organisation.revocations(self.revoked, TENANT, number=number)
        await self.call(session, "PUT", path, {"chain": chain},
                        **{"If-Match": f'"{record["number"]}"'})
        return statements.time.time()


async def in_parallel(jobs):
    """Runs jobs, at most `REQUESTS_AT_ONCE` at a time. Returns their results in order."""
    gate = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(job):
        async with gate:
            return await job

    return await asyncio.gather(*(one(job) for job in jobs))


def free_port():
    """Returns a TCP port that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
