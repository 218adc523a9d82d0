"""The peer emulator as a process that takes commands."""

import json
import os
import select

from harness.lab import LabError, last_words, run

SEED = "branchline benchmark"


class Emulator:
    """Runs `peer-emulator run` in a namespace and talks to it."""

    def __init__(self, lab, programs, namespace, gateway, tenants, peers, first_tenant=0,
                 prefix=(), options=()):
        self.lab = lab
        self.process = lab.start_with_input(namespace, [
            *prefix, os.path.join(programs, "peer-emulator"), "run", gateway, "--seed", SEED,
            "--tenants", str(tenants), "--peers", str(peers), "--first-tenant", str(first_tenant),
            *options])
        self._read(30)

    def ask(self, name, patience_s=60, **words):
        """Sends one command and returns its answer."""
        self.tell(name, **words)
        return self.answer(patience_s)

    def tell(self, name, **words):
        """Sends one command whose answer is read later."""
        text = " ".join([name, *(f"{key}={value}" for key, value in words.items())])
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def answer(self, patience_s=60):
        """Returns the answer to the command sent last."""
        values = self._read(patience_s)
        if "error" in values:
            raise LabError(f"peer-emulator: {values['error']}")
        return values

    def _read(self, patience_s):
        ready, _, _ = select.select([self.process.stdout], [], [], patience_s)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise LabError(f"peer-emulator: no answer: {last_words(self.process)}")
        return json.loads(line)

    def stop(self):
        """Ends the process."""
        self.lab.stop(self.process)
        self.process.stdin.close()
        self.process.stdout.close()


def gateway_configuration(programs, tenant, peers):
    """Returns the gateway's WireGuard configuration of one tenant."""
    return run([os.path.join(programs, "peer-emulator"), "configuration", "--seed", SEED,
                "--tenant", str(tenant), "--peers", str(peers)])


def public_keys(programs, tenant, first, count):
    """Returns public keys of peers, base64."""
    return run([os.path.join(programs, "peer-emulator"), "keys", "--seed", SEED,
                "--tenant", str(tenant), "--first", str(first), "--peers", str(count)]).split()
