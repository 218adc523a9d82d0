"""Clients at the branch: `client.py ADDRESS SECONDS KIND:PORT...`, each in a thread of its own.

Prints `ready` before the first byte is sent, then the name of each kind that failed with why, and
ends with the last. One process has all of them because the libraries take seconds to load.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import threading
import time

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Tell me about networks."}]}
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
TOKENS_PER_S = 28  # What the server sends, about.


def openai_stream(address, port, seconds, scheme="http"):
    """The openai package, streaming."""
    import httpx
    import openai
    client = openai.OpenAI(
        base_url=f"{scheme}://{address}:{port}/v1", api_key="none",
        http_client=httpx.Client(verify=False))
    for _ in client.chat.completions.create(
            **CHAT, stream=True, max_tokens=int(seconds * TOKENS_PER_S)):
        pass


def openai_tls(address, port, seconds):
    """The same over TLS."""
    openai_stream(address, port, seconds, "https")


def openai_whole(address, port, seconds):
    """The openai package without streaming, answer after answer on one connection."""
    import openai
    client = openai.OpenAI(base_url=f"http://{address}:{port}/v1", api_key="none")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.chat.completions.create(**CHAT, max_tokens=random.randrange(20, 120))


def httpx_http2(address, port, seconds):
    """HTTP/2 under TLS, two streams of tokens on one connection."""
    import httpx

    async def ask(client):
        body = {**CHAT, "stream": True, "max_tokens": int(seconds * TOKENS_PER_S)}
        async with client.stream("POST", f"https://{address}:{port}/v1/chat/completions",
                                 json=body, timeout=60) as answer:
            async for _ in answer.aiter_bytes():
                pass

    async def both():
        async with httpx.AsyncClient(http2=True, verify=False) as client:
            await asyncio.gather(ask(client), ask(client))

    asyncio.run(both())


def grpc_stream(address, port, seconds):
    """A server-streaming call."""
    import grpc
    with grpc.insecure_channel(f"{address}:{port}", OWN_CONNECTION) as channel:
        call = channel.unary_stream("/model.Generation/Stream")
        for _ in call(str(int(seconds * TOKENS_PER_S)).encode()):
            pass


def grpc_fetch(address, port, seconds):
    """Unary calls for large messages."""
    import grpc
    until = time.monotonic() + seconds
    with grpc.insecure_channel(f"{address}:{port}", OWN_CONNECTION) as channel:
        while time.monotonic() < until:
            channel.unary_unary("/model.Generation/Fetch")(b"300000")
            time.sleep(0.5)


def websocket_tokens(address, port, seconds):
    """Tokens over a WebSocket."""
    from websockets.sync.client import connect
    count = int(seconds * TOKENS_PER_S)
    with connect(f"ws://{address}:{port}/tokens") as connection:
        connection.send(str(count))
        for _ in range(count):
            connection.recv()


def websocket_chat(address, port, seconds):
    """People who write to each other."""
    from websockets.sync.client import connect
    until = time.monotonic() + seconds
    with connect(f"ws://{address}:{port}/chat") as connection:
        while time.monotonic() < until:
            time.sleep(random.uniform(0.2, 1.0))
            connection.send("what do you think of this")
            connection.recv()


def embeddings(address, port, seconds):
    """Batches of texts."""
    import httpx
    until = time.monotonic() + seconds
    with httpx.Client() as client:
        while time.monotonic() < until:
            client.post(f"http://{address}:{port}/v1/embeddings",
                        json={"input": ["some text to embed " * 40] * 32})


def pages(address, port, seconds):
    """Somebody who reads one page after the other."""
    import httpx
    until = time.monotonic() + seconds
    with httpx.Client() as client:
        while time.monotonic() < until:
            client.get(f"http://{address}:{port}/page")
            time.sleep(random.uniform(0.1, 1.0))


def video(address, port, seconds):
    """A player that fetches a segment each two seconds."""
    import httpx
    until = time.monotonic() + seconds
    with httpx.Client() as client:
        while time.monotonic() < until:
            client.get(f"http://{address}:{port}/segment")
            time.sleep(2)


def voice(address, port, seconds):
    """A call: small datagrams at even times in both directions."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.connect((address, int(port)))
        endpoint.setblocking(False)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            endpoint.send(bytes(160))
            time.sleep(0.02)
            try:
                while endpoint.recv(2048):
                    pass
            except OSError:
                pass


def ssh_typing(address, port, seconds):
    """Somebody who types commands and reads what they print; the key is in SSH_KEY."""
    shell = subprocess.Popen(_ssh(address, port, "-tt"), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    threading.Thread(target=shell.stdout.read, daemon=True).start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for character in "ls -l /usr/bin | head -30\n":
            shell.stdin.write(character.encode())
            shell.stdin.flush()
            time.sleep(random.uniform(0.05, 0.2))
    shell.kill()
    shell.wait()


def ssh_busy(address, port, seconds):
    """A command that prints a line every few milliseconds."""
    # It ends by itself, also where nobody is left to read it.
    loop = f"timeout {seconds:g} sh -c 'while date; do sleep 0.03; done'"
    shell = subprocess.Popen([*_ssh(address, port), loop], stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    shell.kill()
    shell.wait()


def _ssh(address, port, *options):
    return ["ssh", *options, "-p", str(port), "-i", os.environ["SSH_KEY"], "-F", "none",
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", f"root@{address}"]


def run(kind, port, address, seconds):
    """Runs one kind and tells of its failure."""
    try:
        globals()[kind](address, port, seconds)
    except Exception as error:  # Of whatever library: it is told, and judged by who reads it.
        print(f"{kind}: {type(error).__name__}: {error}", flush=True)


def main(address, seconds, *kinds):
    """Runs all kinds at once."""
    import grpc, httpx, openai, websockets.sync.client  # noqa: E401, F401
    threads = [threading.Thread(target=run, args=(*kind.split(":"), address, float(seconds)))
               for kind in kinds]
    print("ready", flush=True)
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
