#!/usr/bin/env python3
"""What a tenant has on both sides of the gateway: an inference server and an application.

    tenant.py serve NAME --secret WORDS --log FILE   the tenant's server
    tenant.py ask NAME ADDRESS --secret WORDS        streams answers, checks whose they are
    tenant.py probe PORT NETWORK...                  asks every address of the networks
    tenant.py reach ADDRESS PORT                     tells whether a connection is made

Every answer names the server's tenant, and every prompt has a secret of the client's, so that both
sides can tell whether they ever met another tenant's.
"""

import argparse
import concurrent.futures
import http.client
import http.server
import ipaddress
import json
import socket
import sys
import threading
import time

TOKEN_SECONDS = 0.02
TIMEOUT_SECONDS = 20
PROBE_SECONDS = 2.0
PROBES_AT_ONCE = 512


class Handler(http.server.BaseHTTPRequestHandler):
    """Streams a chat completion that says whose server it is, a word at a time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        """Tells whose server this is, to whoever asks."""
        body = json.dumps({"tenant": self.server.tenant}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.note(f"visit from={self.client_address[0]}")

    def do_POST(self):  # pylint: disable=invalid-name
        """Answers a prompt, and notes whether it is one of the server's own tenant."""
        length = min(int(self.headers.get("Content-Length", 0)), 65_536)
        request = json.loads(self.rfile.read(length))
        prompt = request["messages"][-1]["content"]
        is_own = self.server.secret in prompt
        self.server.note(f"prompt own={int(is_own)} from={self.client_address[0]}")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        words = f"This is the model of {self.server.tenant} . It keeps what {self.server.tenant} "
        words += "says to itself ."
        for word in words.split():
            chunk = {"choices": [{"index": 0, "delta": {"content": word + " "}}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
            time.sleep(TOKEN_SECONDS)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_):  # pylint: disable=arguments-differ
        """Keeps standard error quiet: the server notes what matters."""


class Server(http.server.ThreadingHTTPServer):
    """A tenant's inference server, which writes a line for each request."""

    daemon_threads = True

    def __init__(self, options):
        super().__init__((options.host, options.port), Handler)
        self.tenant, self.secret = options.name, options.secret
        self.path, self.lock = options.log, threading.Lock()
        self.note("ready")

    def note(self, line: str):
        """Adds a line to the log."""
        with self.lock, open(self.path, "a", encoding="utf-8") as log:
            log.write(line + "\n")


def ask_once(options) -> tuple[str, float, float]:
    """Streams one answer. Returns it with its time to first token and longest gap in seconds."""
    host, _, port = options.address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
    prompt = f"Who are you? Our secret is {options.secret}."
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    started = last = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    text, first, gap = "", 0.0, 0.0
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        first, gap = (first, max(gap, now - last)) if text else (now - started, gap)
        last = now
        text += json.loads(line[6:])["choices"][0]["delta"]["content"]
    connection.close()
    return text.strip(), first, gap


def ask(options) -> int:
    """Streams answers and prints figures; fails if one is not the tenant's own and whole."""
    firsts, gaps = [], []
    for number in range(options.count):
        text, first, gap = ask_once(options)
        wanted = f"This is the model of {options.name} ."
        if not text.startswith(wanted) or not text.endswith("to itself ."):
            print(f"answer {number + 1} is not {options.name}'s own: {text!r}", file=sys.stderr)
            return 1
        firsts.append(first)
        gaps.append(gap)
    print(f"{len(firsts)} {max(firsts) * 1000:.0f} {max(gaps) * 1000:.0f}")
    return 0


def tenant_at(address: str, port: int) -> str | None:
    """Returns whose server answers at an address; None where nobody does."""
    connection = http.client.HTTPConnection(address, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/")
        return json.loads(connection.getresponse().read())["tenant"]
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def probe(options) -> int:
    """Asks every address; prints `ADDRESS TENANT` for each that answers."""
    addresses = [str(host) for network in options.networks
                 for host in ipaddress.ip_network(network).hosts()]
    with concurrent.futures.ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        found = pool.map(lambda address: tenant_at(address, options.port), addresses)
        for address, tenant in zip(addresses, found):
            if tenant:
                print(address, tenant)
    print("asked", len(addresses))
    return 0


def reach(options) -> int:
    """Ends with 0 if a connection is made, 1 if it is refused or nothing answers."""
    try:
        with socket.create_connection((options.address, options.port), PROBE_SECONDS):
            return 0
    except OSError:
        return 1


def main() -> int:
    """Runs one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("name")
    serving.add_argument("--secret", required=True)
    serving.add_argument("--log", required=True)
    serving.add_argument("--host", default="0.0.0.0")
    serving.add_argument("--port", type=int, default=8000)
    asking = commands.add_parser("ask")
    asking.add_argument("name")
    asking.add_argument("address", help="such as 10.0.0.130:8000")
    asking.add_argument("--secret", required=True)
    asking.add_argument("--count", type=int, default=3)
    probing = commands.add_parser("probe")
    probing.add_argument("port", type=int)
    probing.add_argument("networks", nargs="+")
    reaching = commands.add_parser("reach")
    reaching.add_argument("address")
    reaching.add_argument("port", type=int)
    options = parser.parse_args()
    if options.command == "serve":
        Server(options).serve_forever()
    return {"ask": ask, "probe": probe, "reach": reach}[options.command](options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as failure:
        sys.exit(f"error: {failure}")
