"""Admins for tests: each with a configuration folder of its own, and a way to type at prompts."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Coordinator"))

import statements  # noqa: E402


class Admin:
    """Runs `branchline` with one configuration folder."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.configuration = folder / "configuration"
        self.environment = {**os.environ, "BRANCHLINE_CONFIG": str(self.configuration)}

    def __call__(self, *arguments, input="", code=0):
        """Runs a command without a terminal; returns the finished process. None: any code."""
        finished = subprocess.run(
            [self.program, *map(str, arguments)], input=input, capture_output=True, text=True,
            env=self.environment, cwd=self.folder, timeout=180, start_new_session=True)
        assert code in (None, finished.returncode), (
            finished.returncode, finished.stdout, finished.stderr)
        return finished

    def json(self, *arguments, code=0):
        """Runs a command with --json and returns what it printed."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def type(self, *arguments, answers=(), code=0):
        """Runs a command on a terminal, types an answer at each prompt, returns what was shown."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.folder)
            os.execve(self.program, [self.program, *map(str, arguments)], self.environment)
        shown, waiting = b"", list(answers)
        deadline = time.monotonic() + 180
        try:
            while time.monotonic() < deadline:
                ready, _, _ = select.select([terminal], [], [], 1)
                if not ready:
                    continue
                try:
                    chunk = os.read(terminal, 4096)
                except OSError:  # The other end has closed.
                    break
                if not chunk:
                    break
                shown += chunk
                if waiting and shown.rstrip(b" ").endswith((b":", b"[y/N]")):
                    # The prompt comes after the terminal was made silent.
                    os.write(terminal, waiting.pop(0))
            else:
                os.kill(process, signal.SIGKILL)
        finally:
            os.close(terminal)
            _, status = os.waitpid(process, 0)
        shown = shown.decode()
        assert os.waitstatus_to_exitcode(status) == code, shown
        assert not waiting, shown
        return shown

    def found(self, coordinator, *options):
        """Makes the organisation."""
        code = (coordinator.folder / "state" / "setup-code").read_text().strip()
        return self("admin", "init", coordinator.url, "--pin", pin(coordinator), "--setup-code",
                    code, "--no-passphrase", *options)


def pin(coordinator):
    """Returns the pin of a coordinator's key, as it prints it at start."""
    words = coordinator.log.read_text().split("pin ", 1)[1]
    return words.split()[0].rstrip(",.")


class Joiner:
    """What a node does with the string that `token create` prints."""

    def __init__(self, text):
        prefix, self.root, seed, admin, token = text.strip().split("~")
        assert prefix == "bl1"
        padded = seed + "=" * (-len(seed) % 4)
        self.token_key = statements.Key(statements.base64.urlsafe_b64decode(padded))
        self.chain = f"{admin}~{token}"
        payload = token.split(".")[1]
        payload += "=" * (-len(payload) % 4)
        self.claims = json.loads(statements.base64.urlsafe_b64decode(payload))
        self.key = statements.Key()
        _, self.public_key = statements.wireguard_key()
        self.secret, self.secret_hash = statements.node_secret()

    def join(self, coordinator, name, endpoint=None):
        """Enrols; returns the answer."""
        mine = self.claims
        grant = statements.grant_claims(
            self.key, mine["tenant"], mine["role"], mine["addresses"], self.public_key,
            token=mine["token"], seconds=min(30 * statements.DAY, mine["grantSeconds"]),
            routes=mine["routes"], groups=mine["groups"], profile=mine["profiles"][0],
            **{"class": mine["class"]})
        return coordinator.call("POST", "/v1/enrolments", {
            "chain": self.chain + "~" + self.token_key.sign("join", grant), "name": name,
            "secret_hash": self.secret_hash, **({"endpoint": endpoint} if endpoint else {})},
            token=None)
