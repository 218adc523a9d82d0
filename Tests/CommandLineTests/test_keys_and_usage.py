"""Commands that need no tunnel."""

import base64
import json
import os
import pathlib
import signal
import subprocess
import tempfile

import pytest

COMMANDS = ["genkey", "genpsk", "pubkey", "up", "down", "show", "showconf", "status", "bench"]


def test_genkey_prints_one_clamped_key(run):
    result = run("genkey")
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.endswith("\n") and result.stdout.count("\n") == 1
    key = base64.b64decode(result.stdout, validate=False)
    assert len(key) == 32
    assert key[0] & 7 == 0 and key[31] & 0xC0 == 0x40


def test_keys_differ(run):
    assert len({run(command).stdout for command in ["genkey", "genpsk"] * 3}) == 6


def test_pubkey_agrees_with_wg(run):
    for _ in range(3):
        key = run("genkey").stdout
        expected = subprocess.run(
            ["wg", "pubkey"], input=key, capture_output=True, text=True, check=True).stdout
        assert run("pubkey", input=key).stdout == expected


@pytest.mark.parametrize(
    "text", ["", "\n", "x\n", "A" * 43, "A" * 44, "A" * 43 + "=x", "A" * 43 + "= y", "=" * 5000])
def test_pubkey_refuses_what_is_no_key(run, text):
    result = run("pubkey", input=text)
    assert result.returncode == 2 and result.stdout == ""
    assert "standard input" in result.stderr and "AAAA" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    result = run(command, "--help")
    assert result.returncode == 0
    assert f"branchline {command}" in result.stdout.split("USAGE")[0]


def test_version_is_printed(run):
    assert run("--version").stdout.strip().count(".") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_the_commands(run, shell):
    script = run("--generate-completion-script", shell).stdout
    assert all(command in script for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["frob"], ["up"], ["up", "a", "b"], ["show", "--frob"]])
def test_wrong_usage_is_64(run, arguments):
    assert run(*arguments).returncode == 64


@pytest.mark.parametrize("command", ["show", "showconf", "status"])
def test_an_interface_that_is_not_there_is_said_with_the_remedy(run, command):
    result = run(command, "blnosuch0")
    assert result.returncode == 1
    assert "no interface named blnosuch0 is run by branchlined" in result.stderr
    assert "branchline up blnosuch0" in result.stderr


@pytest.mark.parametrize("name", ["a/b", "x" * 16, "..", "a b"])
def test_an_impossible_name_is_bad_input(run, name):
    assert run("show", name).returncode == 2


def test_names_are_listed_as_json(run):
    assert isinstance(json.loads(run("show", "interfaces", "--json").stdout), list)


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_missing_file_is_bad_input_and_says_where_it_was_looked_for(run, command):
    result = run(command, "blnosuch0")
    assert result.returncode == 2
    assert "/etc/wireguard/blnosuch0.conf" in result.stderr
    assert "/etc/branchline/blnosuch0.conf" in result.stderr


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_empty_name_is_called_empty(run, command):
    result = run(command, "")
    assert result.returncode == 2 and "is empty" in result.stderr


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_fifo_is_refused_without_waiting_for_a_writer(run, tmp_path, command):
    os.mkfifo(tmp_path / "wg9.conf", 0o600)
    result = run(command, "./wg9.conf")
    assert result.returncode == 2 and "not a regular file" in result.stderr


def test_errors_in_a_file_name_the_line_and_hide_keys(run, tmp_path):
    key = run("genkey").stdout.strip()
    (tmp_path / "wg9.conf").write_text(f"[Interface]\nPrivateKey = {key}x\n")
    result = run("up", "./wg9.conf")
    assert result.returncode == 2
    assert "wg9.conf: line 2: PrivateKey" in result.stderr
    assert key[:10] not in result.stderr


def test_a_file_must_be_named_after_its_interface(run, tmp_path):
    for name in ["wg9", "a-name-of-16-char.conf", ".conf"]:
        (tmp_path / name).write_text("[Interface]\n")
        result = run("up", f"./{name}")
        assert result.returncode == 2 and "wg0.conf" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_up_asks_for_root(program, tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "wg9.conf").write_text("[Interface]\n")
    other = ["setpriv", "--reuid", "65534", "--clear-groups"]
    if subprocess.run([*other, "cat", program], capture_output=True).returncode != 0:
        pytest.skip("another user cannot read the program")
    # In a folder that is closed to others, as /etc/wireguard is, and in one that is not.
    with tempfile.TemporaryDirectory() as folder:
        open_file = pathlib.Path(folder) / "wg9.conf"
        open_file.write_text("[Interface]\n")
        os.chmod(folder, 0o755)
        for path in (tmp_path / "wg9.conf", open_file):
            result = subprocess.run(
                [*other, program, "up", str(path)], capture_output=True, text=True)
            assert result.returncode == 1 and "run with sudo" in result.stderr


@pytest.mark.parametrize("command", ["genkey", "genpsk", "pubkey", "show", "status"])
def test_output_that_cannot_be_written_is_a_failure(program, run, command):
    key = run("genkey").stdout
    arguments = [program, command] + (["interfaces", "--json"] if command == "show" else [])
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            arguments, input=key, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("branchline: cannot write to standard output: No space left")
    assert result.stderr.count("\n") == 1


def test_a_reader_that_leaves_ends_the_command_silently(program):
    for is_ignored in (False, True):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run(
            [program, "genkey"], stdout=writer, stderr=subprocess.PIPE,
            restore_signals=not is_ignored)  # Python itself ignores SIGPIPE
        os.close(writer)
        assert result.returncode == (141 if is_ignored else -signal.SIGPIPE)
        assert result.stderr == b""


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_peer_with_the_interfaces_own_key_is_refused(run, tmp_path, command):
    private = run("genkey").stdout.strip()
    public = run("pubkey", input=private).stdout.strip()
    (tmp_path / "wg9.conf").write_text(
        f"[Interface]\nPrivateKey = {private}\n\n[Peer]\nPublicKey = {public}\n")
    result = run(command, "./wg9.conf")
    assert result.returncode == 2
    assert "line 4: [Peer] has this interface's own public key" in result.stderr


@pytest.mark.parametrize(
    "name, reason", [("all", "reserved"), ("default", "reserved"), ("-q", "begins with '-'")])
def test_names_that_linux_or_programs_refuse_are_explained(run, daemon, tmp_path, name, reason):
    (tmp_path / f"{name}.conf").write_text("[Interface]\n")
    result = run("up", f"./{name}.conf")
    assert result.returncode == 2 and reason in result.stderr
    if os.path.basename(daemon) == "branchlined":
        result = subprocess.run([daemon, "-f", "--", name], capture_output=True, text=True)
        assert result.returncode == 64 and reason in result.stderr
