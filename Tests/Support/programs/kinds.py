"""Kinds of traffic that nobody tuned the classifier for, and whether each is a token stream.

Every kind has a server port of its own, by which its flows are known in a daemon's report.
"""

import json
import os
from dataclasses import dataclass

FOLDER = os.path.dirname(os.path.abspath(__file__))
IPERF_PORTS = (8141, 8142)
SSH_PORTS = (8143, 8144)
TOKENS_PER_S = 28


@dataclass(frozen=True)
class Kind:
    """One kind: `program` makes a client's command from an address, a port and seconds.

    A kind whose program is a text is that function of `client.py`.
    """

    name: str
    port: int
    is_token_stream: bool
    program: object


def python_command(python, kinds, address, seconds, flows):
    """Returns the command that runs all kinds of `client.py`, so many flows of each."""
    words = [f"{kind.program}:{kind.port}" for kind in kinds if isinstance(kind.program, str)]
    return [python, os.path.join(FOLDER, "client.py"), address, f"{seconds:g}", *words * flows]


def other_commands(kinds, address, seconds, flows):
    """Returns the commands of the others."""
    return [kind.program(address, kind.port, seconds)
            for kind in kinds if not isinstance(kind.program, str)
            for _ in range(1 if kind.port in IPERF_PORTS else flows)]


def server_command(python, address, certificate, key):
    """Returns the command of the servers, all but iperf3 and sshd."""
    return [python, os.path.join(FOLDER, "server.py"), address, certificate, key]


def curl(path, body=None, scheme="http", options=()):
    """Returns a function from address, port and seconds to curl's command."""
    def make(address, port, seconds):
        data = []
        if body is not None:
            asked = {**body, "max_tokens": int(seconds * TOKENS_PER_S)}
            data = ["-H", "Content-Type: application/json", "-d", json.dumps(asked)]
        return ["curl", "-sNk", "-m", f"{seconds:g}", "-o", "/dev/null", *options, *data,
                f"{scheme}://{address}:{port}{path}"]
    return make


def iperf(*options):
    """Returns the same for iperf3."""
    def make(address, port, seconds):
        return ["iperf3", "-c", address, "-p", str(port), "-t", str(max(int(seconds), 1)),
                *options]
    return make


CHAT = {"model": "m", "stream": True,
        "messages": [{"role": "user", "content": "Tell me about networks."}]}
COMPLETIONS = "/v1/chat/completions"

KINDS = [
    Kind("curl, events", 8101, True, curl(COMPLETIONS, CHAT)),
    Kind("curl, NDJSON", 8102, True, curl("/api/generate", CHAT)),
    Kind("curl, HTTP/2 in clear", 8103, True,
         curl(COMPLETIONS, CHAT, options=["--http2-prior-knowledge"])),
    Kind("openai client", 8104, True, "openai_stream"),
    Kind("openai client, TLS", 8121, True, "openai_tls"),
    Kind("curl, TLS, HTTP/1.1 by ALPN", 8122, True,
         curl(COMPLETIONS, CHAT, "https", ["--http1.1"])),
    Kind("curl, TLS without ALPN", 8123, True,
         curl(COMPLETIONS, CHAT, "https", ["--no-alpn"])),
    Kind("curl, TLS 1.2", 8124, True,
         curl(COMPLETIONS, CHAT, "https", ["--tls-max", "1.2"])),
    Kind("httpx, HTTP/2 under TLS", 8125, True, "httpx_http2"),
    Kind("gRPC, server streaming", 8131, True, "grpc_stream"),
    Kind("WebSocket, tokens", 8132, True, "websocket_tokens"),
    Kind("openai client, not streaming", 8105, False, "openai_whole"),
    Kind("embeddings", 8106, False, "embeddings"),
    Kind("pages", 8107, False, "pages"),
    Kind("video, segments", 8108, False, "video"),
    Kind("video, pushed frames", 8109, False, curl("/camera")),
    Kind("backup", 8110, False, curl("/backup", options=["--limit-rate", "1M"])),
    Kind("backup, TLS", 8126, False, curl("/backup", None, "https", ["--limit-rate", "1M"])),
    Kind("gRPC, large messages", 8134, False, "grpc_fetch"),
    Kind("WebSocket, chat", 8135, False, "websocket_chat"),
    Kind("voice, UDP", 8133, False, "voice"),
    Kind("iperf3", IPERF_PORTS[0], False, iperf("-b", "8M")),
    Kind("iperf3, download", IPERF_PORTS[1], False, iperf("-R", "-b", "8M")),
    Kind("ssh, typing", SSH_PORTS[0], False, "ssh_typing"),
    Kind("ssh, busy output", SSH_PORTS[1], False, "ssh_busy"),
]


def precision_and_recall(found):
    """Returns both from, for each kind, how many flows there were and how many were recognised."""
    hits = sum(recognised for kind, _, recognised in found if kind.is_token_stream)
    wrong = sum(recognised for kind, _, recognised in found if not kind.is_token_stream)
    there = sum(count for kind, count, _ in found if kind.is_token_stream)
    return (hits / (hits + wrong) if hits + wrong else 0.0, hits / there if there else 0.0)
