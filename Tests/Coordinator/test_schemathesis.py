"""The served OpenAPI description against the running coordinator, with schemathesis.

Whatever the description allows is asked for, and what it forbids; every answer must be one that it
describes. Signatures and revisions are beyond it, so many requests end as refused statements.
"""

import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "30")
# One run asks what the one before asked; another number asks other things.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


@pytest.fixture(scope="module")
def schemathesis():
    """The program's path."""
    made = subprocess.run(
        [HERE / "schemathesis.sh"], capture_output=True, text=True, timeout=900, check=False)
    if made.returncode != 0:
        pytest.skip(f"schemathesis cannot be installed here: {made.stderr[-300:]}")
    return made.stdout.strip()


@pytest.fixture
def described(make):
    """A founded coordinator whose rates are no obstacle."""
    coordinator = make(["--caller-rate-limit", "1000000", "--failure-rate-limit", "1000000"])
    coordinator.start().found()
    coordinator.add_tenant()
    return coordinator


def check(program, coordinator, token, *options):
    """Runs schemathesis with a bearer token; everything must conform."""
    done = subprocess.run(
        [program, "--config-file", HERE / "schemathesis.toml", "run",
         f"{coordinator.url}/openapi.json", "--header", f"Authorization: Bearer {token}",
         "--checks", "all", "--tls-verify=false", "--max-examples", EXAMPLES, "--seed", SEED,
         # How long requests take to make up is the machine's affair.
         "--no-color", "--suppress-health-check", "too_slow", *options],
        capture_output=True, text=True, timeout=1800, cwd=coordinator.folder, check=False)
    assert done.returncode == 0, "\n".join(line[:400] for line in done.stdout.splitlines())
    assert coordinator.call("GET", "/readyz", token=None).status == 200
    failures = [line for line in coordinator.log.read_text().splitlines()
                if "a request failed" in line]
    assert not failures, failures[:10]


def test_owners_requests_conform(schemathesis, described):
    # Deleting API tokens would take away the one that the run uses; the next test does it.
    check(schemathesis, described, described.owner, "--exclude-path-regex", "^/v1/self",
          "--exclude-operation-id", "deleteAPIToken")


def test_deleting_tokens_conforms(schemathesis, described):
    check(schemathesis, described, described.owner, "--include-operation-id", "deleteAPIToken",
          "--phases", "coverage,fuzzing")


def test_nodes_requests_conform(schemathesis, described):
    # A stream does not end, and who has left may not ask any more.
    check(schemathesis, described, described.join().secret, "--include-path-regex", "^/v1/self",
          "--exclude-operation-id", "watch", "--exclude-operation-id", "leave")
