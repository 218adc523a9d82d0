"""`branchline bench`: what it refuses before anything is sent."""

import pytest


@pytest.mark.parametrize("arguments, words", [
    ([], "give a host, or --serve"),
    (["10.0.0.1", "--serve"], "give a host or --serve"),
    (["--serve", "--seconds", "2"], "go with a host"),
    (["--serve", "--json"], "go with a host"),
    (["--serve", "--only", "up"], "go with a host"),
    (["--serve", "--for", "25h"], "24h at most"),
    (["--serve", "--for", "soon"], "is not a duration"),
    (["--serve", "--maximum-rate", "1k"], "100k at least"),
    (["--serve", "--maximum-rate", "fast"], "--maximum-rate"),
    (["10.0.0.1", "--for", "10m"], "go with --serve"),
    (["10.0.0.1", "--maximum-rate", "1G"], "go with --serve"),
    (["10.0.0.1", "--seconds", "0"], "--seconds is 1 to 60"),
    (["10.0.0.1", "--seconds", "61"], "--seconds is 1 to 60"),
    (["10.0.0.1", "--streams", "17"], "--streams is 1 to 16"),
    (["10.0.0.1", "--streams", "0"], "--streams is 1 to 16"),
    (["10.0.0.1", "--port", "0"], "--port is 1 to 65535"),
    (["10.0.0.1", "--port", "65536"], "--port"),
    (["10.0.0.1", "--only", "sideways"], "--only"),
])
def test_wrong_usage_is_named(run, arguments, words):
    result = run("bench", *arguments)
    assert result.returncode == 64 and result.stdout == ""
    assert words in result.stderr


@pytest.mark.parametrize("arguments", [["10.77.0.2"], ["--serve"]])
def test_without_a_tunnel_it_says_how_to_get_one(run, network, arguments):
    result = run("bench", *arguments, namespace=network.namespaces[0])
    assert result.returncode == 1 and result.stdout == ""
    # Of other network namespaces there may be some.
    assert "no tunnel is up" in result.stderr or "another network namespace" in result.stderr


@pytest.mark.parametrize("arguments", [["10.77.0.2"], ["--serve"]])
def test_an_interface_that_is_no_tunnel_is_refused(run, network, arguments):
    result = run(
        "bench", *arguments, "--interface", "outer", namespace=network.namespaces[0])
    assert result.returncode == 1 and "outer is no tunnel" in result.stderr
    result = run("bench", *arguments, "--interface", "a/b", namespace=network.namespaces[0])
    assert result.returncode == 2 and "cannot name an interface" in result.stderr
