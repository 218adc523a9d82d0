"""Profiles in configuration files and on the command line."""

import json
import subprocess

import pytest

from test_command_line import Pair

HEAD = "[Interface]\nPrivateKey = {key}\n[Peer]\nPublicKey = {peer}\n"


@pytest.fixture
def pair(network, run, tmp_path):
    return Pair(network, run, tmp_path)


@pytest.mark.parametrize("cipher, profile", [
    ("", "branchline-aes256gcm"), ("Cipher = AES-256-GCM", "branchline-aes256gcm"),
    ("Cipher = ChaCha20-Poly1305", "branchline-chacha20poly1305")])
def test_up_reads_profile_and_cipher(pair, cipher, profile):
    for side in range(2):
        result = pair.up(side, peer=f"Profile = branchline\n{cipher}")
        assert result.returncode == 0, result.stderr
    assert pair.ping(0, "10.77.0.2") and pair.ping(1, "fd77::1")
    interface = pair.network.interfaces[0]
    (report,) = json.loads(pair.run("status", interface, "--json").stdout)
    assert [peer["profile"] for peer in report["peers"]] == [profile]
    (keys,) = json.loads(pair.run("keys", interface, "--json").stdout)
    (peer,) = keys["peers"]
    assert peer["post_quantum"] and peer["session"]["messages_sent"] > 0
    assert "branchline" in pair.run("status", interface).stdout
    assert "profile: branchline, " in pair.run("show", interface).stdout
    # wg sees an interface as any other.
    shown = subprocess.run(["wg", "show", interface], capture_output=True, text=True)
    assert shown.returncode == 0 and "latest handshake" in shown.stdout


def test_profile_survives_saving_and_another_start(pair):
    lines = "Profile = branchline\nCipher = ChaCha20-Poly1305"
    assert pair.up(0, interface="SaveConfig = true", peer=lines).returncode == 0
    interface = pair.network.interfaces[0]
    shown = pair.run("showconf", interface).stdout
    assert "Profile = branchline\nCipher = ChaCha20-Poly1305\n" in shown
    assert pair.down(0).returncode == 0
    path = pair.folder / f"{interface}.conf"
    assert "Profile = branchline\nCipher = ChaCha20-Poly1305\n" in path.read_text()
    assert pair.call(0, "up", str(path)).returncode == 0
    (report,) = json.loads(pair.run("show", interface, "--json").stdout)
    assert report["peers"][0]["profile"] == "branchline-chacha20poly1305"


@pytest.mark.parametrize("lines, words", [
    ("Cipher = AES-256-GCM", "line 5: Cipher stands in a [Peer] without a Profile"),
    ("Profile = wireguard\nCipher = AES-256-GCM", "line 6: Cipher contradicts"),
    ("Profile = quantum", "line 5: Profile is \"quantum\"; accepted: wireguard, or branchline"),
    ("Profile = branchline\nCipher = RC4", "line 6: Cipher is \"RC4\"; accepted: AES-256-GCM or"),
])
def test_contradictions_are_refused_before_anything_is_made(run, tmp_path, lines, words):
    key = run("genkey").stdout.strip()
    peer = run("pubkey", input=run("genkey").stdout).stdout.strip()
    path = tmp_path / "wgprofile0.conf"
    path.write_text(HEAD.format(key=key, peer=peer) + lines + "\n")
    path.chmod(0o600)
    result = run("up", str(path))
    assert result.returncode == 2 and words in result.stderr, result.stderr


def test_keys_of_nothing(run):
    result = run("keys", "nosuchwg0")
    assert result.returncode == 1 and "branchline up nosuchwg0" in result.stderr
