"""Servers at HQ: `server.py ADDRESS CERTIFICATE KEY`; prints `ready`.

HTTP is hypercorn's (HTTP/1.1, HTTP/2 with and without TLS), gRPC is grpcio's, WebSocket is that of
`websockets`. All make up what they say: tokens come at uneven times, as from a model.
"""

import asyncio
import json
import random
import ssl
import sys

import grpc
import hypercorn.asyncio
import hypercorn.config
import websockets.asyncio.server

PLAIN_PORTS = range(8101, 8109)
TLS_PORTS = range(8121, 8126)
PUSH_PORTS, PUSH_TLS_PORT = (8109, 8110), 8126
GRPC_PORTS, SOCKET_PORTS, VOICE_PORT = (8131, 8134), (8132, 8135), 8133
TOKEN_INTERVAL_S = (0.012, 0.06)
WORDS = "the model says what it has learned of the world in small and uneven pieces".split()
DOCUMENT = random.randbytes(1 << 20)
VIDEO_SEGMENT_BYTES = (100_000, 500_000)
FRAMES_PER_S = 30
FRAME_BYTES = (4_000, 24_000)


async def application(scope, receive, send):
    """Answers one request."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = json.loads(body) if scope["method"] == "POST" else {}
    await ROUTES.get(scope["path"], document)(asked, Sender(send))


class Sender:
    """The answer's side of one request."""

    def __init__(self, send):
        self._send = send

    async def start(self, content_type):
        """Sends the head."""
        await self._send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", content_type.encode())]})

    async def write(self, text):
        """Sends a piece."""
        await self._send({"type": "http.response.body", "body": text, "more_body": True})

    async def end(self):
        """Ends the answer."""
        await self._send({"type": "http.response.body", "body": b""})


def chunk(word, reason=None):
    """Returns a chunk of a chat completion."""
    return json.dumps({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1767225600,
        "model": "m", "choices": [{"index": 0, "finish_reason": reason,
                                   "delta": {"content": word} if word else {}}]})


async def chat(asked, sender):
    """A chat completion, streamed where the client wants that."""
    count = asked.get("max_tokens", 100)
    if not asked.get("stream"):
        await asyncio.sleep(count * 0.01)
        await sender.start("application/json")
        message = {"role": "assistant", "content": " ".join(random.choices(WORDS, k=count))}
        await sender.write(json.dumps({
            "id": "chatcmpl-7", "object": "chat.completion", "created": 1767225600, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode())
        return await sender.end()
    await sender.start("text/event-stream; charset=utf-8")
    async for word in tokens(count):
        await sender.write(f"data: {chunk(word)}\n\n".encode())
    await sender.write(f"data: {chunk('', 'stop')}\n\ndata: [DONE]\n\n".encode())
    await sender.end()


async def generate(asked, sender):
    """Newline-delimited JSON, as local model servers send it."""
    await sender.start("application/x-ndjson")
    async for word in tokens(asked.get("max_tokens", 100)):
        await sender.write(json.dumps({"model": "m", "response": word, "done": False}).encode()
                           + b"\n")
    await sender.end()


async def tokens(count):
    """Yields words at uneven times."""
    for _ in range(count):
        await asyncio.sleep(random.uniform(*TOKEN_INTERVAL_S))
        yield " " + random.choice(WORDS)


async def document(_, sender):
    """Some page."""
    await sender.start("text/html")
    await sender.write(DOCUMENT[:random.randrange(500, 30_000)])
    await sender.end()


async def segment(_, sender):
    """A piece of a video."""
    await sender.start("video/mp4")
    await sender.write(DOCUMENT[:random.randrange(*VIDEO_SEGMENT_BYTES)])
    await sender.end()


async def embeddings(asked, sender):
    """Vectors."""
    await asyncio.sleep(0.05)
    await sender.start("application/json")
    vector = [random.random() for _ in range(256)]
    await sender.write(json.dumps({"data": [
        {"embedding": vector} for _ in asked["input"]]}).encode())
    await sender.end()


ROUTES = {"/v1/chat/completions": chat, "/api/generate": generate, "/segment": segment,
          "/v1/embeddings": embeddings}


class Generation(grpc.GenericRpcHandler):
    """`/model.Generation/Stream` sends tokens, `/model.Generation/Fetch` bytes in one message."""

    def service(self, call):
        """Finds the method."""
        if call.method.endswith("/Stream"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._fetch)

    @staticmethod
    async def _stream(request, _):
        async for word in tokens(int(request)):
            yield word.encode()

    @staticmethod
    async def _fetch(request, _):
        return DOCUMENT[:int(request)]


async def push(reader, writer):
    """Answers without end, over HTTP/1.1: a camera's pictures or a backup."""
    try:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        kind = b"multipart/x-mixed-replace; boundary=frame" if path == b"/camera" else \
            b"application/octet-stream"
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n\r\n" % kind)
        while True:
            if path == b"/camera":
                await asyncio.sleep(1 / FRAMES_PER_S)
                size = random.randrange(*FRAME_BYTES)
                writer.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                             % size + DOCUMENT[:size] + b"\r\n")
            else:
                writer.write(DOCUMENT[:1 << 16])
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def converse(connection):
    """WebSocket: `/tokens` streams an answer to each message, `/chat` answers as people do."""
    async for message in connection:
        if connection.request.path == "/tokens":
            async for word in tokens(int(message)):
                await connection.send(json.dumps({"type": "delta", "text": word}))
        else:
            await asyncio.sleep(random.uniform(0.4, 1.5))
            await connection.send(" ".join(random.choices(WORDS, k=random.randrange(3, 15))))


class Voice(asyncio.DatagramProtocol):
    """Sends small datagrams at even times to whoever sends one."""

    def connection_made(self, transport):
        """Keeps the transport."""
        self.transport = transport
        self.callers = set()

    def datagram_received(self, data, address):
        """Answers a caller as long as this runs."""
        if address not in self.callers:
            self.callers.add(address)
            asyncio.ensure_future(self._speak(address))

    async def _speak(self, address):
        while True:
            await asyncio.sleep(0.02)
            self.transport.sendto(DOCUMENT[:160], address)


async def main(address, certificate, key):
    """Serves until it is ended."""
    configuration = hypercorn.config.Config()
    configuration.bind = [f"{address}:{port}" for port in TLS_PORTS]
    configuration.insecure_bind = [f"{address}:{port}" for port in PLAIN_PORTS]
    configuration.certfile, configuration.keyfile = certificate, key
    configuration.loglevel = "ERROR"
    calls = grpc.aio.server()
    calls.add_generic_rpc_handlers((Generation(),))
    for port in GRPC_PORTS:
        calls.add_insecure_port(f"{address}:{port}")
    await calls.start()
    await asyncio.get_running_loop().create_datagram_endpoint(
        Voice, local_addr=(address, VOICE_PORT))
    for port in PUSH_PORTS:
        await asyncio.start_server(push, address, port)
    secrets = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secrets.load_cert_chain(certificate, key)
    await asyncio.start_server(push, address, PUSH_TLS_PORT, ssl=secrets)
    for port in SOCKET_PORTS:
        await websockets.asyncio.server.serve(converse, address, port)
    # Without a trigger of its own it would wait for open connections when it is to end.
    serving = asyncio.ensure_future(hypercorn.asyncio.serve(
        application, configuration, shutdown_trigger=asyncio.Event().wait))
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
