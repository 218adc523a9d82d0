#!/usr/bin/env python3
"""Streams one endless answer until nothing arrives any more, and tells when that began.

Writes `tokens=N` and `last_token_at=SECONDS` (Unix time) to a file. Ends with 0 if tokens came and
then stopped without the stream's end, with 1 otherwise.
"""

import argparse
import http.client
import json
import socket
import sys
import time
from urllib.parse import urlsplit

SILENCE_SECONDS = 3
ANSWER_TOKENS_MAX = 100_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url", help="such as http://10.0.0.1:8000/v1")
    parser.add_argument("--model", default="simulated-chat")
    parser.add_argument("--started", help="file that is made when the first token has arrived")
    parser.add_argument("--figures", required=True, help="file to write the figures to")
    options = parser.parse_args()

    address = urlsplit(options.base_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=SILENCE_SECONDS)
    request = {
        "model": options.model, "stream": True, "max_completion_tokens": ANSWER_TOKENS_MAX,
        "messages": [{"role": "user", "content": "Tell everything, and do not stop."}],
    }
    connection.request("POST", address.path + "/chat/completions", json.dumps(request),
                       {"Content-Type": "application/json"})
    response = connection.getresponse()
    tokens, last, is_cut = 0, 0.0, False
    try:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            tokens, last = tokens + 1, time.time()
            if tokens == 1 and options.started:
                with open(options.started, "w", encoding="utf-8"):
                    pass
    except (socket.timeout, TimeoutError, ConnectionError):
        is_cut = True
    with open(options.figures, "w", encoding="utf-8") as file:
        file.write(f"tokens={tokens}\nlast_token_at={last:.3f}\n")
    return 0 if is_cut and tokens else 1


if __name__ == "__main__":
    sys.exit(main())
