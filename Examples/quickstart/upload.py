#!/usr/bin/env python3
"""Uploads as fast as the link takes it, and asks short questions meanwhile.

Writes to a file how long the questions' first tokens took, and how fast the upload was. Ends with
0 only if every question was answered.
"""

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from urllib.parse import urlsplit

UPLOADS = 8
PIECE = bytes(64 * 1024)
BODY_PIECES = 256
WARM_UP_SECONDS = 4
TIMEOUT_SECONDS = 30


class Upload(threading.Thread):
    """Sends one body after another until it is told to end."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.ending = threading.Event()
        self.sent_bytes = 0
        self.fault = None

    def run(self):
        try:
            while not self.ending.is_set():
                self.send_body()
        except OSError as fault:
            self.fault = fault

    def send_body(self):
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT_SECONDS)
        connection.putrequest("POST", "/v1/kv/blocks")
        connection.putheader("Content-Length", str(BODY_PIECES * len(PIECE)))
        connection.endheaders()
        for _ in range(BODY_PIECES):
            if self.ending.is_set():
                break
            connection.send(PIECE)
            self.sent_bytes += len(PIECE)
        else:
            connection.getresponse().read()
        connection.close()


def first_token_seconds(address, model):
    """How long a question on a connection of its own waits for its first token."""
    question = {
        "model": model, "stream": True, "max_completion_tokens": 3,
        "messages": [{"role": "user", "content": "Is the press hall running?"}],
    }
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_SECONDS)
    asked = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(question),
                       {"Content-Type": "application/json"})
    first = None
    for line in connection.getresponse():
        if first is None and line.startswith(b"data: {"):
            first = time.perf_counter() - asked
    connection.close()
    if first is None:
        raise OSError("an answer without a token")
    return first


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url", help="such as http://10.0.0.1:8000/v1")
    parser.add_argument("--model", default="simulated-chat")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--without-upload", action="store_true", help="questions alone")
    parser.add_argument("--figures", required=True, help="file to write the figures to")
    options = parser.parse_args()

    url = urlsplit(options.base_url)
    address = (url.hostname, url.port)
    uploads = [] if options.without_upload else [Upload(address) for _ in range(UPLOADS)]
    for upload in uploads:
        upload.start()
    if uploads:
        time.sleep(WARM_UP_SECONDS)
    began, sent_before = time.perf_counter(), sum(upload.sent_bytes for upload in uploads)
    waits = [first_token_seconds(address, options.model) for _ in range(options.questions)]
    seconds = time.perf_counter() - began
    sent = sum(upload.sent_bytes for upload in uploads) - sent_before
    for upload in uploads:
        upload.ending.set()
    for upload in uploads:
        upload.join(TIMEOUT_SECONDS)
        if upload.fault:
            print(f"an upload broke off: {upload.fault}", file=sys.stderr)
            return 1
    with open(options.figures, "w", encoding="utf-8") as file:
        file.write(f"first_token_p50_ms={statistics.median(waits) * 1000:.0f}\n"
                   f"first_token_max_ms={max(waits) * 1000:.0f}\n"
                   f"upload_mbit={sent * 8 / seconds / 1e6:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
