"""Talks to the server as an application would, through the official client.

Usage: openai_client.py BASE_URL; ends with 0 if the client understood everything.
"""

import hashlib
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=30)
messages = [{"role": "user", "content": "Hello"}]

names = [model.id for model in client.models.list()]
assert names == ["simulated-chat", "simulated-embedding"], names

stream = client.chat.completions.create(
    model="simulated-chat",
    messages=messages,
    stream=True,
    stream_options={"include_usage": True},
)
text, reason, digest, usage = "", None, None, None
for chunk in stream:
    usage = chunk.usage or usage
    digest = getattr(chunk, "branchline_sha256", None) or digest
    for choice in chunk.choices:
        text += choice.delta.content or ""
        reason = choice.finish_reason or reason
assert reason == "stop", reason
assert usage.completion_tokens == 20, usage
assert digest == hashlib.sha256(text.encode()).hexdigest(), digest

whole = client.chat.completions.create(
    model="simulated-chat", messages=messages, max_completion_tokens=3
)
assert whole.choices[0].finish_reason == "length", whole
assert whole.choices[0].message.content, whole

vectors = client.embeddings.create(model="simulated-embedding", input=["a", "b"])
assert [len(item.embedding) for item in vectors.data] == [1024, 1024], vectors

try:
    client.chat.completions.create(model="unknown", messages=messages)
    raise AssertionError("an unknown model was accepted")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error.code

try:
    client.chat.completions.create(model="simulated-chat", messages=[])
    raise AssertionError("an empty conversation was accepted")
except openai.BadRequestError as error:
    assert error.param == "messages", error.param
