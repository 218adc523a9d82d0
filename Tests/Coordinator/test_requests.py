"""Hostile requests: whatever comes, one answer that says what is wrong, and nothing is lost."""

import json
import socket
import time

import pytest

BODY_BYTES_MAX = 64 << 10
pytestmark = pytest.mark.sqlite_only
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


def answer_to(connection):
    """Returns what comes back on a raw connection until its end."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except (socket.timeout, TimeoutError):
        raise
    except OSError:
        pass
    return received


@pytest.mark.parametrize("path", ["/v1/enrolments", "/v1/organisation", "/v1/tenants"])
def test_an_oversized_body_is_refused_before_it_is_read(empty, path):
    connection = empty.raw(
        b"POST " + path.encode() + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000000000\r\n\r\n")
    began = time.monotonic()
    assert b" 413 " in answer_to(connection).split(b"\r\n")[0]
    assert time.monotonic() - began < 9, "a body is waited for for 10 s"
    assert empty.is_alive()


def test_a_chunked_body_is_bounded_too(empty):
    connection = empty.raw(
        b"POST /v1/enrolments HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    try:
        for _ in range(64):
            connection.sendall(chunk)
    except OSError:
        pass
    assert b" 413 " in answer_to(connection).split(b"\r\n")[0]


def test_a_body_at_the_limit_is_read(empty):
    body = json.dumps({"chain": "x" * (BODY_BYTES_MAX - 100)}).encode()
    assert len(body) <= BODY_BYTES_MAX
    assert empty.call("POST", "/v1/enrolments", body, token=None).status in (400, 422)
    body += b" " * (BODY_BYTES_MAX + 1 - len(body))
    assert empty.call("POST", "/v1/enrolments", body, token=None).status == 413


@pytest.mark.parametrize("start", [
    b"GET /healthz HT",
    b"POST /v1/enrolments HTTP/1.1\r\n" + HEAD + b"Content-Length: 100\r\n\r\n{"])
def test_a_slow_client_is_cut_off(empty, start):
    connection = empty.raw(start)
    began = time.monotonic()
    answer = answer_to(connection)
    assert time.monotonic() - began < 45
    assert not answer or b" 408 " in answer.split(b"\r\n")[0]
    assert empty.is_alive()


def test_many_slow_clients_do_not_keep_others_out(empty):
    slow = [empty.raw(b"POST /v1/enrolments HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\n{")
            for _ in range(200)]
    began = time.monotonic()
    assert empty.call("GET", "/healthz").status == 200
    assert time.monotonic() - began < 9, "slow ones are cut off after 10 s"
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
def test_other_content_types_are_refused(empty, kind):
    answer = empty.call("POST", "/v1/enrolments", b"{}", token=None,
                        headers={"Content-Type": kind})
    assert (answer.status, answer.reason) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"7", b"{}", b'{"chain": 7}', b'{"chain": null}', b"\xff\xfe{}",
    b'{"chain": "a", "chain": "b"}', b"[" * 5000, b'{"a":' * 5000, b"1e999999", b"{}{}",
    b'{"chain": "\\ud800"}', b'{"chain": "\\u0000", "name": "\\u0000", "secret_hash": "\\u0000"}'],
    ids=lambda body: body[:20].decode("latin-1"))
def test_bodies_that_are_no_enrolment_are_refused(empty, body):
    answer = empty.call("POST", "/v1/enrolments", body, token=None)
    assert answer.status in (400, 409, 422), answer
    assert answer.reason and answer.json["detail"]
    assert empty.is_alive()


def test_unknown_paths_and_methods_are_named(founded):
    assert founded.call("GET", "/v1/nothing").reason == "not_found"
    answer = founded.call("PATCH", "/v1/tenants")
    assert (answer.status, answer.reason) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= {word.strip() for word in answer.headers["allow"].split(",")}


@pytest.mark.parametrize("name", [
    "acme'; DROP TABLE tenants; --", "acme' OR '1'='1", "..%2f..%2fetc%2fpasswd", "%00", "a" * 64,
    "ACME", "acme%0d%0aX-Injected:%201", "-acme", "%F0%9F%92%A9"])
def test_names_in_paths_are_names_only(founded, name):
    path = "/v1/tenants/" + name.replace(" ", "%20").replace("'", "%27").replace(";", "%3B")
    answer = founded.call("GET", path)
    assert answer.status in (400, 404), answer
    assert "x-injected" not in answer.headers
    assert [t["name"] for t in founded.call("GET", "/v1/tenants").ok()["items"]] == ["acme"]


@pytest.mark.parametrize("name", [
    "x'; DELETE FROM tenants; --", "line\r\nbreak", "", "a" * 64, "Über", "a b", "\u0000"])
def test_names_in_bodies_are_names_only(founded, name):
    answer = founded.call("POST", "/v1/tenants", {"name": name, "pools": ["10.1.0.0/24"]})
    assert answer.status in (400, 422), answer
    assert len(founded.call("GET", "/v1/tenants").ok()["items"]) == 1


def test_text_that_is_only_kept_comes_back_as_it_was(founded):
    text = "Robert'); DROP TABLE groups; -- \"<script>\" \u00fc\u4e2d"
    founded.call("POST", "/v1/tenants/acme/groups", {"name": "staff", "description": text}).ok()
    items = founded.call("GET", "/v1/tenants/acme/groups").ok()["items"]
    assert [(group["name"], group["description"]) for group in items] == [("staff", text)]


def test_a_request_id_that_is_not_plain_is_replaced(founded):
    plain = founded.call("GET", "/healthz", headers={"X-Request-ID": "abc-123-def"})
    assert plain.headers["x-request-id"] == "abc-123-def"
    for bad in ["a" * 500, "a b", "<script>"]:
        answer = founded.call("GET", "/healthz", headers={"X-Request-ID": bad})
        assert answer.headers["x-request-id"] not in ("", bad)


def test_oversized_heads_are_refused(empty):
    connection = empty.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
    try:
        for number in range(4000):
            connection.sendall(b"X-Filler-%d: %s\r\n" % (number, b"y" * 100))
        connection.sendall(b"\r\n")
    except OSError:
        pass
    answer = answer_to(connection)
    assert not answer or answer.split(b" ")[1] in (b"400", b"431")
    assert empty.is_alive()


@pytest.mark.parametrize("junk", [
    b"\x00" * 100, b"\x16\x03\x01" * 50, b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n",
    b"POST /v1/enrolments HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/enrolments HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/enrolments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_what_is_no_http_ends_the_connection_only(empty, junk):
    connection = empty.raw(junk)
    answer_to(connection)
    assert empty.is_alive()


def test_one_address_cannot_flood(make):
    coordinator = make(["--rate-limit", "20"]).start()
    connection = coordinator.connect()
    answers = [coordinator.call("GET", "/v1/me", token="bla_" + "x" * 43, connection=connection)
               for _ in range(300)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert all(answer.status in (401, 429) for answer in answers)


def test_guessing_is_slowed_down(make):
    coordinator = make().start()
    connection = coordinator.connect()
    statuses = [coordinator.call("GET", "/v1/me", token=f"bla_{'y' * 40}{n:03}",
                                 connection=connection).status for n in range(200)]
    assert statuses[0] == 401 and statuses[-1] == 429


def test_answers_carry_security_headers_and_no_details_of_the_program(founded):
    for path in ("/v1/tenants", "/v1/nothing", "/healthz", "/openapi.json"):
        headers = founded.call("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "ummingbird" not in headers.get("server", "")
