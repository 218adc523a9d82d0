#!/usr/bin/env python3
"""Streams a few chat completions, prints tokens as they come, and measures them.

Uses the official `openai` package where Python has it, the standard library otherwise. Ends with
0 only if every answer is whole and has the SHA-256 that the server sent along.
"""

import argparse
import hashlib
import json
import sys
import time
import urllib.request

try:
    import openai
except ImportError:
    openai = None

LONG_REPORT = " ".join(
    f"Line {number} produced {number * 7 % 97} units and reported no fault."
    for number in range(240)
)
PROMPTS = [
    "What does a branch office need a tunnel for?",
    "Name three reasons why a chat answer may come late.",
    "Summarise this report of a plant in one paragraph: " + LONG_REPORT,
    "Write a note to the colleagues at headquarters.",
]
ANSWER_TOKENS_MAX = 80
TIMEOUT_SECONDS = 30


class OpenAIStreams:
    """Streams through the official client."""

    name = f"openai {openai.__version__}" if openai else ""

    def __init__(self, base_url):
        self.sent_bytes = 0
        self.received_bytes = 0
        self.client = openai.OpenAI(
            base_url=base_url, api_key="unused", max_retries=0, timeout=TIMEOUT_SECONDS
        )

    def chunks(self, request):
        stream = self.client.chat.completions.create(**request)
        self.sent_bytes += len(stream.response.request.content)
        for chunk in stream:
            yield chunk.model_dump()
        self.received_bytes += stream.response.num_bytes_downloaded


class PlainStreams:
    """Streams with nothing but the standard library."""

    name = "Python's standard library"

    def __init__(self, base_url):
        self.sent_bytes = 0
        self.received_bytes = 0
        self.url = base_url + "/chat/completions"

    def chunks(self, request):
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        call = urllib.request.Request(self.url, data=body, headers=headers)
        self.sent_bytes += len(body)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(call, timeout=TIMEOUT_SECONDS) as response:
            for line in response:
                self.received_bytes += len(line)
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    yield json.loads(line[len(b"data: ") :])


class Answer:
    """One answer with what its checks and figures need."""

    def __init__(self):
        self.text = ""
        self.arrivals = []
        self.digest = None
        self.reason = None
        self.token_count = None

    def take(self, chunk):
        """Adds a chunk; returns the text it brought."""
        self.digest = chunk.get("branchline_sha256") or self.digest
        if chunk.get("usage"):
            self.token_count = chunk["usage"]["completion_tokens"]
        piece = ""
        for choice in chunk["choices"]:
            piece += choice["delta"].get("content") or ""
            self.reason = choice["finish_reason"] or self.reason
        if piece:
            self.arrivals.append(time.perf_counter())
            self.text += piece
        return piece

    def fault(self):
        """What is wrong with the answer, or None."""
        if self.reason is None:
            return "it ended before its end"
        if self.token_count != len(self.arrivals):
            return f"{len(self.arrivals)} of {self.token_count} tokens arrived"
        if self.digest != hashlib.sha256(self.text.encode()).hexdigest():
            return "its text does not have the SHA-256 that the server computed"
        return None


def ask(streams, model, prompt):
    """Streams one answer to the terminal; returns it with its time to first token in seconds."""
    answer = Answer()
    request = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": ANSWER_TOKENS_MAX,
    }
    started = time.perf_counter()
    for chunk in streams.chunks(request):
        print(answer.take(chunk), end="", flush=True)
    print(flush=True)
    first = answer.arrivals[0] - started if answer.arrivals else float("nan")
    return answer, first


def quantile(values, fraction):
    """The value that the given share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url", help="such as http://10.0.0.1:8000/v1")
    parser.add_argument("--model", default="simulated-chat")
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--figures", help="file to write the figures to, as key=value lines")
    options = parser.parse_args()

    streams = (OpenAIStreams if openai else PlainStreams)(options.base_url)
    first_token, gaps, faults, content_bytes = [], [], 0, 0
    for number in range(options.requests):
        prompt = PROMPTS[number % len(PROMPTS)]
        shown = prompt if len(prompt) <= 72 else f"{prompt[:60]}... ({len(prompt)} bytes)"
        print(f"\n[{number + 1}/{options.requests}] {shown}\n  > ", end="", flush=True)
        answer, seconds = ask(streams, options.model, prompt)
        first_token.append(seconds)
        gaps += [after - before for before, after in zip(answer.arrivals, answer.arrivals[1:])]
        content_bytes += len(answer.text.encode())
        if fault := answer.fault():
            print(f"  ! answer {number + 1} is damaged: {fault}", file=sys.stderr)
            faults += 1

    if options.figures:
        with open(options.figures, "w", encoding="utf-8") as file:
            file.write(
                f"client={streams.name}\n"
                f"answers_intact={options.requests - faults}\n"
                f"tokens={len(gaps) + len(first_token)}\n"
                f"content_bytes={content_bytes}\n"
                f"sent_bytes={streams.sent_bytes}\n"
                f"received_bytes={streams.received_bytes}\n"
                f"first_token_p50_ms={quantile(first_token, 0.5) * 1000:.1f}\n"
                f"first_token_max_ms={max(first_token) * 1000:.1f}\n"
                f"inter_token_p50_ms={quantile(gaps, 0.5) * 1000:.2f}\n"
                f"inter_token_p99_ms={quantile(gaps, 0.99) * 1000:.2f}\n"
            )
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as failure:
        sys.exit(f"error: {failure}")
    except Exception as failure:  # pylint: disable=broad-except
        if openai and isinstance(failure, openai.OpenAIError):
            sys.exit(f"error: {failure}")
        raise
